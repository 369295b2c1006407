"""What a step learns from does not depend on how many processes make it, or on the device."""

from dataclasses import replace

import pytest
import torch
from tiny import make_tiny

from sam2_plugins.core.training.batches import Batch, RawBatch
from sam2_plugins.core.training.feeding import BatchFeed, Share, make_step_batch
from sam2_plugins.core.training.loop import RunSettings, Trainer
from sam2_plugins.core.training.losses import LossWeights
from sam2_plugins.core.training.prompting import PromptPlan
from sam2_plugins.core.training.rollout import run_clips, run_images
from sam2_plugins.core.training.sources import TrainingData
from sam2_plugins.core.training.stages import TrainingConfig

NO_DATA = TrainingData({}, {})
STAGE = TrainingConfig(
    "tiny",
    size=64,
    num_frames=2,
    clips_per_step=1,
    images_per_step=2,
    objects_per_clip=1,
    objects_per_image=2,
    clip_kinds={"blobs": 1.0},
    image_kinds={"cells": 1.0},
    steps=3,
    warmup_steps=1,
)


def contents(batches):
    return [
        [batch.key, *(part for raw in (batch.clips, batch.images) for part in vars(raw).values())]
        for batch in batches
    ]


def is_equal(one, other):
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for first, second in zip(one, other, strict=True)
        for a, b in zip(first, second, strict=True)
    )


def test_batches_do_not_depend_on_the_number_of_workers():
    stage = replace(STAGE, accumulate=2)
    made = []
    for num_workers in (0, 1, 3):
        feed = BatchFeed(NO_DATA, Share(seed=4, rank=1, num_workers=num_workers))
        made.append([batch for step in (5, 6) for batch in feed.take(stage, step)])
        feed.close()
    assert [batch.key for batch in made[0]] == [(4, 5, 2), (4, 5, 3), (4, 6, 2), (4, 6, 3)]
    for other in made[1:]:
        assert is_equal(contents(made[0]), contents(other))
    assert not is_equal(contents(made[0][:1]), contents(made[0][1:2]))


def test_a_step_out_of_order_and_another_stage_are_made_afresh():
    feed = BatchFeed(NO_DATA, Share(num_workers=1))
    images_only = replace(STAGE, clips_per_step=0)
    for stage, step in ((STAGE, 0), (STAGE, 3), (images_only, 4), (STAGE, 1)):
        (batch,) = feed.take(stage, step)
        twin = make_step_batch(NO_DATA, stage, (0, step, 0))
        assert (batch.clips is None) == (stage is images_only)
        assert torch.equal(batch.images.frames, twin.images.frames)
    feed.close()


def test_a_trainer_learns_the_same_with_workers_and_without(tmp_path):
    weights = []
    for num_workers in (0, 2):
        settings = RunSettings(tmp_path, num_workers=num_workers)
        trainer = Trainer(make_tiny(), NO_DATA, stages=[STAGE], settings=settings)
        trainer.run()
        weights.append(trainer.model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_batches_are_scaled_and_never_to_nothing():
    stage = replace(STAGE, clips_per_step=0, images_per_step=3)
    assert (stage.scaled(4).clips_per_step, stage.scaled(4).images_per_step) == (0, 12)
    assert stage.scaled(0.1).images_per_step == 1
    with pytest.raises(ValueError, match="by more than 0, not by 0"):
        stage.scaled(0)


def test_normalising_on_the_device_gives_the_mean_and_deviation_of_imagenet():
    frames = torch.tensor([[[[[124, 116, 104]]]]], dtype=torch.uint8)  # nearly the mean
    batch = RawBatch(frames, torch.ones(1, 1, 1, 1, dtype=torch.bool)).to(torch.device("cpu"))
    assert batch.images.shape == (1, 1, 3, 1, 1)
    assert batch.images.abs().max() < 0.02


@pytest.mark.parametrize("kind", ["mask", "click", "box"])
def test_every_tensor_is_made_on_the_device_of_the_batch(kind):
    """No GPU is needed to see it: what is made without naming a device has no numbers here."""
    model = make_tiny()
    masks = torch.zeros(4, 3, 64, 64, dtype=torch.bool)
    masks[:, :, 20:40, 20:40] = True
    clips = Batch(torch.zeros(2, 3, 3, 64, 64), masks)
    images = Batch(clips.images[:, :1], masks[:, :1])
    plan = PromptPlan(kind=kind, num_corrections=1, corrected_frame=1, truth_chance=0.5)
    generator = torch.Generator()
    with torch.device("meta"):
        outcomes = [run_clips(model, clips, generator=generator, plan=plan)]
        if kind != "mask":
            outcomes.append(run_images(model, images, generator=generator, plan=plan))
        for outcome in outcomes:
            outcome.terms.total(LossWeights()).backward()
    assert all(float(outcome.iou) >= 0 for outcome in outcomes)
