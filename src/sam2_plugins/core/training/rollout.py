"""What the network does with a batch in training: prompt, track, correct; and the losses of it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sam2_plugins.core.model.mask_decoder import Decoding
from sam2_plugins.core.model.sam2 import (
    SAM2,
    ImageFeatures,
    Segmentation,
)
from sam2_plugins.core.training.batches import Batch
from sam2_plugins.core.training.clip_memory import ClipMemory
from sam2_plugins.core.training.losses import (
    LossTerms,
    LossWeights,
    mask_iou,
    mean_terms,
    prediction_losses,
    to_loss_size,
)
from sam2_plugins.core.training.prompting import (
    PromptKind,
    choose_prompt_kind,
    click_inside,
    correct,
    loose_box,
)

LOGIT_LIMIT = 32.0


@dataclass(frozen=True)
class Rollout:
    """Losses and accuracy of a batch.

    Attributes:
        terms: Losses averaged over all predictions made.
        iou: Mean IoU of the chosen masks, scalar tensor: on clips over the tracked frames on
            which the object is visible, on images after the first prompt.
    """

    terms: LossTerms
    iou: Tensor


def run_images(
    model: SAM2,
    batch: Batch,
    generator: torch.Generator,
    *,
    num_corrections: int = 0,
    loss_stride: int = 2,
    weights: LossWeights | None = None,
    prompt: PromptKind | None = None,
) -> Rollout:
    """Segment images from a click or a box, then from clicks where the mask is wrong.

    Args:
        model: The network.
        batch: One frame per clip.
        generator: Randomness of the prompts.
        num_corrections: Number of corrective clicks.
        loss_stride: Losses are computed at the input's size over this.
        weights: Weights of the losses, by which the best mask is chosen.
        prompt: Kind of the first prompt; drawn if None.
    """
    features = model.encode_image(batch.images[:, 0])
    features = features.take(_object_rows(batch))
    conditioned = model.without_memory(features)
    masks = batch.masks[:, 0]
    kind = prompt or choose_prompt_kind(generator, mask_chance=0.0)
    decodings, _ = _prompt_and_correct(
        model,
        features,
        conditioned,
        masks=masks,
        kind=kind,
        generator=generator,
        num_corrections=num_corrections,
    )
    terms = [_losses(decoding, masks, loss_stride, weights) for decoding in decodings]
    first = model.summarise(decodings[0])
    return Rollout(mean_terms(terms), _chosen_iou(first, masks, loss_stride).mean())


def run_clips(
    model: SAM2,
    batch: Batch,
    generator: torch.Generator,
    *,
    num_corrections: int = 0,
    corrected_frame: int | None = None,
    loss_stride: int = 2,
    weights: LossWeights | None = None,
    mask_chance: float = 0.5,
    prompt: PromptKind | None = None,
) -> Rollout:
    """Prompt the first frame of clips and follow the objects to the last.

    Args:
        model: The network.
        batch: The clips.
        generator: Randomness of the prompts.
        num_corrections: Corrective clicks on each frame that is corrected.
        corrected_frame: A second frame that gets corrective clicks.
        loss_stride: Losses are computed at the input's size over this.
        weights: Weights of the losses, by which the best mask is chosen.
        mask_chance: Chance that the first frame's prompt is a mask.
        prompt: Kind of the prompt on the first frame; drawn if None.
    """
    num_frames = batch.images.shape[1]
    encoded = model.encode_image(batch.images.flatten(0, 1))
    clips = torch.arange(len(batch.images)) * num_frames
    rows = _object_rows(batch)
    memory = ClipMemory(model.config.num_memories)
    kind = prompt or choose_prompt_kind(generator, mask_chance=mask_chance)
    terms: list[LossTerms] = []
    ious: list[Tensor] = []
    for frame_index in range(num_frames):
        per_clip = encoded.take(clips + frame_index)
        features = per_clip.take(rows)
        masks = batch.masks[:, frame_index]
        if frame_index == 0:
            decodings, kept = _first_frame(
                model,
                features,
                masks=masks,
                kind=kind,
                generator=generator,
                num_corrections=num_corrections,
            )
        else:
            prepared = model.memory_attention.prepare(per_clip.stride_16)[rows]
            conditioned = model.with_memory(
                features,
                maps=memory.maps(frame_index),
                pointers=memory.pointers(frame_index),
                prepared=prepared,
            )
            tracked = model.decode(features, conditioned)
            decodings, kept = [tracked], model.summarise(tracked)
            ious.append(_visible_iou(kept, masks, loss_stride))
            if frame_index == corrected_frame:
                corrections, kept = _correct(
                    model,
                    features,
                    conditioned,
                    masks=masks,
                    first=tracked,
                    prompts=None,
                    generator=generator,
                    num_corrections=max(num_corrections, 1),
                )
                decodings += corrections
        terms += [_losses(decoding, masks, loss_stride, weights) for decoding in decodings]
        if frame_index + 1 < num_frames:
            _remember(
                model,
                memory,
                features,
                kept,
                frame_index=frame_index,
                is_conditioning=frame_index in (0, corrected_frame),
            )
    return Rollout(mean_terms(terms), torch.stack(ious).mean())


def _remember(
    model: SAM2,
    memory: ClipMemory,
    features: ImageFeatures,
    kept: Segmentation,
    *,
    frame_index: int,
    is_conditioning: bool,
) -> None:
    """Encode the memory of a frame and keep it."""
    encoded = model.encode_memory(
        features, kept.low_res_logits, kept.object_score_logits, hard=is_conditioning
    )
    entries = memory.conditioning if is_conditioning else memory.tracked
    entries.append((frame_index, encoded, kept.object_pointers))


def _first_frame(
    model: SAM2,
    features: ImageFeatures,
    *,
    masks: Tensor,
    kind: PromptKind,
    generator: torch.Generator,
    num_corrections: int,
) -> tuple[list[Decoding], Segmentation]:
    """Prompt the first frame; a given mask is taken as it is and has no loss."""
    if kind == "mask":
        return [], model.adopt_masks(features, masks[:, None].float())
    return _prompt_and_correct(
        model,
        features,
        model.without_memory(features),
        masks=masks,
        kind=kind,
        generator=generator,
        num_corrections=num_corrections,
    )


def _prompt_and_correct(
    model: SAM2,
    features: ImageFeatures,
    conditioned: Tensor,
    *,
    masks: Tensor,
    kind: PromptKind,
    generator: torch.Generator,
    num_corrections: int,
) -> tuple[list[Decoding], Segmentation]:
    """Decode from a click or a box, then from corrective clicks."""
    draw = loose_box if kind == "box" else click_inside
    points, labels = draw(masks, generator)
    first = model.decode(
        features, conditioned, points=points, point_labels=labels, multimask=kind == "click"
    )
    corrections, kept = _correct(
        model,
        features,
        conditioned,
        masks=masks,
        first=first,
        prompts=(points, labels),
        generator=generator,
        num_corrections=num_corrections,
    )
    return [first, *corrections], kept


def _correct(
    model: SAM2,
    features: ImageFeatures,
    conditioned: Tensor,
    *,
    masks: Tensor,
    first: Decoding,
    prompts: tuple[Tensor, Tensor] | None,
    generator: torch.Generator,
    num_corrections: int,
) -> tuple[list[Decoding], Segmentation]:
    """Add clicks where the mask is wrong, one at a time, each with the mask before it."""
    kept = model.summarise(first)
    decodings: list[Decoding] = []
    for _ in range(num_corrections):
        previous = kept.low_res_logits.detach().clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        upscaled = functional.interpolate(
            previous, size=masks.shape[-2:], mode="bilinear", align_corners=False
        )
        points, labels = correct(upscaled[:, 0] > 0, masks, generator)
        if prompts is not None:
            points = torch.cat([prompts[0], points], 1)
            labels = torch.cat([prompts[1], labels], 1)
        prompts = (points, labels)
        decoding = model.decode(
            features,
            conditioned,
            points=points,
            point_labels=labels,
            mask_logits=previous,
            multimask=points.shape[1] <= 1,
        )
        decodings.append(decoding)
        kept = model.summarise(decoding)
    return decodings, kept


def _object_rows(batch: Batch) -> Tensor:
    """Return the row of each object's clip, (B * O,) int64."""
    return torch.arange(len(batch.images)).repeat_interleave(batch.objects_per_clip)


