from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from sam2_plugins.core.config import MODELS
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.training.checkpoints import export_weights, load_checkpoint
from sam2_plugins.core.training.gradients import AverageWeights, FlatGradient
from sam2_plugins.core.training.initial import initialise
from sam2_plugins.core.training.loop import RunSettings, Trainer
from sam2_plugins.core.training.losses import LossWeights
from sam2_plugins.core.training.optimizer import make_optimizer
from sam2_plugins.core.training.sources import TrainingData
from sam2_plugins.core.training.stages import TrainingConfig, nano_stages

NO_DATA = TrainingData({}, {})
TINY = replace(
    MODELS["nano"],
    embed_dim=16,
    stages=(1, 1, 1, 1),
    global_blocks=(2,),
    model_dim=64,
    memory_dim=32,
    feedforward_dim=64,
    iou_hidden_dim=32,
    memory_attention_layers=1,
    image_size=64,
)
STAGE = TrainingConfig(
    "tiny",
    size=64,
    num_frames=3,
    clips_per_step=1,
    images_per_step=1,
    objects_per_clip=2,
    objects_per_image=2,
    steps=4,
    warmup_steps=2,
    corrected_frame_chance=1.0,
)


def make_trainer(out_dir, stage=STAGE):
    return Trainer(
        initialise(SAM2(TINY)),
        NO_DATA,
        stages=[stage],
        settings=RunSettings(out_dir, log_every=2),
    )


@pytest.mark.parametrize("dense", [0.0, 0.5])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, dense):
    stage = replace(STAGE, dense=dense)
    whole = make_trainer(tmp_path / "whole", stage)
    (tmp_path / "whole").mkdir()
    whole.run()
    first = make_trainer(tmp_path / "parts", stage)
    (tmp_path / "parts").mkdir()
    for _ in range(2):
        first.step(stage)
    first.save()
    second = make_trainer(tmp_path / "parts", stage)
    with torch.no_grad():
        for parameter in second.model.parameters():
            parameter.add_(1.0)
    second.resume()
    second.run()
    assert second.progress == whole.progress
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
        assert torch.equal(whole.average.state[name], second.average.state[name]), name


def test_every_part_of_the_network_learns(tmp_path):
    trainer = make_trainer(tmp_path)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    for _ in range(4):
        trainer.step(STAGE)
    still = [
        name for name, value in trainer.model.named_parameters() if torch.equal(value, before[name])
    ]
    assert still in ([], ["no_mem_pos_enc"], ["no_obj_ptr"], ["no_obj_ptr", "no_mem_pos_enc"])


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    trainer = make_trainer(tmp_path)
    with torch.no_grad():
        trainer.model.no_mem_embed.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="step 0"):
        trainer.step(STAGE)


def test_a_gradient_that_is_not_finite_stops_the_run_before_it_is_learnt(tmp_path):
    trainer = make_trainer(tmp_path)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.model.no_mem_embed.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(FloatingPointError, match="gradient is not finite at step 0"):
        trainer.step(STAGE)
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_export_is_float16_with_a_header_and_loads_strictly(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.save()
    target = export_weights(
        tmp_path / "checkpoint.pt", tmp_path / "out.safetensors", metadata={"config": "tiny"}
    )
    tensors = load_file(target)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    SAM2(TINY).load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    with safe_open(target, "pt") as file:
        assert file.metadata() == {"config": "tiny", "steps": "0"}
    assert not list(tmp_path.glob("*.partial"))


def test_reading_something_else_as_a_checkpoint_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load_checkpoint(tmp_path / "none.pt")
    torch.save({"model": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="not a training checkpoint"):
        load_checkpoint(tmp_path / "other.pt")


def test_one_dimensional_parameters_do_not_decay():
    decayed, kept = make_optimizer(SAM2(TINY), [STAGE]).param_groups
    assert decayed["weight_decay"] == 0.05
    assert kept["weight_decay"] == 0
    assert min(parameter.ndim for parameter in decayed["params"]) == 2
    assert max(parameter.ndim for parameter in kept["params"]) == 1


def test_the_flat_gradient_is_the_gradient_and_is_clipped_as_a_whole():
    layer = torch.nn.Linear(2, 1)
    gradient = FlatGradient(layer.parameters(), num_extras=1)
    layer(torch.tensor([[3.0, 4.0]])).sum().backward()
    assert layer.weight.grad.tolist() == [[3.0, 4.0]]
    assert gradient.average([7.0]) == [7.0]
    assert gradient.clip(1.0) == pytest.approx(26**0.5)
    assert float(torch.cat([layer.weight.grad[0], layer.bias.grad]).norm()) == pytest.approx(1)


def test_the_average_follows_quickly_at_first():
    layer = torch.nn.Linear(1, 1)
    average = AverageWeights(layer)
    with torch.no_grad():
        layer.weight.add_(1)
    start = average.state["weight"].clone()
    average.update(layer, step=0, decay=0.999)
    assert float(average.state["weight"] - start) == pytest.approx(0.9)


def test_the_learning_rate_warms_up_and_falls_along_a_cosine():
    stage = replace(STAGE, learning_rate=1.0, final_learning_rate=0.2, warmup_steps=10)
    assert stage.learning_rate_at(0, 0.0) == pytest.approx(0.1)
    assert stage.learning_rate_at(50, 0.5) == pytest.approx(0.6)
    assert stage.learning_rate_at(99, 1.0) == pytest.approx(0.2)


def test_stages_are_checked_and_spend_the_whole_budget():
    with pytest.raises(ValueError, match="either minutes or steps"):
        TrainingConfig("x", size=64)
    with pytest.raises(ValueError, match="multiple of 32"):
        TrainingConfig("x", size=100, steps=1)
    with pytest.raises(ValueError, match="neither clips nor images"):
        TrainingConfig("x", size=64, steps=1, clips_per_step=0, images_per_step=0)
    with pytest.raises(ValueError, match="two frames and more, not 1"):
        TrainingConfig("x", size=64, steps=1, num_frames=1)
    assert sum(stage.minutes for stage in nano_stages(60)) == pytest.approx(60)


def test_nano_starts_with_small_images_under_a_loss_that_no_empty_mask_satisfies():
    stages = nano_stages(60)
    assert stages[0].clips_per_step == 0
    assert stages[0].losses.balanced > 0 == stages[0].losses.focal
    assert stages[-1].losses == LossWeights()
    clips = [stage.size for stage in stages if stage.clips_per_step]
    assert clips == sorted(clips)
    assert any(stage.dense and not stage.clips_per_step for stage in stages)
    nano = MODELS["nano"]
    assert nano.image_size in [stage.image_size for stage in stages]
    assert stages[-1].size == nano.closeup_size
