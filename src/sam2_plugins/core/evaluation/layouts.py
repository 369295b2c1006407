"""The folders of the common data sets of videos and volumes.

Understood are: `JPEGImages/<video>` with `Annotations/<video>` (DAVIS, YouTube-VOS, MOSE, LVOS,
with or without a folder for the resolution), `JPEGImages_24fps` with
`Annotations_6fps/<video>/<object>` (SA-V val and test), `NAME.mp4` with `NAME_manual.json` (SA-V
train), `01` with `01_GT/TRA` (Cell Tracking Challenge, 2D and 3D), one video as `frames` with
`masks`, one volume as `volume.tif` with `labels.tif`, and any folder of such folders. Not every
frame needs to be annotated.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.core.evaluation.left_out import LeftOut, warn_left_out
from sam2_plugins.core.evaluation.png_truth import check_same_size, pictures, png_video
from sam2_plugins.core.evaluation.sequences import VosSequence
from sam2_plugins.core.evaluation.through_time import TimePoints, volume_shape
from sam2_plugins.core.formats import ctc, sav, tiff
from sam2_plugins.core.frames import open_frames
from sam2_plugins.core.frames.images import TIFF_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sam2_plugins.core.formats.stack import SavedMasks
    from sam2_plugins.core.masks import FrameMasks

__all__ = ["load_sequences", "seen_categories"]

_RESOLUTIONS = ("480p", "Full-Resolution", "1080p")
_SAV_STEP = 4  # SA-V's videos have 24 frames per second, its annotation 6
_LAYOUTS = (
    ("JPEGImages", "Annotations", 1),
    ("JPEGImages_24fps", "Annotations_6fps", _SAV_STEP),
)
_PAIRS = (
    *((frames, masks) for frames, masks, _ in _LAYOUTS),
    ("frames", "masks"),
    ("volume.tif", "labels.tif"),
)
_EXPECTED = (
    "JPEGImages and Annotations (DAVIS, YouTube-VOS, MOSE, LVOS), JPEGImages_24fps and "
    "Annotations_6fps or NAME.mp4 and NAME_manual.json (SA-V), 01 and 01_GT/TRA (Cell Tracking "
    "Challenge), frames and masks, or volume.tif and labels.tif"
)
_MAX_DEPTH = 3


def load_sequences(path: str | Path, *, names: Sequence[str] | None = None) -> list[VosSequence]:
    """Finds annotated videos and volumes below a folder.

    Without names, it warns of those that it has to leave out as frames or masks are missing. That
    the first mask of each has the size of its frame is seen to here, by headers where it can be.

    Args:
        path: A folder in one of the layouts above.
        names: Only these, for example those of a data set's validation list; None for all.

    Returns:
        At least one sequence, by name.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: Nothing annotated is in it, a name is not there, or annotations do not fit
            their frames.
    """
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}")
    found: dict[str, VosSequence] = {}
    left_out: list[LeftOut] = []
    for item in _search(root, root, _MAX_DEPTH):
        if isinstance(item, LeftOut):
            left_out.append(item)
            continue
        if item.name in found:
            raise ValueError(f"two sequences in {root} are named {item.name}; take one folder")
        found[item.name] = item
    if not found:
        raise ValueError(f"no annotated sequence in {root}; {_explain(root, left_out)}")
    if names is None:
        warn_left_out(left_out, root=root, kind="sequences", num_kept=len(found))
        return [found[name] for name in sorted(found)]
    for name in names:
        if name not in found:
            why = next((item.why for item in left_out if item.name == name), None)
            there = f"found it {why}" if why else f"there are {sorted(found)}"
            raise ValueError(f"no sequence {name!r} in {root}; {there}")
    return [found[name] for name in sorted(set(names))]


def seen_categories(path: str | Path) -> set[str]:
    """The categories of a YouTube-VOS `meta.json`: of `train`, those that training has seen.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no `meta.json` of YouTube-VOS.
    """
    videos = _videos_of(Path(path))
    return {name for objects in videos.values() for name in _categories(objects).values()}


def _explain(root: Path, left_out: Sequence[LeftOut]) -> str:
    """Why there is nothing to evaluate, and what would be right."""
    if left_out:
        return f"found {left_out[0].name}, {left_out[0].why}"
    if (root / "images").is_dir() and (root / "labels").is_dir():
        return "images and labels are pictures by themselves: `evaluate image` takes them"
    return f"expected {_EXPECTED}"


def _search(folder: Path, root: Path, depth: int) -> Iterator[VosSequence | LeftOut]:
    """All sequences below a folder, named by their path from the root, and parts of some."""
    name = folder.relative_to(root).as_posix() if folder != root else folder.resolve().name
    if (folder / "volume.tif").is_file() and (folder / "labels.tif").is_file():
        yield _volume(name, folder)
        return
    if (folder / "frames").is_dir() and (folder / "masks").is_dir():
        yield png_video(name, folder / "frames", folder / "masks")
        return
    for frames_name, masks_name, step in _LAYOUTS:
        frames_root, masks_root = folder / frames_name, folder / masks_name
        if frames_root.is_dir() and masks_root.is_dir():
            yield from _dataset(frames_root, masks_root, step)
            return
    for pair in _PAIRS:
        there = [part for part in pair if (folder / part).exists()]
        if len(there) == 1:
            (missing,) = set(pair) - set(there)
            yield LeftOut(name, f"with {there[0]} but no {missing}")
    prefix = "" if folder == root else f"{name}/"
    yield from _sav_train(folder, prefix)
    yield from _cell_tracking(folder, prefix)
    if depth:
        for child in sorted(folder.iterdir()):
            if child.is_dir():
                yield from _search(child, root, depth - 1)


def _dataset(frames_root: Path, masks_root: Path, step: int) -> Iterator[VosSequence | LeftOut]:
    meta = masks_root.parent / "meta.json"
    videos = _videos_of(meta) if meta.is_file() else {}
    for resolution in _RESOLUTIONS:
        if (frames_root / resolution).is_dir():
            frames_root, masks_root = frames_root / resolution, masks_root / resolution
            break
    if not masks_root.is_dir():
        raise ValueError(f"frames are in {frames_root}, but there is no folder {masks_root}")
    annotated, filmed = _folders(masks_root), _folders(frames_root)
    for name in sorted(annotated & filmed):
        sequence = png_video(name, frames_root / name, masks_root / name)
        yield replace(sequence, output_step=step, categories=_categories(videos.get(name)))
    for name in sorted(annotated ^ filmed):
        what, missing = ("frames", frames_root) if name in annotated else ("masks", masks_root)
        yield LeftOut(name, f"without {what} in {missing.relative_to(meta.parent).as_posix()}")


def _folders(folder: Path) -> set[str]:
    return {child.name for child in folder.iterdir() if child.is_dir()}


def _videos_of(meta: Path) -> dict[str, object]:
    videos = sav.read_json(meta).get("videos")
    if not isinstance(videos, dict):
        raise ValueError(f"{meta} has no `videos`; expected the meta.json of YouTube-VOS")
    return videos


def _categories(video: object) -> dict[int, str]:
    """Object id -> category of one video of a meta.json; empty where it tells none."""
    objects = video.get("objects") if isinstance(video, dict) else None
    if not isinstance(objects, dict):
        return {}
    return {
        int(object_id): str(facts["category"])
        for object_id, facts in objects.items()
        if object_id.isdecimal() and isinstance(facts, dict) and "category" in facts
    }


class _OpenedWhenRead:
    """Truth in one file, opened on first use: what travels to another process is only the path."""

    def __init__(self, read: Callable[[Path], SavedMasks], path: Path, step: int = 1) -> None:
        self._read, self._path, self._step = read, path, step
        self._masks: SavedMasks | None = None

    @property
    def masks(self) -> SavedMasks:
        if self._masks is None:
            self._masks = self._read(self._path)
        return self._masks

    def __call__(self, frame_index: int) -> FrameMasks:
        return self.masks[frame_index // self._step].on_frame(frame_index)

    def __reduce__(self) -> tuple[Any, ...]:
        return _OpenedWhenRead, (self._read, self._path, self._step)


def _volume(name: str, folder: Path) -> VosSequence:
    truth = _OpenedWhenRead(tiff.read, folder / "labels.tif")
    with closing(open_frames(folder / "volume.tif")) as frames:
        shape = (frames.num_frames, *frames.frame_size)
    labelled = (len(truth.masks), *truth.masks.frame_size)
    if shape != labelled:
        raise ValueError(
            f"{folder / 'volume.tif'} has shape {shape}, {folder / 'labels.tif'} {labelled}; "
            "every slice needs its labels"
        )
    return VosSequence(
        name, folder / "volume.tif", tuple(range(len(truth.masks))), truth, is_volume=True
    )


def _sav_train(folder: Path, prefix: str) -> Iterator[VosSequence | LeftOut]:
    for path in sorted(folder.glob("*_manual.json")):
        name = path.name.removesuffix("_manual.json")
        video = folder / f"{name}.mp4"
        if not video.is_file():
            yield LeftOut(prefix + name, "with NAME_manual.json but no NAME.mp4")
            continue
        truth = _OpenedWhenRead(sav.read, path, _SAV_STEP)
        frames = tuple(range(0, _SAV_STEP * len(truth.masks), _SAV_STEP))
        ids = sorted({int(i) for mask in truth.masks for i in mask.object_ids})
        yield VosSequence(
            *(prefix + name, video, frames, truth),
            object_frames=dict.fromkeys(ids, frames),
            output_step=_SAV_STEP,
        )


def _cell_tracking(folder: Path, prefix: str) -> Iterator[VosSequence | LeftOut]:
    for tracks in sorted(folder.glob("*_GT/TRA")):
        child = folder / tracks.parent.name.removesuffix("_GT")
        if not child.name.isdecimal() or not tracks.is_dir():
            continue
        files = pictures(child, TIFF_SUFFIXES) if child.is_dir() else []
        if not files:
            yield LeftOut(prefix + child.name, "with tracks but no pictures")
            continue
        if (shape := volume_shape(files[0])) is not None:
            yield _volumes_in_time(prefix + child.name, files, tracks, shape)
            continue
        truth = _OpenedWhenRead(ctc.read, tracks)
        if len(files) != len(truth.masks):
            raise ValueError(
                f"{child} has {len(files)} pictures, {tracks} {len(truth.masks)} of tracks"
            )
        check_same_size(files[0], pictures(tracks, TIFF_SUFFIXES)[0])
        yield VosSequence(prefix + child.name, files, tuple(range(len(files))), truth)


def _volumes_in_time(
    name: str, files: Sequence[Path], tracks: Path, shape: tuple[int, int, int]
) -> VosSequence:
    """Slices of all time points, numbered through."""
    labels = [file for file in pictures(tracks, TIFF_SUFFIXES) if file.stem[-1:].isdecimal()]
    shapes = {volume_shape(file) for file in (*files, *labels)}
    if len(labels) != len(files) or shapes != {shape}:
        raise ValueError(
            f"{files[0].parent} has {len(files)} volumes, {tracks} {len(labels)} of tracks, "
            f"with {len(shapes)} different sizes; expected as many, and one size"
        )
    frames, truth = TimePoints(tuple(files), shape), TimePoints(tuple(labels), shape)
    names = (f"{file.stem}_z{index:03d}" for file in files for index in range(shape[0]))
    return VosSequence(
        *(name, frames, tuple(range(frames.num_frames)), truth.labels),
        is_volume=True,
        depth=shape[0],
        frame_names=tuple(names),
    )
