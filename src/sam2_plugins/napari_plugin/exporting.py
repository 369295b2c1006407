"""Formats that masks can be written in, as a person chooses them; and what is written."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sam2_plugins.napari_plugin.axes import axis_role
from sam2_plugins.napari_plugin.label_arrays import blank_labels
from sam2_plugins.napari_plugin.messages import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sam2_plugins.core import FrameMasks, LabelArray
    from sam2_plugins.napari_plugin.engine import Engine
    from sam2_plugins.napari_plugin.frame_labels import FrameLabels
    from sam2_plugins.napari_plugin.frames import ImageStack
    from sam2_plugins.napari_plugin.layers import Plane

ONE_STACK = "only the stack on show"


@dataclass(frozen=True)
class ExportFormat:
    """One way to keep masks.

    Attributes:
        title: In words.
        ending: Of the path; it says which format is meant.
        others: Further endings that mean the same.
        holds_all: Whether it holds more than one stack: volumes over time.
    """

    title: str
    ending: str
    others: tuple[str, ...] = ()
    holds_all: bool = False

    @property
    def filter(self) -> str:
        """The entry of a file dialog."""
        return f"{self.title} (*{self.ending})"

    @property
    def filter_of_volumes(self) -> str:
        """The entry where there is more than one stack."""
        title = self.title if self.holds_all else f"{self.title}, {ONE_STACK}"
        return f"{title} (*{self.ending})"

    def path(self, chosen: str) -> str:
        """A path with this format's ending.

        Args:
            chosen: By a person, with or without an ending.
        """
        path = Path(chosen)
        meant, ending = _meaning(path.name)
        # The ending of another format would mean that one, and so would an unknown one of a folder.
        name = path.name if meant is self else path.name.removesuffix(ending) + self.ending
        return str(path.with_name((name if self.ending else name.replace(".", "_")) or "masks"))


TIFF = ExportFormat("TIFF label stack", ".tif", (".tiff",), holds_all=True)
FORMATS = (
    TIFF,
    ExportFormat("OME-Zarr labels", ".zarr", holds_all=True),
    ExportFormat("Cell Tracking Challenge folder", "_RES", holds_all=True),
    ExportFormat("SA-V masklets", ".json"),
    ExportFormat("COCO with track ids", ".coco.json"),
    ExportFormat("Folder of PNGs (DAVIS)", ""),
)


def _meaning(name: str) -> tuple[ExportFormat, str]:
    """The format that a file's name means, and the ending that says so."""
    endings = [(f, e) for f in FORMATS for e in (f.ending, *f.others) if name.endswith(e)]
    return max(endings, key=lambda found: len(found[1]))


def format_of(path: str) -> ExportFormat:
    """The format that a path's ending means."""
    return _meaning(Path(path).name)[0]


def file_filter(*, has_volumes: bool = False) -> str:
    """The entries of a file dialog.

    Args:
        has_volumes: Say which formats cannot hold volumes over time.
    """
    return ";;".join(f.filter_of_volumes if has_volumes else f.filter for f in FORMATS)


def chosen_path(path: str, chosen_filter: str) -> str:
    """What a file dialog's answer means: the format's ending is added where it is missing.

    Args:
        path: As it was typed or picked.
        chosen_filter: The dialog's entry; one that is not ours leaves the path as it is.
    """
    for entry in FORMATS:
        if chosen_filter in (entry.filter, entry.filter_of_volumes):
            return entry.path(path)
    return path


def named_axes(stack: "ImageStack") -> tuple[str, tuple[int, ...]]:
    """Letters of TZYX, as many as the image has axes but for channels, and the axes they stand for.

    Raises:
        ValueError: It has more axes than that.
    """
    labels = stack.axis_labels or ("",) * len(stack.shape)
    found: dict[str, int] = {}
    rest: list[int] = []
    for axis in range(len(stack.shape)):
        letter = {"time": "T", "depth": "Z"}.get(axis_role(labels[axis]) or "")
        if letter is not None and letter not in found:
            found[letter] = axis
        elif axis != stack.channel_axis:
            rest.append(axis)
    free = [letter for letter in ("X", "Y", "Z", "T") if letter not in found]
    if len(rest) > len(free) or len(rest) < 2:
        raise ValueError(
            "masks are written along time, depth, rows and columns, and this image has "
            f"{len(rest) + len(found)} axes: say under Image ▸ Axes… which they are"
        )
    found |= dict(zip(free, reversed(rest), strict=False))
    letters = "".join(letter for letter in "TZYX" if letter in found)
    return letters, tuple(found[letter] for letter in letters)


