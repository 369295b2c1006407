"""Annotated videos and volumes, as the folders of the common data sets hold them.

Understood are: `JPEGImages/<video>` with `Annotations/<video>` (DAVIS, YouTube-VOS, MOSE, LVOS,
with or without a folder for the resolution), `JPEGImages_24fps` with
`Annotations_6fps/<video>/<object>` (SA-V), one video as `frames` with `masks`, one volume as
`volume.tif` with `labels.tif`, and any folder of such folders. Not every frame needs to be
annotated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2_plugins.core.formats import tiff
from sam2_plugins.core.formats.davis import read_png
from sam2_plugins.core.frames import open_frames
from sam2_plugins.core.frames.images import PICTURE_SUFFIXES, natural_key
from sam2_plugins.core.masks import FrameMasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sam2_plugins.core.frames import FrameSource

__all__ = ["ObjectSpan", "VosSequence", "load_sequences"]

_RESOLUTIONS = ("480p", "Full-Resolution")
_LAYOUTS = (("JPEGImages", "Annotations"), ("JPEGImages_24fps", "Annotations_6fps"))
_MAX_DEPTH = 3


@dataclass(frozen=True, slots=True)
class ObjectSpan:
    """Where one object is in its sequence.

    Attributes:
        object_id: Its id in the annotation.
        first_frame: First annotated frame with a pixel of it.
        largest_frame: Annotated frame with most of its pixels, the first of equal ones.
    """

    object_id: int
    first_frame: int
    largest_frame: int


@dataclass(frozen=True, slots=True, eq=False)
class VosSequence:
    """A video or volume with its true masks, both read one frame at a time.

    Attributes:
        name: Unique within an evaluation.
        source: What `open_frames` takes.
        annotated_frames: Indices of the frames with truth, ascending.
        read_truth: Frame index -> true masks of that frame.
        is_volume: Whether the frames are slices through z.
    """

    name: str
    source: Any
    annotated_frames: tuple[int, ...]
    read_truth: Callable[[int], FrameMasks]
    is_volume: bool = False

    def open(self) -> FrameSource:
        """Opens the frames; the caller closes them."""
        return open_frames(self.source)

    def spans(self) -> list[ObjectSpan]:
        """All objects, by id; reads every annotated frame once."""
        areas: dict[int, dict[int, int]] = {}
        for frame_index in self.annotated_frames:
            truth = self.read_truth(frame_index)
            for object_id, mask in zip(truth.object_ids.tolist(), truth.masks, strict=True):
                if mask.any():
                    areas.setdefault(object_id, {})[frame_index] = int(mask.sum())
        return [
            ObjectSpan(object_id, min(frames), max(frames, key=lambda t: (frames[t], -t)))
            for object_id, frames in sorted(areas.items())
        ]

    @classmethod
    def from_arrays(
        cls, name: str, source: Any, labels: np.ndarray[Any, Any], *, is_volume: bool = False
    ) -> VosSequence:
        """A sequence in memory.

        Args:
            name: What to call it in results.
            source: What `open_frames` takes.
            labels: (T, H, W) integer, ids consistent over frames, 0 = background.
            is_volume: Whether the frames are slices through z.
        """

        def read_truth(frame_index: int) -> FrameMasks:
            return FrameMasks.from_labels(frame_index, labels[frame_index])

        return cls(name, source, tuple(range(len(labels))), read_truth, is_volume)


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


def _search(folder: Path, root: Path, depth: int) -> Iterator[VosSequence]:
    """All sequences below a folder, named by their path from the root."""
    name = folder.relative_to(root).as_posix() if folder != root else folder.resolve().name
    if (folder / "volume.tif").is_file() and (folder / "labels.tif").is_file():
        yield _volume(name, folder)
        return
    if (folder / "frames").is_dir() and (folder / "masks").is_dir():
        yield _video(name, folder / "frames", folder / "masks")
        return
    for frames_name, masks_name in _LAYOUTS:
        frames_root, masks_root = folder / frames_name, folder / masks_name
        if frames_root.is_dir() and masks_root.is_dir():
            yield from _dataset(frames_root, masks_root)
            return
    if depth:
        for child in sorted(folder.iterdir()):
            if child.is_dir():
                yield from _search(child, root, depth - 1)


def _dataset(frames_root: Path, masks_root: Path) -> Iterator[VosSequence]:
    for resolution in _RESOLUTIONS:
        if (frames_root / resolution).is_dir():
            frames_root, masks_root = frames_root / resolution, masks_root / resolution
            break
    if not masks_root.is_dir():
        raise ValueError(f"frames are in {frames_root}, but there is no folder {masks_root}")
    for masks in sorted(masks_root.iterdir()):
        if masks.is_dir() and (frames_root / masks.name).is_dir():
            yield _video(masks.name, frames_root / masks.name, masks)


def _volume(name: str, folder: Path) -> VosSequence:
    labels = tiff.read(folder / "labels.tif")
    return VosSequence(
        name, folder / "volume.tif", tuple(range(len(labels))), labels.read, is_volume=True
    )


def _video(name: str, frames: Path, masks: Path) -> VosSequence:
    files = sorted(
        (file for file in frames.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES),
        key=natural_key,
    )
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
    read = (
        partial(_read_objects, by_object, names)
        if by_object
        else partial(_read_labels, by_frame, names)
    )
    return VosSequence(name, files, tuple(sorted(names)), read)


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
