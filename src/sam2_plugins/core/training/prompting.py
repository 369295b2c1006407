"""Simulated prompts: the true mask, a click or a loose box, then clicks where it went wrong."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

PromptKind = Literal["mask", "click", "box"]

BOX_JITTER_SHARE = 0.1
BOX_JITTER_LIMIT = 20.0


@dataclass(frozen=True)
class PromptPlan:
    """Which prompts the objects of a batch get.

    Attributes:
        kind: Kind of the first prompt; drawn if None.
        mask_chance: Chance that a drawn kind is the mask.
        num_corrections: Corrective clicks on each frame that is corrected.
        corrected_frame: A second frame that gets corrective clicks, at least one.
        truth_chance: Chance that a corrective click is anywhere on the object, wherever the mask
            is wrong.
        follows_motion: Give tracked frames the mask of the frame before, moved along, where the
            model is one that follows motion.
    """

    kind: PromptKind | None = None
    mask_chance: float = 0.5
    num_corrections: int = 0
    corrected_frame: int | None = None
    truth_chance: float = 0.0
    follows_motion: bool = True


def choose_prompt_kind(generator: torch.Generator, *, mask_chance: float = 0.5) -> PromptKind:
    """Draw the kind of the first prompt; what is not a mask is as often a click as a box.

    Args:
        generator: Source of randomness.
        mask_chance: Chance of a mask.
    """
    draw = float(torch.rand((), generator=generator, device=generator.device))
    if draw < mask_chance:
        return "mask"
    return "click" if draw < (1 + mask_chance) / 2 else "box"


def uniform(size: torch.Size, generator: torch.Generator, device: torch.device) -> Tensor:
    """Draw from [0, 1) where the generator is, and bring the numbers to a device."""
    return torch.rand(size, generator=generator, device=generator.device).to(device)


def sample_pixels(region: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one pixel of each region, all its pixels being equally likely.

    Args:
        region: (B, H, W) bool.
        generator: Source of randomness.

    Returns:
        (B, 2) float32, (x, y); any pixel of the image where a region is empty.
    """
    width = region.shape[-1]
    draws = uniform(region.shape, generator, region.device)
    index = (draws + region).flatten(1).argmax(1)
    return torch.stack([index % width, index // width], -1).float()


def click_inside(masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw one click on each object.

    Args:
        masks: (B, H, W) bool.
        generator: Source of randomness.

    Returns:
        Points (B, 1, 2) float32 and labels (B, 1) int64: 1, or 0 where the object is absent.
    """
    points = sample_pixels(masks, generator)
    present = masks.flatten(1).any(1)
    return points[:, None], present.long()[:, None]


def correct(
    predicted: Tensor, masks: Tensor, *, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw one click in each error region: positive where object was missed, else negative.

    Where a prediction is perfect, the click is anywhere in the image and tells the truth there.

    Args:
        predicted: (B, H, W) bool.
        masks: (B, H, W) bool, the truth.
        generator: Source of randomness.

    Returns:
        Points (B, 1, 2) float32 and labels (B, 1) int64, 1 or 0.
    """
    points = sample_pixels(predicted ^ masks, generator)
    columns, rows = points.long().unbind(-1)
    labels = masks[torch.arange(len(masks), device=masks.device), rows, columns]
    return points[:, None], labels.long()[:, None]


def loose_box(masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw a box around each object as two corner points.

    Every side is moved by up to a tenth of the box's length along it, at most 20 pixels, and
    stays in the image.

    Args:
        masks: (B, H, W) bool, none empty.
        generator: Source of randomness.

    Returns:
        Points (B, 2, 2) float32 and labels (B, 2) int64: 2 and 3.
    """
    height, width = masks.shape[-2:]
    columns, rows = masks.any(1), masks.any(2)
    low = torch.stack([columns.int().argmax(1), rows.int().argmax(1)], -1).float()
    high = torch.stack(
        [
            width - 1 - columns.flip(1).int().argmax(1),
            height - 1 - rows.flip(1).int().argmax(1),
        ],
        -1,
    ).float()
    reach = ((high - low) * BOX_JITTER_SHARE).clamp(max=BOX_JITTER_LIMIT)
    limit = torch.tensor([width - 1.0, height - 1.0], device=masks.device)
    low = low + reach * (2 * uniform(low.shape, generator, masks.device) - 1)
    high = high + reach * (2 * uniform(high.shape, generator, masks.device) - 1)
    points = torch.stack([low, high], 1).clamp(min=0)
    points = torch.minimum(points, limit)
    labels = torch.tensor([2, 3], device=masks.device).expand(len(masks), 2)
    return points, labels
