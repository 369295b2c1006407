"""Two processes that share every step stay equal, and go on from their checkpoint."""

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny import TINY
from torch import distributed
from torch.multiprocessing.spawn import start_processes

from sam2_plugins.core.child_processes import child_method
from sam2_plugins.core.training import launch, nano
from sam2_plugins.core.training.checkpoints import load_checkpoint
from sam2_plugins.core.training.gradients import FlatGradient
from sam2_plugins.core.training.loop import RunSettings
from sam2_plugins.core.training.processes import NEEDED
from sam2_plugins.core.training.stages import TrainingConfig

STAGE = TrainingConfig(
    "tiny",
    size=64,
    num_frames=2,
    clips_per_step=1,
    images_per_step=1,
    objects_per_clip=1,
    objects_per_image=2,
    steps=3,
    warmup_steps=1,
    learning_rate=1e-3,
)


@pytest.fixture
def data_root(tmp_path):
    """Twelve pictures of a disk, of which the first and the eleventh are held out."""
    folder = tmp_path / "data" / "dsb2018"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for index in range(12):
        labels = np.zeros((64, 64), np.uint8)
        cv2.circle(labels, (28 + index % 8, 32), 14, 1, -1)
        cv2.imwrite(str(folder / "images" / f"{index:02d}.png"), labels * 150 + 40)
        cv2.imwrite(str(folder / "labels" / f"{index:02d}.png"), labels)
    return tmp_path / "data"


def work(rank: int, run: launch.TrainingRun, folder: Path) -> None:
    """Run, then resume with one stage more; leave the weights of both in the folder."""
    more = (*run.stages, replace(STAGE, steps=2))
    parts = {"first": run, "resumed": replace(run, stages=more, resume=True)}
    for name, part in parts.items():
        trainer = launch._work_together(rank, part, "cpu", 2, folder / f"{name}_meeting")
        state = {"weights": trainer.model.state_dict(), "average": trainer.average.state}
        torch.save(state, folder / f"{name}_{rank}.pt")
    distributed.init_process_group(
        *("gloo", f"file://{folder / 'gradient_meeting'}"), rank=rank, world_size=2
    )
    layer = torch.nn.Linear(2, 1, bias=False)
    gradient = FlatGradient(layer.parameters(), num_extras=1)
    layer.weight.grad.copy_(torch.tensor([[1.0, 4.0 * rank]]))
    extras = gradient.average([10.0 + rank])
    torch.save([layer.weight.grad.clone(), extras], folder / f"gradient_{rank}.pt")
    distributed.destroy_process_group()


def make_run(data_root: Path, out_dir: Path, *, stages: tuple, num_processes: int):
    return launch.TrainingRun(
        load_data=partial(launch.load_sets, data_root),
        make_model=partial(launch.new_model, TINY),
        stages=stages,
        settings=RunSettings(out_dir),
        device="cpu",
        num_processes=num_processes,
    )


def read(folder: Path, name: str) -> dict[str, torch.Tensor]:
    state = torch.load(folder / name, weights_only=True)
    return {f"{part}.{key}": value for part in state for key, value in state[part].items()}


def is_same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_two_processes_hold_equal_weights_and_resume_together(tmp_path, data_root):
    run = make_run(data_root, tmp_path / "run", stages=(STAGE,), num_processes=2)
    run.settings.out_dir.mkdir()
    start_processes(work, (run, tmp_path), nprocs=2, start_method=child_method(*NEEDED))
    first, resumed = (read(tmp_path, f"{name}_0.pt") for name in ("first", "resumed"))
    assert is_same(first, read(tmp_path, "first_1.pt"))
    assert is_same(resumed, read(tmp_path, "resumed_1.pt"))
    assert not is_same(first, resumed)

    for rank in (0, 1):
        gradient, extras = torch.load(tmp_path / f"gradient_{rank}.pt", weights_only=True)
        assert gradient.tolist() == [[1.0, 2.0]]
        assert extras == [10.5]

    content = load_checkpoint(run.settings.out_dir / "checkpoint.pt")
    assert content["progress"]["step"] == 5
    assert is_same({f"weights.{name}": value for name, value in content["model"].items()}, resumed)
    assert not list(run.settings.out_dir.glob("*.partial"))
    log = (run.settings.out_dir / "log.txt").read_text()
    assert log.count("validation at step") == 2


def test_one_process_needs_no_meeting_and_leaves_no_log_open(tmp_path, data_root):
    run = make_run(data_root, tmp_path / "run", stages=(replace(STAGE, steps=1),), num_processes=1)
    assert launch.run_training(run).is_file()
    assert logging.getLogger("sam2_plugins.core.training").handlers == []
    assert "step 1" in (run.settings.out_dir / "log.txt").read_text()


def test_a_budget_that_is_not_positive_is_refused(tmp_path, data_root):
    with pytest.raises(ValueError, match="minutes must be positive, not 0"):
        nano.train_nano(data_root, tmp_path / "run", minutes=0)
    with pytest.raises(ValueError, match="one process or more, not -1"):
        nano.train_nano(data_root, tmp_path / "run", num_processes=-1)
    assert not (tmp_path / "run").exists()
