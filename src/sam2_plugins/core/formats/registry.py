"""Which format a path means, and the two functions that write and read all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.core.formats import coco, ctc, davis, omezarr, sav, tiff, youtube
from sam2_plugins.core.formats.stack import MaskStack
from sam2_plugins.core.formats.staging import (
    check_apart,
    check_replaceable,
    explain_write_errors,
    move_into_place,
    staging_folder,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sam2_plugins.core.formats.stack import SavedMasks
    from sam2_plugins.core.formats.volumes import LabelArray
    from sam2_plugins.core.masks import FrameMasks

__all__ = [
    "FORMATS",
    "MaskFormat",
    "check_highest_id",
    "check_output",
    "format_of",
    "load_masks",
    "save_labels",
    "save_masks",
]


@dataclass(frozen=True, slots=True)
class MaskFormat:
    """One way to keep masks.

    Attributes:
        name: Value of the `format` arguments.
        endings: Endings of paths that mean this format, longest first; "" is a plain folder.
        is_folder: The output is a folder.
        max_object_id: Largest id the format can hold, None without limit.
        write: Writes a whole stack to a path that does not exist yet.
        read: Opens a path.
        is_output: Whether what stands at a path may be replaced: any file, but only folders that
            this package wrote.
    """

    name: str
    endings: tuple[str, ...]
    is_folder: bool
    max_object_id: int | None
    write: Callable[[Path, Any], None]
    read: Callable[[Path], SavedMasks]
    is_output: Callable[[Path], bool]


_WIDE = 2**32 - 1
_WITH_VOLUMES = ("tiff", "ome-zarr", "ctc")

FORMATS: dict[str, MaskFormat] = {
    entry.name: entry
    for entry in (
        MaskFormat("tiff", (".tif", ".tiff"), False, _WIDE, tiff.write, tiff.read, Path.is_file),
        MaskFormat(
            "ome-zarr", (".zarr",), True, _WIDE, omezarr.write, omezarr.read, omezarr.is_output
        ),
        MaskFormat("coco", (".coco.json",), False, None, coco.write, coco.read, Path.is_file),
        MaskFormat("sa-v", (".json",), False, None, sav.write, sav.read, Path.is_file),
        MaskFormat("ctc", ("_RES",), True, 2**16 - 1, ctc.write, ctc.read, ctc.is_output),
        MaskFormat("davis", ("",), True, 255, davis.write, davis.read, davis.is_output),
        MaskFormat("youtube-vos", (), True, 255, youtube.write, youtube.read, youtube.is_output),
    )
}


def format_of(path: str | Path, *, name: str | None = None) -> MaskFormat:
    """The format that a path's ending means, or the one with a name.

    Args:
        path: Where masks are or are going to be. A folder of any name is a DAVIS folder unless
            its ending says otherwise.
        name: A key of `FORMATS`; overrides the ending.

    Raises:
        ValueError: Unknown ending or name; the message lists those that exist.
    """
    if name is not None:
        if name not in FORMATS:
            raise ValueError(f"unknown mask format {name!r}; formats are {', '.join(FORMATS)}")
        return FORMATS[name]
    path = Path(path)
    for entry in FORMATS.values():
        if any(ending and path.name.lower().endswith(ending.lower()) for ending in entry.endings):
            return entry
    if path.suffix == "" or path.is_dir():
        return FORMATS["davis"]
    raise ValueError(
        f"unknown ending {path.suffix!r} of {path}; use .tif or .tiff (label stack), .zarr "
        "(OME-Zarr labels), .json (SA-V), .coco.json (COCO), or a folder (palette PNGs; CTC when "
        "its name ends in _RES)"
    )


def check_output(
    path: str | Path,
    *,
    format: str | None = None,  # noqa: A002
    sources: Iterable[str | Path] = (),
) -> MaskFormat:
    """Finds out before any work is done whether masks can be written to a path.

    Args:
        path: Output of `save_masks`.
        format: As in `save_masks`.
        sources: Files and folders that are read, and must not be written over.

    Returns:
        The format that is going to be written.

    Raises:
        ValueError: Unknown ending; what exists there is not an earlier output of that format; or it
            is, or lies in, what is read.
        OSError: The folder around it is missing or cannot be written to.
    """
    target = Path(path).absolute()
    entry = format_of(target, name=format)
    check_apart(Path(path), map(Path, sources))
    if entry.is_folder:
        check_replaceable(target, entry.is_output)
    elif target.is_dir():
        raise ValueError(f"{path} exists and is a folder; choose another output")
    with staging_folder(target):
        return entry


def save_masks(
    path: str | Path,
    frames: Iterable[FrameMasks],
    *,
    frame_size: tuple[int, int],
    num_frames: int | None = None,
    format: str | None = None,  # noqa: A002
    frame_names: Sequence[str] | None = None,
    stack_axis: str = "T",
    sources: Iterable[str | Path] = (),
) -> Path:
    """Writes masks as they come; the output appears when all are there, or not at all.

    Frames may come in any order and more than once: a later one replaces the objects it names.
    Frames that never come are empty. Only one frame at a time is held in memory.

    Args:
        path: File or folder; its ending chooses the format: `.tif` or `.tiff` (compressed (T, H, W)
            label stack), `.zarr` (OME-Zarr labels), `.json` (SA-V masklets), `.coco.json` (COCO
            with track ids), `…_RES` (Cell Tracking Challenge), any other folder (DAVIS: one
            palette PNG per frame). A file that exists is replaced, a folder only when it is an
            earlier output.
        frames: For example `tracker.propagate()`. When it raises, nothing is written.
        frame_size: (H, W) in pixels.
        num_frames: Length of the stack; None for the last frame that comes.
        format: A key of `FORMATS` instead of the ending; the only way to get `youtube-vos`.
        frame_names: Names of the frames' files without ending, for the formats with one file per
            frame and for COCO.
        stack_axis: `T` for a video, `Z` for a volume, for the formats that hold it.
        sources: See `check_output`.

    Returns:
        The path.

    Raises:
        ValueError: Unknown ending; an object id that the format cannot hold; a frame outside the
            stack or of another size; or see `check_output`.
        OSError: The output cannot be written; the message names it and the reason.
    """
    target = Path(path).absolute()
    entry = check_output(path, format=format, sources=sources)
    with staging_folder(target) as staging, (staging / "spool").open("w+b", buffering=0) as spool:
        stack = MaskStack(
            spool,
            num_frames=num_frames,
            frame_size=frame_size,
            frame_names=frame_names,
            stack_axis=stack_axis,
            title=target.name.split(".")[0],
        )
        for frame in frames:
            stack.check(frame)
            _check_object_ids(frame, entry)
            with explain_write_errors(target):
                stack.put(frame)
        with explain_write_errors(target):
            entry.write(staging / "output", stack)
            move_into_place(staging / "output", target, is_output=entry.is_output)
    return Path(path)


def save_labels(
    path: str | Path, labels: LabelArray, *, sources: Iterable[str | Path] = ()
) -> Path:
    """Writes an array of labels with its axes and pixel sizes; it appears whole or not at all.

    Args:
        path: File or folder; its ending chooses the format: `.tif` (ImageJ's or OME's metadata),
            `.zarr` (OME-Zarr labels), or `…_RES` (Cell Tracking Challenge: a file per time point,
            which for volumes has a page per slice).
        labels: Planes, a stack, or volumes over time.
        sources: See `check_output`.

    Returns:
        The path.

    Raises:
        ValueError: Another format; an id that the format cannot hold; or see `check_output`.
        OSError: The output cannot be written; the message names it and the reason.
    """
    target = Path(path).absolute()
    entry = check_output(path, sources=sources)
    if entry.name not in _WITH_VOLUMES:
        raise ValueError(
            f"the {entry.name} format holds one stack of planes; write .tif, .zarr or a folder "
            "whose name ends in _RES"
        )
    check_highest_id(int(max(labels.object_ids, default=0)), entry)
    with staging_folder(target) as staging, explain_write_errors(target):
        entry.write(staging / "output", labels)
        move_into_place(staging / "output", target, is_output=entry.is_output)
    return Path(path)


def check_highest_id(highest: int, entry: MaskFormat, where: str = "") -> None:
    """Refuse an object id that a format cannot hold.

    Args:
        highest: The highest id there is.
        entry: From `check_output`.
        where: Told in the message, after the id.

    Raises:
        ValueError: It is too high.
    """
    if entry.max_object_id is not None and highest > entry.max_object_id:
        raise ValueError(
            f"object {highest}{where}: the {entry.name} format holds ids up to "
            f"{entry.max_object_id}; write .tif, .zarr or .json"
        )


def _check_object_ids(frame: FrameMasks, entry: MaskFormat) -> None:
    if not len(frame.object_ids):
        return
    lowest, highest = int(frame.object_ids.min()), int(frame.object_ids.max())
    if lowest < 1:
        raise ValueError(f"object {lowest} on frame {frame.frame_index}; object ids start at 1")
    check_highest_id(highest, entry, f" on frame {frame.frame_index}")


def load_masks(path: str | Path, *, format: str | None = None) -> SavedMasks:  # noqa: A002
    """Opens masks that were written by `save_masks` or by another tool in the same format.

    Args:
        path: File or folder.
        format: A key of `FORMATS`; by default told from the ending and, for folders and JSON
            files, from what is inside.

    Returns:
        A sequence of FrameMasks, each read when it is asked for.

    Raises:
        FileNotFoundError: Nothing is there.
        ValueError: Unknown ending, or not a file of that format.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no masks at {path}")
    if format is None:
        format = _format_inside(path)  # noqa: A001
    return format_of(path, name=format).read(path)


def _format_inside(path: Path) -> str | None:
    if omezarr.is_zarr(path):
        return "ome-zarr"
    if youtube.is_youtube(path):
        return "youtube-vos"
    if ctc.is_ctc(path):
        return "ctc"
    if path.suffix.lower() == ".json":
        return "coco" if coco.is_coco(path) else "sa-v"
    return None
