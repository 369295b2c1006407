"""What the network does with a batch in training: prompt, track, correct; and the losses of it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.motion import carry, decode_carried
from sam2_plugins.core.training.batches import Batch
from sam2_plugins.core.training.clip_memory import ClipMemory, FrameMemory
from sam2_plugins.core.training.comparison import Comparison
from sam2_plugins.core.training.dense import DenseHead, dense_loss
from sam2_plugins.core.training.losses import LossTerms, mean_terms
from sam2_plugins.core.training.prompting import PromptPlan, choose_prompt_kind
from sam2_plugins.core.training.simulated_user import Answer, Frame, SimulatedUser

_PLAN, _COMPARISON = PromptPlan(), Comparison()


@dataclass(frozen=True)
class Rollout:
    """Losses and accuracy of a batch.

    Attributes:
        terms: Losses averaged over all predictions made.
        iou: Mean IoU of the chosen masks, scalar tensor: on clips over the tracked frames on
            which the object is visible, on images after the first prompt.
        dense: Loss of the head that tells of every pixel, scalar tensor; None without a head.
    """

    terms: LossTerms
    iou: Tensor
    dense: Tensor | None = None


def run_images(
    model: SAM2,
    batch: Batch,
    *,
    generator: torch.Generator,
    plan: PromptPlan = _PLAN,
    comparison: Comparison = _COMPARISON,
    head: DenseHead | None = None,
) -> Rollout:
    """Segment images from a click or a box, then from clicks where the mask is wrong.

    Args:
        model: The network.
        batch: One frame per clip.
        generator: Randomness of the prompts.
        plan: Which prompts; a click or a box, equally often, where it leaves the kind open.
        comparison: How the masks are compared with the truth.
        head: Learns to tell of every pixel, where the batch knows.

    Raises:
        ValueError: If the plan is to give the mask itself.
    """
    kind = plan.kind or choose_prompt_kind(generator, mask_chance=0.0)
    if kind == "mask":
        raise ValueError("an image is prompted by 'click' or 'box': its mask leaves nothing to do")
    encoded = model.encode_image(batch.images[:, 0])
    features = encoded.take(_object_rows(batch))
    frame = Frame(features, model.without_memory(features), batch.masks[:, 0])
    user = SimulatedUser(model, generator, truth_chance=plan.truth_chance)
    answer = user.prompt(frame, kind=kind, num_corrections=plan.num_corrections)
    terms = [comparison.losses(decoding, frame.masks) for decoding in answer.decodings]
    first = model.summarise(answer.decodings[0])
    dense = None
    if head is not None and batch.targets is not None:
        dense = dense_loss(head(encoded), batch.targets)
    return Rollout(mean_terms(terms), comparison.iou(first, frame.masks).mean(), dense)


def run_clips(
    model: SAM2,
    batch: Batch,
    *,
    generator: torch.Generator,
    plan: PromptPlan = _PLAN,
    comparison: Comparison = _COMPARISON,
) -> Rollout:
    """Prompt the first frame of clips and follow the objects to the last.

    Args:
        model: The network.
        batch: The clips, of two frames and more; with their motion for models that follow it.
        generator: Randomness of the prompts.
        plan: Which prompts.
        comparison: How the masks are compared with the truth.
    """
    num_frames = batch.images.shape[1]
    encoded = model.encode_image(batch.images.flatten(0, 1))
    device, rows = batch.images.device, _object_rows(batch)
    first_frames = torch.arange(len(batch.images), device=device) * num_frames
    memory = ClipMemory(model.config.num_memories)
    user = SimulatedUser(model, generator, truth_chance=plan.truth_chance)
    kind = plan.kind or choose_prompt_kind(generator, mask_chance=plan.mask_chance)
    follows = model.config.follows_motion and plan.follows_motion
    motion = batch.motion[rows] if follows and batch.motion is not None else None
    terms: list[LossTerms] = []
    ious: list[Tensor] = []
    for frame_index in range(num_frames):
        per_clip = encoded.take(first_frames + frame_index)
        features, masks = per_clip.take(rows), batch.masks[:, frame_index]
        if frame_index == 0:
            frame = Frame(features, model.without_memory(features), masks)
            answer = user.prompt(frame, kind=kind, num_corrections=plan.num_corrections)
        else:
            conditioned = model.with_memory(
                features,
                maps=memory.maps(frame_index),
                pointers=memory.pointers(frame_index),
                prepared=model.memory_attention.prepare(per_clip.stride_16)[rows],
            )
            carried = None
            if motion is not None:
                carried = carry(answer.kept.low_res_logits.detach(), motion[:, frame_index])
            tracked = decode_carried(model, features, conditioned, carried)
            answer = Answer([tracked], model.summarise(tracked))
            ious.append(comparison.visible_iou(answer.kept, masks))
            if frame_index == plan.corrected_frame:
                frame = Frame(features, conditioned, masks)
                clicks = max(plan.num_corrections, 1)
                answer = user.correct(frame, answer, num_corrections=clicks)
        terms += [comparison.losses(decoding, masks) for decoding in answer.decodings]
        if frame_index + 1 < num_frames:
            kept, is_conditioning = answer.kept, frame_index in (0, plan.corrected_frame)
            maps = model.encode_memory(
                features, kept.low_res_logits, kept.object_score_logits, hard=is_conditioning
            )
            memory.remember(
                FrameMemory(frame_index, maps, kept.object_pointers),
                is_conditioning=is_conditioning,
            )
    return Rollout(mean_terms(terms), torch.stack(ious).mean())


def _object_rows(batch: Batch) -> Tensor:
    """Return the row of each object's clip, (B * O,) int64."""
    clips = torch.arange(len(batch.images), device=batch.images.device)
    return clips.repeat_interleave(batch.objects_per_clip)
