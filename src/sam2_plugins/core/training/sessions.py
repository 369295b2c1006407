"""Autosave folders of the napari plugin as labelled stacks.

`prompts.json` says what was prompted and confirmed, `slices.log` holds the masks. What the user
has looked at is truth: slices that are confirmed or prompted. Where nothing was confirmed, every
finished slice counts.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.frames import open_frames
from sam2_plugins.core.frames.source import FrameSource
from sam2_plugins.core.training.labelled import LabelledStack
from sam2_plugins.core.training.labelled_stacks import read_stack

FORMAT, VERSION = "sam2-plugins autosave", 1
PROMPTS, SLICES = "prompts.json", "slices.log"
_HEAD = struct.Struct("<4sII")
_MAGIC = b"SAM2"

# An object's place: the plane as JSON, and the frame.
Place = tuple[str, int]


def is_session(folder: Path) -> bool:
    """Return whether a folder is an autosave of the napari plugin."""
    try:
        content = json.loads((folder / PROMPTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def read_session(folder: Path, image: Path, *, max_side: int) -> list[LabelledStack]:
    """Read what a user has made of an image, one stack for each plane.

    Args:
        folder: The autosave.
        image: The image file; an autosave holds masks alone.
        max_side: Larger frames are shrunk to this long side, in pixels.

    Raises:
        ValueError: It is of a later version, of an image of another shape, or without masks.
    """
    header = json.loads((folder / PROMPTS).read_text(encoding="utf-8"))
    if header.get("version", 0) > VERSION:
        raise ValueError(f"{folder} was saved by a later version of sam2-plugins")
    trusted = _trusted(header)
    planes: dict[str, dict[int, NDArray[np.uint16]]] = {}
    for plane, frame_index, labels in _read_slices(folder / SLICES):
        if trusted is not None:
            ids = trusted.get((plane, frame_index), set())
            labels = np.where(np.isin(labels, list(ids)), labels, 0)
        if labels.any():
            planes.setdefault(plane, {})[frame_index] = labels.astype(np.uint16)
    if not planes:
        raise ValueError(f"{folder} holds no masks to learn from: propagate or confirm some first")
    stacks = []
    for number, (plane, labels_of) in enumerate(planes.items()):
        with closing(_open(image, json.loads(plane))) as source:
            name = f"{folder.name}-{number}" if len(planes) > 1 else folder.name
            last = max(labels_of)
            if last >= source.num_frames:
                raise ValueError(
                    f"{image} has {source.num_frames} frames; {folder} has masks on {last}"
                )
            stacks.append(read_stack(name, source, labels_of, max_side=max_side, is_volume=True))
    return stacks


def _trusted(header: dict[str, Any]) -> dict[Place, set[int]] | None:
    """The objects that the user has looked at, by place; None where nothing was confirmed."""
    found: dict[Place, set[int]] = {}
    for plane, object_id, frames in header["confirmed"]:
        for frame_index in frames:
            found.setdefault((json.dumps(plane), frame_index), set()).add(object_id)
    if not found:
        return None
    for entry in header["prompts"]:
        place = json.dumps(entry["plane"]), entry["frame"]
        found.setdefault(place, set()).add(entry["object"])
    return found


def _read_slices(path: Path) -> Iterator[tuple[str, int, NDArray[Any]]]:
    """Plane, frame and (H, W) labels of every record; later ones of a frame replace earlier ones.

    A record that was cut short ends the file.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            magic, length, checksum = _HEAD.unpack(head)
            body = file.read(length)
            if magic != _MAGIC or len(body) != length or zlib.crc32(body) != checksum:
                return
            data = zlib.decompress(body)
            (header_length,) = struct.unpack_from("<I", data)
            header = json.loads(data[4 : 4 + header_length])
            shape, _, y_axis, x_axis, _ = header["plane"]
            labels = np.zeros((shape[y_axis], shape[x_axis]), header["dtype"])
            if header["window"] is not None:
                y0, x0, y1, x1 = header["window"]
                pixels = np.frombuffer(data, header["dtype"], offset=4 + header_length)
                labels[y0:y1, x0:x1] = pixels.reshape(y1 - y0, x1 - x0)
            yield json.dumps(header["plane"]), header["frame"], labels


def _open(image: Path, plane: list[Any]) -> FrameSource:
    """Open an image so that its frames are those of a plane."""
    shape, frame_axis, y_axis, x_axis, fixed = plane
    walks_first = frame_axis in (None, 0) and (y_axis, x_axis) == (len(shape) - 2, len(shape) - 1)
    if walks_first and not fixed:
        source = open_frames(image)
    else:
        letters = [""] * len(shape)
        letters[y_axis], letters[x_axis] = "y", "x"
        if frame_axis is not None:
            letters[frame_axis] = "z"
        others = dict(zip((axis for axis, _ in fixed), "tc", strict=False))
        for axis, letter in others.items():
            letters[axis] = letter
        at = {others[axis]: index for axis, index in fixed}
        source = open_frames(image, axes="".join(letters), at=at or None)
    if tuple(source.frame_size) != (shape[y_axis], shape[x_axis]):
        size = (shape[y_axis], shape[x_axis])
        raise ValueError(
            f"{image} has frames of {tuple(source.frame_size)}, the autosave of {size}"
        )
    return source
