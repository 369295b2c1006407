"""Batches of clips or images as tensors."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sam2_plugins.core.training.clips import make_clip
from sam2_plugins.core.training.sources import TrainingData

_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
_DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@dataclass(frozen=True)
class Batch:
    """Clips of equal shape, each with the same number of objects.

    Attributes:
        images: (B, T, 3, S, S) float32, normalised.
        masks: (B * O, T, S, S) bool; objects of one clip follow each other.
    """

    images: Tensor
    masks: Tensor

    @property
    def objects_per_clip(self) -> int:
        """Number of objects O of each clip."""
        return len(self.masks) // len(self.images)


def make_batch(
    data: TrainingData,
    seed: tuple[int, ...],
    *,
    batch_size: int,
    size: int,
    num_frames: int,
    num_objects: int,
    kinds: Mapping[str, float] | None = None,
) -> Batch:
    """Build a batch; the same arguments give the same batch.

    Args:
        data: What to draw from.
        seed: Seed of all randomness.
        batch_size: Number of clips B.
        size: Side S of the square frames in pixels.
        num_frames: Number of frames T; one makes images.
        num_objects: Number of objects O per clip.
        kinds: Weight of each kind of clip; the default mix if None.
    """
    clips = [
        make_clip(
            data,
            (*seed, index),
            size=size,
            num_frames=num_frames,
            num_objects=num_objects,
            kinds=kinds,
        )
        for index in range(batch_size)
    ]
    frames = torch.from_numpy(np.stack([clip.frames for clip in clips]))
    pixels = frames.permute(0, 1, 4, 2, 3).float() / 255
    masks = torch.from_numpy(np.concatenate([clip.masks for clip in clips]))
    return Batch((pixels - _MEAN) / _DEVIATION, masks)