def collect(engine: "Engine", planes: "Iterable[Plane]") -> "LabelArray":
    """All masks of an image as one array. In the worker's thread.

    Args:
        engine: Of the image.
        planes: Those with masks; where several cover a pixel, it is the first one's.

    Raises:
        ValueError: There are no masks, or the image has too many axes.
    """
    from sam2_plugins.core import LabelArray

    stack = engine.stack
    letters, order = named_axes(stack)
    frames = {p: engine.known_frames(p) for p in dict.fromkeys((*planes, *engine.planes))}
    highest = max((i for plane in frames for i in engine.object_ids(plane)), default=0)
    if not highest:
        raise ValueError("there are no masks to export yet: click on an object first")
    dtype = np.uint16 if highest <= np.iinfo(np.uint16).max else np.uint32
    labels = blank_labels(stack.shape, stack.channel_axis, dtype=dtype)
    for plane, known in frames.items():
        for frame_index in known:
            found = engine.labels(plane, frame_index)
            if found.window is not None:
                index = plane.index(frame_index, found.window)
                current = labels[index]
                labels[index] = np.where(current == 0, found.labels, current)
    # Channels come first then, and are all the same.
    spare = () if stack.channel_axis is None else (stack.channel_axis,)
    ordered = labels.transpose(*spare, *order)
    return LabelArray(
        ordered[0] if spare else ordered,
        axes=letters,
        scale=[stack.scale[a] for a in order] if stack.scale else None,
        units=[stack.units[a] for a in order] if stack.units else None,
    )


def plane_masks(engine: "Engine", plane: "Plane") -> "Iterator[FrameMasks]":
    """The masks of a plane's frames, ascending. In the worker's thread."""
    for frame_index in engine.known_frames(plane):
        if engine.earlier.drawn(plane, frame_index) is None:
            yield engine.session(plane).tracker.masks(frame_index)
            continue
        found = engine.labels(plane, frame_index)
        if found.scores:
            yield _as_masks(found)


def _as_masks(found: "FrameLabels") -> "FrameMasks":
    from sam2_plugins.core import FrameMasks

    scores = found.scores.values()
    return FrameMasks(
        found.frame_index,
        np.array(list(found.scores), np.int64),
        np.stack([found.mask(object_id) for object_id in found.scores]),
        np.array([score.predicted_iou for score in scores], np.float32),
        np.array([score.object_score_logit for score in scores], np.float32),
    )


def export_plane(
    engine: "Engine", path: str, *, plane: "Plane", sources: "Sequence[Path]" = ()
) -> None:
    """Write the masks of a plane's frames; the ending of the path chooses the format.

    Args:
        engine: Of the image.
        path: Where to.
        plane: The plane.
        sources: Files that were read, besides the image's own: none is written over.
    """
    from sam2_plugins.core import save_masks

    engine.post(Status("exporting", is_working=True))
    try:
        is_depth = plane.frame_axis is not None and engine.stack.walks_depth(plane.frame_axis)
        save_masks(
            path,
            plane_masks(engine, plane),
            frame_size=plane.frame_size,
            num_frames=plane.num_frames,
            stack_axis="Z" if is_depth else "T",
            sources=[*_sources(engine), *sources],
        )
        engine.post(Status(f"exported to {path}"))
    except Exception as error:
        engine.fail(error)
        engine.post(Status("ready"))


def export_all(
    engine: "Engine", path: str, *, planes: "Iterable[Plane]", sources: "Sequence[Path]" = ()
) -> None:
    """Write all masks of an image; the ending of the path chooses the format.

    Args:
        engine: Of the image.
        path: Where to.
        planes: See `collect`.
        sources: See `export_plane`.
    """
    from sam2_plugins.core import save_labels

    engine.post(Status("exporting", is_working=True))
    try:
        save_labels(path, collect(engine, planes), sources=[*_sources(engine), *sources])
        engine.post(Status(f"exported to {path}"))
    except Exception as error:
        engine.fail(error)
        engine.post(Status("ready"))


def _sources(engine: "Engine") -> list[Path]:
    """The file of the image, which is not to be written over."""
    return [] if engine.stack.path is None else [Path(engine.stack.path)]
