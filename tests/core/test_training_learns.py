"""Training from scratch learns: a disc on noise, from a click or a box."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_training_loop import TINY

from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.training.batches import Batch, make_batch
from sam2_plugins.core.training.clips import Clip
from sam2_plugins.core.training.initial import initialise
from sam2_plugins.core.training.loop import RunSettings, Trainer
from sam2_plugins.core.training.losses import LossWeights
from sam2_plugins.core.training.prompting import PromptPlan
from sam2_plugins.core.training.rollout import run_images
from sam2_plugins.core.training.stages import TrainingConfig

SIZE = 64
STAGE = TrainingConfig(
    "discs",
    size=SIZE,
    clips_per_step=0,
    images_per_step=8,
    objects_per_image=1,
    steps=150,
    learning_rate=2e-3,
    final_learning_rate=2e-4,
    warmup_steps=20,
    correction_clicks=0,
    ema_decay=0.95,
    losses=LossWeights(focal=0.0, dice=1.0, balanced=1.0),
)


class Discs:
    """A disc somewhere; the same seed gives the same picture."""

    def clip(self, seed, *, size, num_frames, num_objects, kinds=None) -> Clip:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:size, :size]
        cy, cx = rng.uniform(14, size - 14, 2)
        mask = (y - cy) ** 2 + (x - cx) ** 2 < rng.uniform(7, 13) ** 2
        grey = rng.uniform(20, 60) + rng.normal(0, 8, (size, size))
        grey[mask] += rng.uniform(80, 160)
        frames = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[None, ..., None], 3, axis=-1)
        masks = np.broadcast_to(mask, (num_objects, num_frames, size, size))
        return Clip(np.repeat(frames, num_frames, 0), masks.copy(), "disc")


def unseen() -> Batch:
    return make_batch(Discs(), (999, 1), batch_size=16, size=SIZE, num_frames=1, num_objects=1)


@torch.no_grad()
def iou_of(model: SAM2) -> float:
    """Mean IoU on pictures that were not learnt from, half of it by a click and half by a box."""
    model.eval()
    ious = [
        run_images(
            model, unseen(), generator=torch.Generator().manual_seed(1), plan=PromptPlan(kind=kind)
        ).iou
        for kind in ("click", "box")
    ]
    model.train()
    return float(torch.stack(ious).mean())


@pytest.mark.slow
def test_from_scratch_masks_of_unseen_objects_become_right(tmp_path: Path):
    model = initialise(SAM2(TINY), 0)
    assert iou_of(model) < 0.2
    trainer = Trainer(model, Discs(), stages=[STAGE], settings=RunSettings(tmp_path))
    trainer.run()
    model.load_state_dict(trainer.average.state)
    assert iou_of(model) > 0.8
