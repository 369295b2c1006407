"""The losses of SAM 2, each a formula, and how a prediction's terms are put together."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term; the defaults are the paper's.

    `balanced` is ours, for the first stage of a run from scratch: averaged over an image, focal
    loss is nearly satisfied by an empty mask, and a fresh network stays there.
    """

    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    occlusion: float = 1.0
    balanced: float = 0.0


@dataclass(frozen=True)
class LossTerms:
    """The terms of one or many predictions, each a scalar tensor, and how many are averaged.

    Attributes:
        focal: Mean over the predictions with a visible object, of the best mask.
        dice: As focal.
        balanced: As focal.
        iou: Mean over the predictions with a visible object, of all masks.
        occlusion: Mean over all predictions.
    """

    focal: Tensor
    dice: Tensor
    iou: Tensor
    occlusion: Tensor
    balanced: Tensor

    def total(self, weights: LossWeights) -> Tensor:
        """Return the weighted sum."""
        return (
            weights.focal * self.focal
            + weights.dice * self.dice
            + weights.iou * self.iou
            + weights.occlusion * self.occlusion
            + weights.balanced * self.balanced
        )


def focal_loss(
    mask_logits: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Mean over pixels of -alpha_t (1 - p_t)^gamma log p_t.

    p_t is the probability given to the pixel's true class; alpha_t is alpha inside and
    1 - alpha outside.

    Args:
        mask_logits: (..., H, W) float.
        targets: The same shape, float, 0 or 1.
        alpha: Weight of object pixels.
        gamma: How much sure pixels are played down.

    Returns:
        (...) float.
    """
    cross_entropy = functional.binary_cross_entropy_with_logits(
        mask_logits, targets, reduction="none"
    )
    wrongness = (mask_logits.sigmoid() - targets).abs()
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return (weight * wrongness**gamma * cross_entropy).flatten(-2).mean(-1)


def dice_loss(mask_logits: Tensor, targets: Tensor) -> Tensor:
    """1 - (2 Σ p g + 1) / (Σ p + Σ g + 1), with p the probability and g the truth of a pixel.

    Args:
        mask_logits: (..., H, W) float.
        targets: The same shape, float, 0 or 1.

    Returns:
        (...) float.
    """
    probability = mask_logits.sigmoid().flatten(-2)
    truth = targets.flatten(-2)
    overlap = (probability * truth).sum(-1)
    return 1 - (2 * overlap + 1) / (probability.sum(-1) + truth.sum(-1) + 1)


def balanced_cross_entropy(mask_logits: Tensor, targets: Tensor) -> Tensor:
    """Half the mean of -log p over object pixels plus half that of -log(1 - p) over the others.

    Args:
        mask_logits: (..., H, W) float.
        targets: The same shape, float, 0 or 1.

    Returns:
        (...) float.
    """
    cross_entropy = functional.binary_cross_entropy_with_logits(
        mask_logits, targets, reduction="none"
    ).flatten(-2)
    truth = targets.flatten(-2)
    inside = (cross_entropy * truth).sum(-1) / truth.sum(-1).clamp(min=1)
    outside = (cross_entropy * (1 - truth)).sum(-1) / (1 - truth).sum(-1).clamp(min=1)
    return (inside + outside) / 2


def mask_iou(mask_logits: Tensor, targets: Tensor) -> Tensor:
    """Intersection over union of `mask_logits > 0` and the truth; 1 where both are empty.

    Args:
        mask_logits: (..., H, W) float.
        targets: The same shape, float or bool.

    Returns:
        (...) float32.
    """
    mask, truth = (mask_logits > 0).flatten(-2), (targets > 0.5).flatten(-2)
    union = (mask | truth).sum(-1)
    overlap = (mask & truth).sum(-1)
    return torch.where(union > 0, overlap / union.clamp(min=1), 1.0).float()


def prediction_losses(
    mask_logits: Tensor,
    predicted_iou: Tensor,
    *,
    object_score_logits: Tensor,
    targets: Tensor,
    weights: LossWeights | None = None,
) -> LossTerms:
    """Losses of a batch of predictions.

    Only the mask with the lowest weighted sum of mask losses learns from its pixels; the predicted
    IoU of every mask does (|predicted - real|). Where the object is absent, neither does; there
    only the object score learns (binary cross-entropy).

    Args:
        mask_logits: (B, M, h, w) float.
        predicted_iou: (B, M) float.
        object_score_logits: (B, 1) float.
        targets: (B, h, w) float, 0 or 1; all zero where the object is absent.
        weights: How the best mask is chosen; the paper's if None.

    Returns:
        The terms.
    """
    visible = (targets.flatten(1) > 0.5).any(1).float()  # (B,)
    count = visible.sum().clamp(min=1)
    truth = targets[:, None].expand_as(mask_logits)
    with torch.no_grad():
        real_iou = mask_iou(mask_logits, truth)
    focal, dice = focal_loss(mask_logits, truth), dice_loss(mask_logits, truth)
    balanced = balanced_cross_entropy(mask_logits, truth)
    weights = weights or LossWeights()
    total = weights.focal * focal + weights.dice * dice + weights.balanced * balanced
    best = total.argmin(1, keepdim=True)
    occlusion = functional.binary_cross_entropy_with_logits(object_score_logits[:, 0], visible)
    return LossTerms(
        focal=(focal.gather(1, best)[:, 0] * visible).sum() / count,
        dice=(dice.gather(1, best)[:, 0] * visible).sum() / count,
        iou=((predicted_iou - real_iou).abs().mean(1) * visible).sum() / count,
        occlusion=occlusion,
        balanced=(balanced.gather(1, best)[:, 0] * visible).sum() / count,
    )


def mean_terms(terms: list[LossTerms]) -> LossTerms:
    """Average the terms of several steps of one clip."""
    return LossTerms(
        focal=torch.stack([term.focal for term in terms]).mean(),
        dice=torch.stack([term.dice for term in terms]).mean(),
        iou=torch.stack([term.iou for term in terms]).mean(),
        occlusion=torch.stack([term.occlusion for term in terms]).mean(),
        balanced=torch.stack([term.balanced for term in terms]).mean(),
    )


def to_loss_size(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Shrink masks to the size the losses are computed at; at least half covered is object.

    Args:
        masks: (B, H, W) bool.
        size: (height, width), divisors of H and W.

    Returns:
        (B, height, width) float, 0 or 1.
    """
    covered = functional.adaptive_avg_pool2d(masks[:, None].float(), size)[:, 0]
    return (covered >= 0.5).float()
