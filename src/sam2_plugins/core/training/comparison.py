"""Predictions held against the truth: losses and IoU, at the size the losses are computed at."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from sam2_plugins.core.model.mask_decoder import Decoding
from sam2_plugins.core.model.sam2 import Segmentation
from sam2_plugins.core.training.losses import (
    LossTerms,
    LossWeights,
    mask_iou,
    prediction_losses,
    to_loss_size,
)


@dataclass(frozen=True)
class Comparison:
    """How predictions are compared with the truth.

    Attributes:
        stride: Losses and IoU are computed at the input's size over this.
        weights: Weights of the losses, by which the best mask is chosen.
    """

    stride: int = 2
    weights: LossWeights = field(default_factory=LossWeights)

    def losses(self, decoding: Decoding, masks: Tensor) -> LossTerms:
        """Compare a decoding with the truth (B, S, S) bool."""
        size = self._size(masks)
        return prediction_losses(
            _resize(decoding.low_res_logits.float(), size),
            decoding.predicted_iou.float(),
            object_score_logits=decoding.object_score_logits.float(),
            targets=to_loss_size(masks, size),
            weights=self.weights,
        )

    @torch.no_grad()
    def iou(self, kept: Segmentation, masks: Tensor) -> Tensor:
        """IoU (B,) of the kept masks with the truth (B, S, S) bool."""
        size = self._size(masks)
        return mask_iou(_resize(kept.low_res_logits, size)[:, 0], to_loss_size(masks, size))

    @torch.no_grad()
    def visible_iou(self, kept: Segmentation, masks: Tensor) -> Tensor:
        """Mean IoU of the kept masks over the objects that are visible; 0 where none is."""
        visible = masks.flatten(1).any(1).float()
        return (self.iou(kept, masks) * visible).sum() / visible.sum().clamp(min=1)

    def _size(self, masks: Tensor) -> tuple[int, int]:
        return masks.shape[-2] // self.stride, masks.shape[-1] // self.stride


def _resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
