"""The folders of the common data sets of videos and volumes.

Understood are: `JPEGImages/<video>` with `Annotations/<video>` (DAVIS, YouTube-VOS, MOSE, LVOS,
with or without a folder for the resolution), `JPEGImages_24fps` with
`Annotations_6fps/<video>/<object>` (SA-V val and test), `NAME.mp4` with `NAME_manual.json` (SA-V
train), `01` with `01_GT/TRA` (Cell Tracking Challenge, 2D and 3D), one video as `frames` with
`masks`, one volume as `volume.tif` with `labels.tif`, and any folder of such folders. Not every
frame needs to be annotated.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2_plugins.core.evaluation.sequences import VosSequence
from sam2_plugins.core.evaluation.through_time import TimePoints, volume_shape
from sam2_plugins.core.formats import ctc, sav, tiff
from sam2_plugins.core.formats.davis import read_png
from sam2_plugins.core.frames.images import PICTURE_SUFFIXES, TIFF_SUFFIXES, natural_key
from sam2_plugins.core.masks import FrameMasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sam2_plugins.core.formats.stack import SavedMasks

__all__ = ["load_sequences", "seen_categories"]

_RESOLUTIONS = ("480p", "Full-Resolution", "1080p")
_SAV_STEP = 4  # SA-V's videos have 24 frames per second, its annotation 6
_LAYOUTS = (
    ("JPEGImages", "Annotations", 1),
    ("JPEGImages_24fps", "Annotations_6fps", _SAV_STEP),
)
_MAX_DEPTH = 3


def load_sequences(path: str | Path, *, names: Sequence[str] | None = None) -> list[VosSequence]:
    """Finds annotated videos and volumes below a folder.

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
    found = {sequence.name: sequence for sequence in _search(root, root, _MAX_DEPTH)}
    if not found:
        raise ValueError(
            f"no annotated sequence in {root}; expected JPEGImages and Annotations, frames and "
            "masks, or volume.tif and labels.tif"
        )
    if names is not None:
        missing = [name for name in names if name not in found]
        if missing:
            raise ValueError(f"no sequence {missing[0]!r} in {root}; there are {sorted(found)}")
        found = {name: found[name] for name in names}
    return [found[name] for name in sorted(found)]


def seen_categories(path: str | Path) -> set[str]:
    """The categories of a YouTube-VOS `meta.json`: of `train`, those that training has seen.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no `meta.json` of YouTube-VOS.
    """
    videos = _videos_of(Path(path))
    return {name for objects in videos.values() for name in _categories(objects).values()}


def _search(folder: Path, root: Path, depth: int) -> Iterator[VosSequence]:
    """All sequences below a folder, named by their path from the root."""
    name = folder.relative_to(root).as_posix() if folder != root else folder.resolve().name
    if (folder / "volume.tif").is_file() and (folder / "labels.tif").is_file():
        yield _volume(name, folder)
        return
    if (folder / "frames").is_dir() and (folder / "masks").is_dir():
        yield _video(name, folder / "frames", folder / "masks")
        return
    for frames_name, masks_name, step in _LAYOUTS:
        frames_root, masks_root = folder / frames_name, folder / masks_name
        if frames_root.is_dir() and masks_root.is_dir():
            yield from _dataset(frames_root, masks_root, step)
            return
    prefix = "" if folder == root else f"{name}/"
    yield from _sav_train(folder, prefix)
    yield from _cell_tracking(folder, prefix)
    if depth:
        for child in sorted(folder.iterdir()):
            if child.is_dir():
                yield from _search(child, root, depth - 1)


def _dataset(frames_root: Path, masks_root: Path, step: int) -> Iterator[VosSequence]:
    meta = masks_root.parent / "meta.json"
    videos = _videos_of(meta) if meta.is_file() else {}
    for resolution in _RESOLUTIONS:
        if (frames_root / resolution).is_dir():
            frames_root, masks_root = frames_root / resolution, masks_root / resolution
            break
    if not masks_root.is_dir():
        raise ValueError(f"frames are in {frames_root}, but there is no folder {masks_root}")
    for masks in sorted(masks_root.iterdir()):
        if masks.is_dir() and (frames_root / masks.name).is_dir():
            sequence = _video(masks.name, frames_root / masks.name, masks)
            categories = _categories(videos.get(masks.name))
            yield replace(sequence, output_step=step, categories=categories)


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
    frames = tuple(range(len(truth.masks)))
    return VosSequence(name, folder / "volume.tif", frames, truth, is_volume=True)


