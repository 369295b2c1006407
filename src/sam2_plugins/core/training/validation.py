"""A small fixed set, never trained on, that shows while training whether it helps."""

from dataclasses import dataclass

import torch
from torch import distributed

from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.training.batches import Batch, make_batch
from sam2_plugins.core.training.clip_kinds import is_available
from sam2_plugins.core.training.prompting import PromptKind, PromptPlan
from sam2_plugins.core.training.rollout import run_clips, run_images
from sam2_plugins.core.training.sources import TrainingData

VALIDATION_SEED = 987_654_321
PROMPTS: tuple[PromptKind, ...] = ("click", "box")
CLIP_KINDS = ("scene", "nuclei", "cells", "blobs", "volume")


@dataclass(frozen=True)
class ValidationSet:
    """Batches by name.

    Attributes:
        images: Batches of held-out images.
        clips: Batches of clips made of held-out data.
    """

    images: dict[str, Batch]
    clips: dict[str, Batch]


def make_validation_set(
    held_out: TrainingData,
    *,
    size: int,
    image_size: int | None = None,
    num_frames: int = 8,
    rank: int = 0,
) -> ValidationSet:
    """Build the set; each process builds its own part.

    Args:
        held_out: What training never sees.
        size: Side of the frames in pixels.
        image_size: Side of the images in pixels; as `size` if None.
        num_frames: Frames per clip.
        rank: Which process; every one has other samples.
    """
    images, clips = {}, {}
    for index, kind in enumerate(("dsb", "photo")):
        if is_available(kind, held_out):
            images[kind] = make_batch(
                held_out,
                (VALIDATION_SEED, rank, index),
                batch_size=12,
                size=image_size or size,
                num_frames=1,
                num_objects=4,
                kinds={kind: 1.0},
            )
    for index, kind in enumerate(CLIP_KINDS):
        if not is_available(kind, held_out):
            continue
        clips[kind] = make_batch(
            held_out,
            (VALIDATION_SEED, rank, 100 + index),
            batch_size=3,
            size=size,
            num_frames=num_frames,
            num_objects=3,
            kinds={kind: 1.0},
        )
    return ValidationSet(images, clips)


@torch.no_grad()
def validate(model: SAM2, validation: ValidationSet) -> dict[str, float]:
    """Measure mean IoU, averaged over processes.

    Returns:
        `click/...` and `box/...` for images, and for clips followed from the first mask
        `track/...`, and `track`, the mean of those.
    """
    model.eval()
    scores: dict[str, float] = {}
    for name, made in validation.images.items():
        batch = made.to(model.device)
        for prompt in PROMPTS:
            generator = torch.Generator().manual_seed(VALIDATION_SEED)
            outcome = run_images(model, batch, generator=generator, plan=PromptPlan(kind=prompt))
            scores[f"{prompt}/{name}"] = float(outcome.iou)
    for name, made in validation.clips.items():
        batch = made.to(model.device)
        generator = torch.Generator().manual_seed(VALIDATION_SEED)
        outcome = run_clips(model, batch, generator=generator, plan=PromptPlan(kind="mask"))
        scores[f"track/{name}"] = float(outcome.iou)
    tracked = [value for name, value in scores.items() if name.startswith("track/")]
    scores["track"] = sum(tracked) / len(tracked)
    model.train()
    if distributed.is_initialized():
        values = torch.tensor(list(scores.values()), device=model.device)
        distributed.all_reduce(values)
        scores = dict(zip(scores, (values / distributed.get_world_size()).tolist(), strict=True))
    return scores
