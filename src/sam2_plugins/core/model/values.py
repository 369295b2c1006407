"""What passes between the steps of the network: features, masks, memories."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

ABSENT_LOGIT = -1024.0
"""The mask logit of every pixel of an object that is not visible."""
LOGIT_LIMIT = 32.0
"""Mask logits enter the decoder clamped to this, as they did in training."""

CERTAIN = 10.0
"""The mask logit of what a person has said, and the object score of what one has seen."""


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """What the image encoder says of a batch of images.

    Attributes:
        stride_16: (B, C, h, w), not conditioned on any memory.
        stride_8: (B, C / 4, 2 h, 2 w).
        stride_4: (B, C / 8, 4 h, 4 w).
    """

    stride_16: Tensor
    stride_8: Tensor
    stride_4: Tensor

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the stride-16 map."""
        return self.stride_16.shape[-2], self.stride_16.shape[-1]

    def take(self, index: Tensor | slice) -> "ImageFeatures":
        """The features at positions of the batch; repeat a position for several objects."""
        return ImageFeatures(self.stride_16[index], self.stride_8[index], self.stride_4[index])

    def to(self, target: torch.device | torch.dtype) -> "ImageFeatures":
        """The features on another device or in another dtype."""
        return ImageFeatures(
            self.stride_16.to(target), self.stride_8.to(target), self.stride_4.to(target)
        )


class Segmentation(NamedTuple):
    """One mask for each of B objects, and what to remember of it.

    Attributes:
        low_res_logits: (B, 1, 4 h, 4 w) float32; `ABSENT_LOGIT` where the object is absent.
        predicted_iou: (B,) float32 in [0, 1].
        object_score_logits: (B,) float32; > 0 means visible.
        object_pointers: (B, C).
    """

    low_res_logits: Tensor
    predicted_iou: Tensor
    object_score_logits: Tensor
    object_pointers: Tensor


class MapMemory(NamedTuple):
    """A memory map and how old it is.

    Attributes:
        features: (B, memory_dim, h, w).
        age: Frames back, 1 for the frame just before; 0 for a conditioning frame, however far.
    """

    features: Tensor
    age: int


class PointerMemory(NamedTuple):
    """An object pointer and how far away in time it was made.

    Attributes:
        pointer: (B, C).
        distance: Frames between, positive for frames already passed.
    """

    pointer: Tensor
    distance: float
