"""What a training run does: stages with their sizes, budgets and learning rates."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from sam2_plugins.core.training.losses import LossWeights


@dataclass(frozen=True)
class TrainingConfig:
    """One stage of training.

    Every step learns from a batch of clips and a batch of images together.

    Attributes:
        name: Name in logs.
        size: Side of the square input in pixels; a multiple of 32.
        image_size: The same for images, which are cheaper than clips; as `size` if None.
        num_frames: Frames per clip.
        clips_per_step: Clips per process and step; 0 for images only.
        images_per_step: Images per process and step; 0 for clips only.
        objects_per_clip: Objects followed in each clip.
        objects_per_image: Objects per image.
        minutes: Budget by time; None to count steps.
        steps: Budget by steps; None to go by time.
        learning_rate: At the end of the warm-up.
        final_learning_rate: At the end of the stage, reached along a cosine.
        warmup_steps: Steps in which the learning rate rises from zero.
        weight_decay: For parameters of two and more dimensions; others have none.
        clip_norm: Largest norm of the gradient.
        ema_decay: Decay of the running average of the weights.
        correction_clicks: Most corrective clicks on one frame of an image.
        mask_chance: Chance that a clip's first prompt is a mask, not a click or a box.
        corrected_frame_chance: Chance that a clip gets clicks on a second frame.
        clip_kinds: Weight of each kind of clip; None for the default mix.
        image_kinds: Weight of each kind of image; None for the default mix.
        loss_stride: Losses are computed at the input's size over this.
        use_bfloat16: Whether to run the network under bfloat16 autocast.
        losses: Weights of the losses.
        dense: Weight of what the encoder learns from every pixel of images, see `DenseHead`;
            0 for none.
        closeups: Chance that a clip or an image is seen through a window around one object.
        accumulate: Batches of clips and images that one step learns from, one after the other;
            a process with two learns what two processes with one do.
        clip_clicks: Most corrective clicks on one frame of a clip.
        draws_clicks: Draw the number of clicks, from none to the most; else always the most.
        truth_click_chance: Chance that a corrective click is anywhere on the object, not where
            the mask is wrong.
        encoder_rate: Learning rate of the image encoder over that of the rest.
        layer_decay: Learning rate of a block of the trunk over that of the block after it.
        frozen: Parameters whose name begins with one of these do not learn.
        schedule: How the learning rate falls after the warm-up: along a cosine to the final one,
            or as 1 / sqrt(step) and in the last `cooldown_steps` straight to the final one.
        timescale: Steps at which the second schedule begins to fall.
        cooldown_steps: See `schedule`.
        saves_memory: Compute activations again in the backward pass in place of keeping them.
        drop_path: Chance that the last block of the trunk is skipped; less for those before it.
    """

    name: str
    size: int
    image_size: int | None = None
    num_frames: int = 8
    clips_per_step: int = 4
    images_per_step: int = 8
    objects_per_clip: int = 3
    objects_per_image: int = 4
    minutes: float | None = None
    steps: int | None = None
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    warmup_steps: int = 100
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ema_decay: float = 0.997
    correction_clicks: int = 3
    mask_chance: float = 0.5
    corrected_frame_chance: float = 0.3
    clip_kinds: Mapping[str, float] | None = None
    image_kinds: Mapping[str, float] | None = None
    loss_stride: int = 2
    use_bfloat16: bool = False
    losses: LossWeights = field(default_factory=LossWeights)
    dense: float = 0.0
    closeups: float = 0.0
    accumulate: int = 1
    clip_clicks: int = 1
    draws_clicks: bool = True
    truth_click_chance: float = 0.0
    encoder_rate: float = 1.0
    layer_decay: float = 1.0
    frozen: tuple[str, ...] = ()
    schedule: Literal["cosine", "rsqrt"] = "cosine"
    timescale: int = 1000
    cooldown_steps: int = 0
    saves_memory: bool = False
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError(f"stage {self.name!r} needs either minutes or steps, and not both")
        for name, budget in (("minutes", self.minutes), ("steps", self.steps)):
            if budget is not None and not budget > 0:
                raise ValueError(f"{name} must be positive, not {budget}")
        for name, size in (("size", self.size), ("image_size", self.image_size or self.size)):
            if size % 32:
                raise ValueError(f"{name} must be a multiple of 32, not {size}")
        if not self.clips_per_step and not self.images_per_step:
            raise ValueError(f"stage {self.name!r} has neither clips nor images to learn from")
        if self.clips_per_step and self.num_frames < 2:
            raise ValueError(f"clips have two frames and more, not {self.num_frames}")
        if self.accumulate < 1:
            raise ValueError(f"a step learns from one batch or more, not {self.accumulate}")

    def scaled(self, factor: float) -> "TrainingConfig":
        """Return the stage with larger, or smaller, batches."""
        if factor <= 0:
            raise ValueError(f"batches are scaled by more than 0, not by {factor}")
        return replace(
            self,
            clips_per_step=_scaled(self.clips_per_step, factor),
            images_per_step=_scaled(self.images_per_step, factor),
        )

    def learning_rate_at(self, step: int, progress: float) -> float:
        """Return the learning rate: a linear warm-up, then a fall as `schedule` says.

        Args:
            step: Steps done in this stage.
            progress: Share of the stage's budget that is spent, in [0, 1].
        """
        progress = min(max(progress, 0.0), 1.0)
        if self.schedule == "rsqrt":
            past = max(step - self.warmup_steps, 0)
            fall = math.sqrt(self.timescale / (self.timescale + past))
            if self.cooldown_steps and progress > 0:
                left = step / progress - step
                fall *= min(1.0, left / self.cooldown_steps)
        else:
            fall = 0.5 * (1 + math.cos(math.pi * progress))
        rate = self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * fall
        return rate * min(1.0, (step + 1) / max(self.warmup_steps, 1))


def _scaled(count: int, factor: float) -> int:
    """Scale a number of samples; what is there stays there."""
    return max(round(count * factor), 1) if count else 0


_MOSTLY_NUCLEI = {
    "dsb": 0.6,
    "photo": 0.1,
    "volume": 0.08,
    "cells": 0.08,
    "blobs": 0.08,
    "scene": 0.06,
}
_NANO = (
    TrainingConfig(
        name="start",
        size=96,
        clips_per_step=0,
        images_per_step=8,
        objects_per_image=4,
        minutes=0.07,
        learning_rate=6e-4,
        final_learning_rate=6e-4,
        warmup_steps=30,
        correction_clicks=0,
        losses=LossWeights(focal=0.0, dice=1.0, balanced=1.0),
        image_kinds={"blobs": 0.45, "scene": 0.25, "dsb": 0.2, "photo": 0.1},
    ),
    TrainingConfig(
        name="dense",
        closeups=0.5,
        size=256,
        clips_per_step=0,
        images_per_step=6,
        objects_per_image=4,
        minutes=0.25,
        learning_rate=7e-4,
        final_learning_rate=4e-4,
        warmup_steps=40,
        correction_clicks=1,
        dense=1.0,
        image_kinds=_MOSTLY_NUCLEI,
    ),
    TrainingConfig(
        name="short",
        closeups=0.3,
        size=128,
        num_frames=4,
        clips_per_step=2,
        images_per_step=4,
        objects_per_image=6,
        objects_per_clip=3,
        minutes=0.2,
        learning_rate=6e-4,
        final_learning_rate=5e-4,
        warmup_steps=20,
        correction_clicks=1,
        mask_chance=0.8,
        losses=LossWeights(focal=2.0, dice=1.0, balanced=1.0),
    ),
    TrainingConfig(
        name="long",
        closeups=0.5,
        size=128,
        num_frames=8,
        clips_per_step=2,
        images_per_step=4,
        objects_per_image=6,
        objects_per_clip=3,
        minutes=0.18,
        learning_rate=5e-4,
        final_learning_rate=3e-4,
        warmup_steps=20,
    ),
    TrainingConfig(
        name="large",
        closeups=0.5,
        size=256,
        num_frames=5,
        clips_per_step=1,
        images_per_step=3,
        objects_per_image=6,
        objects_per_clip=3,
        minutes=0.15,
        learning_rate=3e-4,
        final_learning_rate=3e-4,
        warmup_steps=20,
        image_size=384,
        dense=0.5,
        image_kinds=_MOSTLY_NUCLEI,
    ),
    TrainingConfig(
        name="near",
        closeups=0.75,
        size=256,
        num_frames=6,
        clips_per_step=1,
        images_per_step=6,
        objects_per_image=4,
        objects_per_clip=3,
        minutes=0.15,
        learning_rate=3e-4,
        final_learning_rate=1e-6,
        warmup_steps=20,
        dense=0.3,
        image_kinds=_MOSTLY_NUCLEI,
    ),
)
"""The recipe of `nano`; minutes are shares of the whole budget."""


def nano_stages(minutes: float) -> tuple[TrainingConfig, ...]:
    """Return the stages that train `nano` from scratch within a time budget.

    Small images under a loss that an empty mask cannot satisfy; then images of the final size,
    learnt from at every pixel; then short clips of small frames, longer ones, and last the final
    input size.

    Args:
        minutes: Budget of the whole run.
    """
    return tuple(replace(stage, minutes=(stage.minutes or 0) * minutes) for stage in _NANO)