def _sav_train(folder: Path, prefix: str) -> Iterator[VosSequence]:
    for path in sorted(folder.glob("*_manual.json")):
        name = path.name.removesuffix("_manual.json")
        video = folder / f"{name}.mp4"
        if video.is_file():
            truth = _OpenedWhenRead(sav.read, path, _SAV_STEP)
            frames = tuple(range(0, _SAV_STEP * len(truth.masks), _SAV_STEP))
            ids = sorted({int(i) for mask in truth.masks for i in mask.object_ids})
            yield VosSequence(
                *(prefix + name, video, frames, truth),
                object_frames=dict.fromkeys(ids, frames),
                output_step=_SAV_STEP,
            )


def _cell_tracking(folder: Path, prefix: str) -> Iterator[VosSequence]:
    for child in sorted(folder.iterdir()):
        tracks = folder / f"{child.name}_GT" / "TRA"
        if child.name.isdecimal() and child.is_dir() and tracks.is_dir():
            files = _pictures(child, TIFF_SUFFIXES)
            if files and (shape := volume_shape(files[0])) is not None:
                yield _volumes_in_time(prefix + child.name, files, tracks, shape)
                continue
            truth = _OpenedWhenRead(ctc.read, tracks)
            if len(files) != len(truth.masks):
                raise ValueError(
                    f"{child} has {len(files)} pictures, {tracks} {len(truth.masks)} of tracks"
                )
            yield VosSequence(prefix + child.name, files, tuple(range(len(files))), truth)


def _volumes_in_time(
    name: str, files: Sequence[Path], tracks: Path, shape: tuple[int, int, int]
) -> VosSequence:
    """Slices of all time points, numbered through."""
    labels = [file for file in _pictures(tracks, TIFF_SUFFIXES) if file.stem[-1:].isdecimal()]
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


def _pictures(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    files = (file for file in folder.iterdir() if file.suffix.lower() in suffixes)
    return sorted(files, key=natural_key)


def _video(name: str, frames: Path, masks: Path) -> VosSequence:
    files = _pictures(frames, PICTURE_SUFFIXES)
    index_of = {file.stem: index for index, file in enumerate(files)}
    object_folders = sorted(child for child in masks.iterdir() if child.is_dir())
    # one folder per object, which may then overlap, or one folder of label images
    by_object = {_object_id(folder): _pngs(folder) for folder in object_folders}
    by_frame = {} if by_object else _pngs(masks)
    stems = {stem for files_of in (by_frame, *by_object.values()) for stem in files_of}
    if not stems:
        raise ValueError(f"no PNG masks in {masks}")
    unknown = sorted(stems - index_of.keys())
    if unknown:
        raise ValueError(f"the mask {unknown[0]}.png in {masks} has no frame in {frames}")
    names = {index_of[stem]: stem for stem in stems}
    frame_names = tuple(file.stem for file in files)
    if not by_object:
        read = partial(_read_labels, by_frame, names)
        return VosSequence(name, files, tuple(sorted(names)), read, frame_names=frame_names)
    object_frames = {
        object_id: tuple(sorted(index_of[stem] for stem in files_of))
        for object_id, files_of in by_object.items()
    }
    return VosSequence(
        *(name, files, tuple(sorted(names)), partial(_read_objects, by_object, names)),
        frame_names=frame_names,
        object_frames=object_frames,
    )


def _object_id(folder: Path) -> int:
    if not folder.name.isdecimal():
        raise ValueError(f"{folder} is no object: folders of masks are numbered 000, 001, …")
    return int(folder.name) + 1  # these folders count from 0, object ids from 1


def _pngs(folder: Path) -> dict[str, Path]:
    return {file.stem: file for file in folder.iterdir() if file.suffix.lower() == ".png"}


def _read_labels(files: Mapping[str, Path], names: Mapping[int, str], index: int) -> FrameMasks:
    return FrameMasks.from_labels(index, read_png(files[names[index]]))


def _read_objects(
    by_object: Mapping[int, Mapping[str, Path]], names: Mapping[int, str], index: int
) -> FrameMasks:
    """Objects that may overlap; the name of a frame comes from at least one object's file."""
    found = {
        object_id: read_png(files[names[index]]) > 0
        for object_id, files in by_object.items()
        if names[index] in files
    }
    scores = np.ones(len(found), np.float32)
    ids = np.array(list(found), np.int64)
    return FrameMasks(index, ids, np.stack(list(found.values())), scores, 10 * scores)