def _losses(
    decoding: Decoding, masks: Tensor, loss_stride: int, weights: LossWeights | None
) -> LossTerms:
    """Compare a decoding with the truth at the size of the losses."""
    size = (masks.shape[-2] // loss_stride, masks.shape[-1] // loss_stride)
    logits = functional.interpolate(
        decoding.low_res_logits.float(), size=size, mode="bilinear", align_corners=False
    )
    return prediction_losses(
        logits,
        decoding.predicted_iou.float(),
        object_score_logits=decoding.object_score_logits.float(),
        targets=to_loss_size(masks, size),
        weights=weights,
    )


@torch.no_grad()
def _chosen_iou(kept: Segmentation, masks: Tensor, loss_stride: int) -> Tensor:
    """IoU (B,) of the kept masks with the truth, at the size of the losses."""
    size = (masks.shape[-2] // loss_stride, masks.shape[-1] // loss_stride)
    logits = functional.interpolate(
        kept.low_res_logits, size=size, mode="bilinear", align_corners=False
    )
    return mask_iou(logits[:, 0], to_loss_size(masks, size))


@torch.no_grad()
def _visible_iou(kept: Segmentation, masks: Tensor, loss_stride: int) -> Tensor:
    """Mean IoU of the kept masks over the objects that are visible."""
    visible = masks.flatten(1).any(1).float()
    iou = _chosen_iou(kept, masks, loss_stride)
    return (iou * visible).sum() / visible.sum().clamp(min=1)
