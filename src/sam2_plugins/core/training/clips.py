"""Clips to learn from: images set in motion, walks through volumes, invented stacks."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.training.appearance import degrade, permute_colours, restyle
from sam2_plugins.core.training.motion import (
    ElasticField,
    affine,
    pixel_grid,
    sampling_map,
    smooth_walk,
)
from sam2_plugins.core.training.scenes import nuclei_scene, pasted_scene
from sam2_plugins.core.training.sources import LabelledImage, TrainingData
from sam2_plugins.core.training.stacks import blob_stack, cell_stack

Frames = NDArray[np.uint8]
Labels = NDArray[np.int32]
Builder = Callable[[TrainingData, np.random.Generator, int, int], tuple[Frames, Labels]]

MIN_AREA_SHARE = 0.0012
MIN_AREA = 72
"""Pixels: less than some five cells of the low-res mask teaches nothing about outlines."""
MAX_SHRINK = 1.33
"""Nuclei are small already: images of them are shrunk no further, but cropped."""
MAX_AREA_SHARE = 0.7
MAX_TRIES = 20

CLIP_KINDS: Mapping[str, float] = {
    "scene": 0.45,
    "nuclei": 0.12,
    "volume": 0.13,
    "cells": 0.15,
    "blobs": 0.15,
}
IMAGE_KINDS: Mapping[str, float] = {
    "photo": 0.25,
    "dsb": 0.35,
    "scene": 0.14,
    "volume": 0.08,
    "cells": 0.08,
    "blobs": 0.10,
}


@dataclass(frozen=True)
class Clip:
    """Frames and the objects to follow.

    Attributes:
        frames: (T, S, S, 3) uint8.
        masks: (O, T, S, S) bool; every object is visible on frame 0.
        kind: Which builder made it.
    """

    frames: Frames
    masks: NDArray[np.bool_]
    kind: str


def make_clip(
    data: TrainingData,
    seed: int | tuple[int, ...],
    *,
    size: int,
    num_frames: int,
    num_objects: int,
    kinds: Mapping[str, float] | None = None,
) -> Clip:
    """Build one clip; the same arguments give the same clip.

    Args:
        data: What to draw from.
        seed: Seed of all randomness.
        size: Side S of the square frames in pixels.
        num_frames: Number of frames T; one makes an image.
        num_objects: Number of objects O; an object is repeated when a clip has fewer.
        kinds: Weight of each kind (names of `BUILDERS`); the mix for images or for clips if None.

    Returns:
        The clip.

    Raises:
        RuntimeError: If no clip with a usable object came out of many tries.
    """
    rng = np.random.default_rng(seed)
    weights = kinds or (CLIP_KINDS if num_frames > 1 else IMAGE_KINDS)
    names = [name for name in weights if _is_available(name, data)]
    chances = np.array([weights[name] for name in names])
    for _ in range(MAX_TRIES):
        kind = str(rng.choice(names, p=chances / chances.sum()))
        frames, labels = BUILDERS[kind](data, rng, size, num_frames)
        if num_frames > 1 and rng.random() < 0.5:
            frames, labels = frames[::-1], labels[::-1]
        chosen = _choose_objects(rng, labels[0], num_objects)
        if chosen is None:
            continue
        frames = permute_colours(rng, frames) if rng.random() < 0.2 else frames
        frames = degrade(rng, restyle(rng, np.ascontiguousarray(frames), labels))
        masks = np.stack([np.isin(labels, ids) for ids in chosen])
        if rng.random() < 0.5:
            frames, masks = frames[:, :, ::-1], masks[..., ::-1]
        if kind not in ("scene", "photo") and rng.random() < 0.5:
            frames, masks = frames[:, ::-1], masks[..., ::-1, :]
        return Clip(np.ascontiguousarray(frames), np.ascontiguousarray(masks), kind)
    raise RuntimeError(f"no object of usable size in {MAX_TRIES} tries; seed {seed}")


def moving_image(
    source: LabelledImage,
    rng: np.random.Generator,
    size: int,
    num_frames: int,
    max_shrink: float = math.inf,
) -> tuple[Frames, Labels]:
    """Move a camera over an image that bends a little.

    Args:
        source: The image.
        rng: Source of randomness.
        size: Side S of the frames in pixels.
        num_frames: Number of frames T.
        max_shrink: At most so many pixels of the image become one.

    Returns:
        (T, S, S, 3) uint8 and (T, S, S) int32, the image's own labels.
    """
    height, width = source.labels.shape
    share = rng.uniform(0.35, 1.0) if rng.random() < 0.7 else 1.0
    extent = share * min(height, width, max_shrink * size)
    x0 = rng.uniform(extent / 2, width - extent / 2) if width > extent else width / 2
    y0 = rng.uniform(extent / 2, height - extent / 2) if height > extent else height / 2
    pan = smooth_walk(rng, num_frames, 2, step=extent * rng.uniform(0, 0.05))
    pose = smooth_walk(rng, num_frames, 3, step=1.0) * rng.uniform(0, [0.04, 0.03, 0.01])
    angle = rng.normal(0, 0.15) if rng.random() < 0.6 else rng.uniform(-np.pi, np.pi)
    bend = rng.uniform(0, 0.03) * size if rng.random() < 0.6 else 0.0
    field = ElasticField(rng, (size, size), num_frames=num_frames, amplitude=bend)
    window = max(int(extent / size), 1) if extent > 1.5 * size else 1
    pixels = cv2.blur(source.image, (window, window))
    label_map = source.labels.astype(np.float32)
    x, y = pixel_grid((size, size))
    frames, labels = [], []
    for frame in range(num_frames):
        matrix = affine(
            (float(x0 + pan[frame, 0]), float(y0 + pan[frame, 1])),
            (size / 2, size / 2),
            angle=float(angle + pose[frame, 0]),
            log_scale=float(np.log(size / extent) + pose[frame, 1]),
            shear=float(pose[frame, 2]),
        )
        across, down = field.at(frame)
        columns, rows = sampling_map(matrix, x + across, y + down)
        border = cv2.BORDER_REFLECT_101
        frames.append(cv2.remap(pixels, columns, rows, cv2.INTER_LINEAR, borderMode=border))
        label = cv2.remap(label_map, columns, rows, cv2.INTER_NEAREST, borderMode=border)
        labels.append(label.astype(np.int32))
    return np.stack(frames), np.stack(labels)


def walk_through_volume(
    data: TrainingData, rng: np.random.Generator, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    """Walk through a volume along any axis, turned, zoomed and with steps of one or two slices."""
    pool = [volume for volumes in data.volumes.values() for volume in volumes]
    chosen = pool[int(rng.integers(len(pool)))]
    axis = int(rng.integers(3))
    volume = np.moveaxis(chosen.volume, axis, 0)
    label_volume = np.moveaxis(chosen.labels, axis, 0)
    stride = int(rng.integers(1, 3))
    reach = stride * (num_frames - 1) + 1
    if reach > len(volume):
        stride, reach = 1, num_frames
    start = int(rng.integers(max(len(volume) - reach, 0) + 1))
    slices = np.minimum(start + stride * np.arange(num_frames), len(volume) - 1)
    if rng.random() < 0.3:
        volume = np.clip((volume.astype(np.int16) - 60) * rng.uniform(1, 2), 0, 255)
    height, width = volume.shape[1:]
    share = rng.uniform(0.4, 1.0)
    extent_x, extent_y = share * width, share * height
    matrix = affine(
        (
            rng.uniform(extent_x / 2, width - extent_x / 2),
            rng.uniform(extent_y / 2, height - extent_y / 2),
        ),
        (size / 2, size / 2),
        angle=rng.normal(0, 0.3),
        log_scale=float(np.log(size / extent_x)),
    )
    # Stretch the rows about the middle, so that both extents fill the square.
    stretch = extent_x / extent_y
    matrix[1] *= stretch
    matrix[1, 2] += size / 2 * (1 - stretch)
    x, y = pixel_grid((size, size))
    columns, rows = sampling_map(matrix, x, y)
    border = cv2.BORDER_REFLECT_101
    frames, labels = [], []
    for index in slices:
        grey = volume[index].astype(np.float32)
        grey = cv2.remap(grey, columns, rows, cv2.INTER_LINEAR, borderMode=border)
        ids = label_volume[index].astype(np.float32)
        labels.append(cv2.remap(ids, columns, rows, cv2.INTER_NEAREST, borderMode=border))
        frames.append(np.clip(grey, 0, 255).astype(np.uint8))
    shown = np.repeat(np.stack(frames)[..., None], 3, axis=-1)
    return shown, _smooth_labels(np.stack(labels).astype(np.int32), size / extent_x)


def _smooth_labels(labels: Labels, zoom: float) -> Labels:
    """Round the stairs that zooming leaves on the borders of labels."""
    window = 2 * int(zoom / 2) + 1
    if window < 3:
        return labels
    smooth = [cv2.medianBlur(label.astype(np.uint16), min(window, 5)) for label in labels]
    return np.stack(smooth).astype(np.int32)


def _choose_objects(
    rng: np.random.Generator, labels: NDArray[np.int32], count: int
) -> list[NDArray[np.int64]] | None:
    """Choose objects visible on a label map: each a list of ids. None when there is none."""
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    usable = (areas >= max(MIN_AREA_SHARE * labels.size, MIN_AREA)) & (
        areas <= MAX_AREA_SHARE * labels.size
    )
    ids = np.flatnonzero(usable)
    if not len(ids):
        return None
    order = rng.permutation(ids)
    return [order[index % len(order) : index % len(order) + 1] for index in range(count)]


def _is_available(kind: str, data: TrainingData) -> bool:
    """Tell whether the data a kind is made of was read."""
    if kind == "volume":
        return any(data.volumes.values())
    if kind in ("dsb", "nuclei"):
        return bool(data.images.get("dsb2018"))
    if kind in ("photo", "scene"):
        return bool(data.images.get("clothing") or data.images.get("fruits_nuts"))
    return True


def _photo(
    data: TrainingData, rng: np.random.Generator, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    names = [name for name in ("clothing", "fruits_nuts") if data.images.get(name)]
    pool = data.images[names[int(rng.random() < 0.2) % len(names)]]
    source = pool[int(rng.integers(len(pool)))]
    frames, labels = moving_image(source, rng, size, num_frames)
    if rng.random() < 0.25:
        labels = (labels > 0).astype(np.int32)
    return frames, labels


def _dsb(
    data: TrainingData, rng: np.random.Generator, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    pool = data.images["dsb2018"]
    chosen = pool[int(rng.integers(len(pool)))]
    return moving_image(chosen, rng, size, num_frames, max_shrink=MAX_SHRINK)


def _scene(
    data: TrainingData, rng: np.random.Generator, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    background = _photo if rng.random() < 0.85 or not data.images.get("dsb2018") else _dsb
    frames, labels = background(data, rng, size, num_frames)
    return pasted_scene(data, rng, frames, labels)


def _nuclei(
    data: TrainingData, rng: np.random.Generator, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    if rng.random() < 0.3:
        return _dsb(data, rng, size, num_frames)
    return nuclei_scene(data, rng, size, num_frames)


def _cells(
    data: TrainingData, rng: np.random.Generator, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    return cell_stack(rng, size, num_frames)


def _blobs(
    data: TrainingData, rng: np.random.Generator, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    return blob_stack(rng, size, num_frames)


BUILDERS: Mapping[str, Builder] = {
    "photo": _photo,
    "dsb": _dsb,
    "scene": _scene,
    "nuclei": _nuclei,
    "volume": walk_through_volume,
    "cells": _cells,
    "blobs": _blobs,
}
