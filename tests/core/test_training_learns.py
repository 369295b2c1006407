"""Training from scratch learns to follow prompts: of four discs alike, the one that is prompted."""

from dataclasses import replace
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
from sam2_plugins.core.training.prompting import PromptKind, PromptPlan
from sam2_plugins.core.training.rollout import run_images
from sam2_plugins.core.training.stages import TrainingConfig

SIZE = 64
SMALL = replace(TINY, embed_dim=8, model_dim=32, memory_dim=16, decoder_heads=2)
STAGE = TrainingConfig(
    "discs",
    size=SIZE,
    clips_per_step=0,
    images_per_step=4,
    objects_per_image=4,
    steps=320,
    learning_rate=2e-3,
    final_learning_rate=2e-3,
    warmup_steps=20,
    correction_clicks=0,
    ema_decay=0.95,
    losses=LossWeights(focal=0.0, dice=1.0, balanced=1.0),
)


class Discs:
    """Four discs of one brightness on noise, in any order; the same seed gives the same picture."""

    def clip(self, seed, *, size, num_frames, num_objects, kinds=None) -> Clip:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:size, :size]
        places = np.array([(16, 16), (16, 48), (48, 16), (48, 48)]) + rng.uniform(-3, 3, (4, 2))
        discs = [(y - cy) ** 2 + (x - cx) ** 2 < rng.uniform(9, 13) ** 2 for cy, cx in places]
        grey = rng.uniform(20, 60) + rng.normal(0, 8, (size, size))
        grey[np.any(discs, axis=0)] += rng.uniform(80, 160)
        frames = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[None, ..., None], 3, axis=-1)
        chosen = [discs[index] for index in rng.permutation(4)[:num_objects]]
        masks = np.broadcast_to(np.stack(chosen)[:, None], (num_objects, num_frames, size, size))
        return Clip(np.repeat(frames, num_frames, 0), masks.copy(), "discs")


def unseen() -> Batch:
    return make_batch(Discs(), (999, 1), batch_size=16, size=SIZE, num_frames=1, num_objects=4)


@torch.no_grad()
def iou_of(model: SAM2, kind: PromptKind) -> float:
    """Mean IoU with the prompted disc, on pictures that were not learnt from."""
    model.eval()
    generator = torch.Generator().manual_seed(1)
    outcome = run_images(model, unseen(), generator=generator, plan=PromptPlan(kind=kind))
    model.train()
    return float(outcome.iou)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_scratch_the_prompted_one_of_discs_alike_is_found(tmp_path: Path):
    batch = unseen()
    discs = batch.masks[:, 0].float().flatten(1)
    every = discs.view(16, 4, -1).sum(1)  # whoever ignores the prompt can at best show them all
    assert float((discs.sum(1) / every.sum(1).repeat_interleave(4)).mean()) < 0.3
    model = initialise(SAM2(SMALL), 0)
    assert max(iou_of(model, "click"), iou_of(model, "box")) < 0.2
    trainer = Trainer(model, Discs(), stages=[STAGE], settings=RunSettings(tmp_path))
    trainer.run()
    model.load_state_dict(trainer.average.state)
    assert min(iou_of(model, "click"), iou_of(model, "box")) > 0.8
