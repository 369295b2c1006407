"""The stages of the SAM 2 paper's recipe, and its released fine-tuning on MOSE.

What the paper does with many GPUs is the same here with `accumulate`: a step learns from
processes * accumulate * (clips + images) samples. The augmentations are those of `video_augment`
for a user's own data.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from sam2_plugins.core.config import MODELS, SIZES
from sam2_plugins.core.training.losses import LossWeights
from sam2_plugins.core.training.own_data import OwnData, load_own_data
from sam2_plugins.core.training.stages import TrainingConfig

PAPER_LOSSES = LossWeights(focal=20.0, dice=1.0, iou=1.0, occlusion=1.0)
_LAYER_DECAY = {"tiny": 0.8, "small": 0.8, "base-plus": 0.9, "large": 0.925}
_DROP_PATH = {"tiny": 0.1, "small": 0.1, "base-plus": 0.2, "large": 0.3}
_SIDE_OVER_INPUT = 1.0

_paper = partial(
    TrainingConfig,
    size=1024,
    weight_decay=0.1,
    clip_norm=0.1,
    ema_decay=0.999,
    loss_stride=1,
    use_bfloat16=True,
    saves_memory=True,
    losses=PAPER_LOSSES,
    draws_clicks=False,
    correction_clicks=7,
    clip_clicks=7,
    truth_click_chance=0.1,
    # One or two frames, the first among them, equally often.
    corrected_frame_chance=0.5,
    # A mask half the time, a click and a box a quarter each.
    mask_chance=0.5,
    objects_per_clip=3,
)

RECIPES: Mapping[str, TrainingConfig] = {
    # Images alone, 90,000 steps of 256, at most 64 masks of each.
    "image": _paper(
        name="image",
        clips_per_step=0,
        images_per_step=1,
        objects_per_image=64,
        steps=90_000,
        learning_rate=4e-4,
        final_learning_rate=0.0,
        schedule="rsqrt",
        timescale=1000,
        warmup_steps=1000,
        cooldown_steps=5000,
    ),
    # Images and clips of eight frames together.
    "full": _paper(
        name="full",
        num_frames=8,
        clips_per_step=1,
        images_per_step=1,
        objects_per_image=64,
        steps=150_000,
        learning_rate=3e-4,
        final_learning_rate=3e-5,
        encoder_rate=6e-5 / 3e-4,
        warmup_steps=15_000,
    ),
    # Longer clips at half the rate, with the image encoder as it is.
    "long": _paper(
        name="long",
        num_frames=16,
        clips_per_step=1,
        images_per_step=0,
        steps=50_000,
        learning_rate=1.5e-4,
        final_learning_rate=1.5e-5,
        warmup_steps=1000,
        frozen=("image_encoder.",),
    ),
    # The configuration released for fine-tuning base-plus on MOSE: 40 epochs of 1246 clips, 8 a
    # step.
    "mose": _paper(
        name="mose",
        num_frames=8,
        clips_per_step=1,
        images_per_step=0,
        steps=40 * 1246 // 8,
        learning_rate=5e-6,
        final_learning_rate=5e-7,
        encoder_rate=3e-6 / 5e-6,
        warmup_steps=0,
        layer_decay=0.9,
        drop_path=0.1,
    ),
}
"""Every stage by name; layer-wise decay and skipped blocks depend on the size, see below."""


def recipe_stage(
    name: str,
    *,
    model: str = "sam2.1-base-plus",
    image_size: int | None = None,
    steps: int | None = None,
    accumulate: int = 1,
) -> TrainingConfig:
    """Return a stage of the recipe for a model.

    Args:
        name: A key of `RECIPES`.
        model: Its size decides layer-wise decay and how many blocks are skipped.
        image_size: Side of the input in pixels; the model's own if None.
        steps: In place of the paper's.
        accumulate: Batches that one step learns from, for each process.

    Raises:
        ValueError: There is no such stage, or a number is out of range.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown stage {name!r}; the recipe has {', '.join(RECIPES)}")
    stage = RECIPES[name]
    size = next((size for size in SIZES if model.endswith(size)), "tiny")
    if name in ("image", "full"):
        stage = replace(stage, layer_decay=_LAYER_DECAY[size], drop_path=_DROP_PATH[size])
    own_size = MODELS[model].image_size if model in MODELS else stage.size
    return replace(
        stage,
        size=image_size or own_size,
        steps=stage.steps if steps is None else steps,
        warmup_steps=stage.warmup_steps if steps is None else min(stage.warmup_steps, steps // 10),
        accumulate=accumulate,
    )


def load_recipe_data(path: Path, size: int) -> tuple[OwnData, None]:
    """Read labelled data of any layout for a stage of the recipe; nothing is kept apart."""
    return load_own_data(path, max_side=round(_SIDE_OVER_INPUT * size)), None
