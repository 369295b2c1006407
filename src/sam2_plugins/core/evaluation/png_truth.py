"""Videos whose truth is PNG files: one per frame, or one per frame and object."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from sam2_plugins.core.evaluation.sequences import VosSequence
from sam2_plugins.core.formats.davis import read_png
from sam2_plugins.core.frames.images import PICTURE_SUFFIXES, image_size, natural_key
from sam2_plugins.core.masks import FrameMasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["check_same_size", "pictures", "png_video"]


def pictures(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files of a folder with one of these endings, in natural order."""
    files = (file for file in folder.iterdir() if file.suffix.lower() in suffixes)
    return sorted(files, key=natural_key)


def check_same_size(image: Path, labels: Path) -> None:
    """Raise ValueError where a picture and its labels differ in size, by their headers."""
    sizes = image_size(image), image_size(labels)
    if sizes[0] != sizes[1]:
        raise ValueError(f"{image} has size {sizes[0]}, its labels {sizes[1]} ({labels})")


def png_video(name: str, frames: Path, masks: Path) -> VosSequence:
    """A video as a folder of pictures, with a folder of label images or of one folder per object.

    Raises:
        ValueError: There are no masks, or they do not fit the frames.
    """
    files = pictures(frames, PICTURE_SUFFIXES)
    index_of = {file.stem: index for index, file in enumerate(files)}
    object_folders = sorted(child for child in masks.iterdir() if child.is_dir())
    # one folder per object, which may then overlap, or one folder of label images
    by_object = {_object_id(folder): _pngs(folder) for folder in object_folders}
    by_frame = {} if by_object else _pngs(masks)
    stems = {stem for files_of in (by_frame, *by_object.values()) for stem in files_of}
    if not stems:
        raise ValueError(f"no PNG masks in {masks}; to evaluate the rest, remove that folder")
    unknown = sorted(stems - index_of.keys())
    if unknown:
        raise ValueError(f"the mask {unknown[0]}.png in {masks} has no frame in {frames}")
    for files_of in (by_frame, *by_object.values()):
        for stem in sorted(files_of)[:1]:
            check_same_size(files[index_of[stem]], files_of[stem])
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
