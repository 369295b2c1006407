"""The kinds of clips there are, what each is made of, and how often each is made."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.training.camera import moving_image, walk_through_volume
from sam2_plugins.core.training.scenes import nuclei_scene, pasted_scene
from sam2_plugins.core.training.sources import TrainingData
from sam2_plugins.core.training.stacks import blob_stack, cell_stack

Frames = NDArray[np.uint8]
Labels = NDArray[np.int32]

MAX_SHRINK = 1.33
"""Nuclei are small already: images of them are shrunk no further, but cropped."""

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


class Builder(Protocol):
    """Makes frames (T, S, S, 3) uint8 and their labels (T, S, S) int32."""

    def __call__(
        self, data: TrainingData, rng: np.random.Generator, *, size: int, num_frames: int
    ) -> tuple[Frames, Labels]:
        """Make a clip of one kind."""
        ...


def is_available(kind: str, data: TrainingData) -> bool:
    """Tell whether the data a kind is made of was read."""
    if kind == "volume":
        return any(data.volumes.values())
    if kind in ("dsb", "nuclei"):
        return bool(data.images.get("dsb2018"))
    if kind in ("photo", "scene"):
        return bool(data.images.get("clothing") or data.images.get("fruits_nuts"))
    return True


def _photo(
    data: TrainingData, rng: np.random.Generator, *, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    names = [name for name in ("clothing", "fruits_nuts") if data.images.get(name)]
    pool = data.images[names[int(rng.random() < 0.2) % len(names)]]
    source = pool[int(rng.integers(len(pool)))]
    frames, labels = moving_image(source, rng, size=size, num_frames=num_frames)
    if rng.random() < 0.25:
        labels = (labels > 0).astype(np.int32)
    return frames, labels


def _dsb(
    data: TrainingData, rng: np.random.Generator, *, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    pool = data.images["dsb2018"]
    chosen = pool[int(rng.integers(len(pool)))]
    return moving_image(chosen, rng, size=size, num_frames=num_frames, max_shrink=MAX_SHRINK)


def _scene(
    data: TrainingData, rng: np.random.Generator, *, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    background = _photo if rng.random() < 0.85 or not data.images.get("dsb2018") else _dsb
    frames, labels = background(data, rng, size=size, num_frames=num_frames)
    return pasted_scene(data, rng, frames=frames, labels=labels)


def _nuclei(
    data: TrainingData, rng: np.random.Generator, *, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    if rng.random() < 0.3:
        return _dsb(data, rng, size=size, num_frames=num_frames)
    return nuclei_scene(data, rng, size=size, num_frames=num_frames)


def _volume(
    data: TrainingData, rng: np.random.Generator, *, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    pool = [volume for volumes in data.volumes.values() for volume in volumes]
    chosen = pool[int(rng.integers(len(pool)))]
    return walk_through_volume(chosen, rng, size=size, num_frames=num_frames)


def _cells(
    data: TrainingData, rng: np.random.Generator, *, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    return cell_stack(rng, size=size, num_frames=num_frames)


def _blobs(
    data: TrainingData, rng: np.random.Generator, *, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    return blob_stack(rng, size=size, num_frames=num_frames)


BUILDERS: Mapping[str, Builder] = {
    "photo": _photo,
    "dsb": _dsb,
    "scene": _scene,
    "nuclei": _nuclei,
    "volume": _volume,
    "cells": _cells,
    "blobs": _blobs,
}
