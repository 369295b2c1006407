"""Which prompts the objects of a step get, drawn as the stage says."""

import torch

from sam2_plugins.core.training.prompting import PromptPlan
from sam2_plugins.core.training.stages import TrainingConfig


def plan_clips(stage: TrainingConfig, generator: torch.Generator) -> PromptPlan:
    """Draw whether a second frame is corrected, and by how many clicks those that are."""
    corrected_frame = None
    if float(torch.rand((), generator=generator)) < stage.corrected_frame_chance:
        corrected_frame = int(torch.randint(1, stage.num_frames, (), generator=generator))
    clicks = int(torch.randint(0, stage.clip_clicks + 1, (), generator=generator))
    return PromptPlan(
        mask_chance=stage.mask_chance,
        num_corrections=clicks if stage.draws_clicks else stage.clip_clicks,
        corrected_frame=corrected_frame,
        truth_chance=stage.truth_click_chance,
    )


def plan_images(stage: TrainingConfig, generator: torch.Generator) -> PromptPlan:
    """Draw by how many clicks images are corrected."""
    clicks = int(torch.randint(0, stage.correction_clicks + 1, (), generator=generator))
    return PromptPlan(
        num_corrections=clicks if stage.draws_clicks else stage.correction_clicks,
        truth_chance=stage.truth_click_chance,
    )
