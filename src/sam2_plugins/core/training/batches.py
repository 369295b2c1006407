"""Batches of clips or images as tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from sam2_plugins.core.motion import measure_clip
from sam2_plugins.core.training.clips import Clip, make_clip
from sam2_plugins.core.training.dense import stack_targets
from sam2_plugins.core.training.sources import TrainingData

_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
_DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@runtime_checkable
class ClipSource(Protocol):
    """Data that makes its own clips."""

    def clip(
        self,
        seed: tuple[int, ...],
        *,
        size: int,
        num_frames: int,
        num_objects: int,
        kinds: Mapping[str, float] | None = None,
    ) -> Clip:
        """Make a clip, or with one frame an image; the same arguments make the same."""
        ...


Data = TrainingData | ClipSource


@dataclass(frozen=True)
class Batch:
    """Clips of equal shape, each with the same number of objects.

    Attributes:
        images: (B, T, 3, S, S) float32, normalised.
        masks: (B * O, T, S, S) bool; objects of one clip follow each other.
        targets: (B, 4, S / 4, S / 4) float32, see `dense_targets`; None where they are not wanted.
        motion: (B, T, S / 4, S / 4, 2) float32, see `measure_clip`; None where it is not wanted.
    """

    images: Tensor
    masks: Tensor
    targets: Tensor | None = None
    motion: Tensor | None = None

    @property
    def objects_per_clip(self) -> int:
        """Number of objects O of each clip."""
        return len(self.masks) // len(self.images)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        extras = (None if t is None else t.to(device) for t in (self.targets, self.motion))
        return Batch(self.images.to(device), self.masks.to(device), *extras)


@dataclass(frozen=True)
class RawBatch:
    """A batch as it travels from where it was made to where it is learnt from.

    Attributes:
        frames: (B, T, S, S, 3) uint8, RGB.
        masks: (B * O, T, S, S) bool.
        targets: As those of `Batch`.
        motion: As that of `Batch`.
    """

    frames: Tensor
    masks: Tensor
    targets: Tensor | None = None
    motion: Tensor | None = None

    def pin_memory(self) -> "RawBatch":
        """Return the batch in memory that a GPU copies from by itself."""
        extras = (None if t is None else t.pin_memory() for t in (self.targets, self.motion))
        return RawBatch(self.frames.pin_memory(), self.masks.pin_memory(), *extras)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device, normalised there."""
        frames = self.frames.to(device, non_blocking=True)
        pixels = frames.permute(0, 1, 4, 2, 3).float() / 255
        images = (pixels - _MEAN.to(device)) / _DEVIATION.to(device)
        extras = (
            None if tensor is None else tensor.to(device, non_blocking=True)
            for tensor in (self.targets, self.motion)
        )
        return Batch(images, self.masks.to(device, non_blocking=True), *extras)


@dataclass(frozen=True)
class BatchShape:
    """How a batch is to be.

    Attributes:
        batch_size: Number of clips B.
        size: Side S of the square frames in pixels.
        num_frames: Number of frames T; one makes images.
        num_objects: Number of objects O per clip.
        kinds: Weight of each kind of clip; the default mix if None.
        has_targets: Whether to tell of every pixel too, where the data knows.
        has_motion: Whether to tell how clips move.
        closeups: Chance that a clip is seen through a window around one object; what makes its own
            clips does not.
    """

    batch_size: int
    size: int
    num_frames: int
    num_objects: int
    kinds: Mapping[str, float] | None = None
    has_targets: bool = False
    has_motion: bool = False
    closeups: float = 0.0


def draw_batch(data: Data, seed: tuple[int, ...], shape: BatchShape) -> RawBatch:
    """Build a batch; the same arguments give the same batch, whoever builds it.

    Args:
        data: What to draw from.
        seed: Seed of all randomness.
        shape: How the batch is to be.
    """
    clips = []
    for index in range(shape.batch_size):
        key = (*seed, index)
        if isinstance(data, TrainingData):
            clip = make_clip(
                data,
                key,
                size=shape.size,
                num_frames=shape.num_frames,
                num_objects=shape.num_objects,
                kinds=shape.kinds,
                closeups=shape.closeups,
            )
        else:
            clip = data.clip(
                key,
                size=shape.size,
                num_frames=shape.num_frames,
                num_objects=shape.num_objects,
                kinds=shape.kinds,
            )
        clips.append(clip)
    return RawBatch(
        torch.from_numpy(np.stack([clip.frames for clip in clips])),
        torch.from_numpy(np.concatenate([clip.masks for clip in clips])),
        _draw_targets(clips) if shape.has_targets else None,
        _measure_motion(clips) if shape.has_motion and shape.num_frames > 1 else None,
    )


def _measure_motion(clips: Sequence[Clip]) -> Tensor:
    return torch.from_numpy(np.stack([measure_clip(clip.frames) for clip in clips]))


def _draw_targets(clips: Sequence[Clip]) -> Tensor | None:
    """Return what the clips' labels say of every pixel; None where one has none."""
    labels = [clip.labels for clip in clips if clip.labels is not None]
    return stack_targets(np.stack(labels)) if len(labels) == len(clips) else None


def make_batch(
    data: Data,
    seed: tuple[int, ...],
    *,
    batch_size: int,
    size: int,
    num_frames: int,
    num_objects: int,
    kinds: Mapping[str, float] | None = None,
) -> Batch:
    """Build a batch on the processor, with its motion; see `draw_batch`."""
    shape = BatchShape(batch_size, size, num_frames, num_objects, kinds, has_motion=True)
    return draw_batch(data, seed, shape).to(torch.device("cpu"))
