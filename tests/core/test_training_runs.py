"""Whole runs: killed and resumed, under torchrun, with a batch that cannot be learnt from."""

import itertools
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny import make_tiny

from sam2_plugins.core.child_processes import child_context
from sam2_plugins.core.training.checkpoints import load_checkpoint
from sam2_plugins.core.training.launch import (
    TrainingRun,
    choose_device,
    fit_to_device,
    model_to_start_from,
    run_training,
)
from sam2_plugins.core.training.learning import Learner
from sam2_plugins.core.training.loop import RunSettings, Trainer
from sam2_plugins.core.training.processes import NEEDED
from sam2_plugins.core.training.sources import TrainingData
from sam2_plugins.core.training.stages import TrainingConfig

STAGE = TrainingConfig(
    "tiny",
    size=64,
    num_frames=2,
    clips_per_step=1,
    images_per_step=1,
    objects_per_clip=1,
    objects_per_image=1,
    clip_kinds={"blobs": 1.0},
    image_kinds={"blobs": 1.0},
    steps=5,
    warmup_steps=1,
    learning_rate=1e-3,
)


def no_data() -> tuple[TrainingData, None]:
    return TrainingData({}, {}), None


def make_run(out_dir: Path, *, accumulate: int = 1, steps: int = 5, **options) -> TrainingRun:
    stage = TrainingConfig(**{**vars(STAGE), "accumulate": accumulate, "steps": steps})
    settings = RunSettings(out_dir, log_every=1, checkpoint_steps=1, validation_minutes=0)
    options = {"num_processes": 1, "device": "cpu", **options}
    return TrainingRun(no_data, partial(make_tiny, 13), (stage,), settings, **options)


def weights_of(out_dir: Path) -> dict[str, torch.Tensor]:
    content = load_checkpoint(out_dir / "checkpoint.pt")
    return {f"{part}.{n}": t for part in ("model", "average") for n, t in content[part].items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run_training(make_run(folder))
    return folder


def test_a_killed_run_goes_on_as_if_nothing_had_been(whole: Path, tmp_path: Path):
    run = make_run(tmp_path, resume=True)
    child = child_context(*NEEDED).Process(target=run_and_wait, args=(make_run(tmp_path),))
    child.start()
    give_up = time.monotonic() + 250
    while not (tmp_path / "waits").exists() and time.monotonic() < give_up:
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert load_checkpoint(run.settings.checkpoint)["progress"]["step"] == 2
    run_training(run)
    killed, uninterrupted = weights_of(tmp_path), weights_of(whole)
    assert killed.keys() == uninterrupted.keys()
    assert all(torch.equal(value, uninterrupted[name]) for name, value in killed.items())


def run_and_wait(run: TrainingRun) -> None:
    """Train; in the third step, half way through it, say so and wait to be killed."""
    learn = Learner.learn
    steps = itertools.count()

    def learn_and_wait(learner, stage, batch):
        metrics = learn(learner, stage, batch)
        if next(steps) == 2:
            (run.settings.out_dir / "waits").touch()
            time.sleep(250)
        return metrics

    Learner.learn = learn_and_wait
    run_training(run)


SCRIPT = """
import sys
from pathlib import Path

sys.path[:0] = {folders!r}
from test_training_runs import make_run, run_training

if __name__ == "__main__":
    run_training(make_run(Path({out!r}), num_processes=None))
"""


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((value - other[name]).abs().max()) for name, value in one.items())


def test_two_processes_under_torchrun_learn_what_one_does_from_both_batches(
    whole: Path, tmp_path: Path
):
    script = tmp_path / "script.py"
    folders, out = [str(folder) for folder in Path(__file__).parents[:2]], str(tmp_path / "two")
    script.write_text(SCRIPT.format(folders=folders, out=out))
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    run_training(make_run(tmp_path / "one", accumulate=2))
    one, two = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    # Five steps of up to 1e-3 each: rounding shows, another gradient would show far more.
    assert difference(one, two) < 3e-4
    assert difference(weights_of(whole), two) > 1e-3


def test_a_loss_that_is_not_finite_leaves_its_batch(tmp_path: Path):
    trainer = Trainer(make_tiny(), no_data()[0], stages=[STAGE], settings=RunSettings(tmp_path))
    with torch.no_grad():
        trainer.model.no_mem_embed.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"loss is not finite at step 0.*step0_process0"):
        trainer.step(STAGE)
    (path,) = tmp_path.glob("not_finite_*.pt")
    content = torch.load(path, weights_only=True)
    assert content["batches"][0]["clips"]["frames"].shape == (1, 2, 64, 64, 3)
    assert content["batches"][0]["key"] == (0, 0, 0)
    assert content["model"]["no_mem_embed"].isnan().all()


def test_a_run_starts_from_weights_without_the_state_of_an_optimiser(whole: Path):
    model = model_to_start_from(whole / "checkpoint.pt")
    average = load_checkpoint(whole / "checkpoint.pt")["average"]
    assert all(torch.equal(value, average[name]) for name, value in model.state_dict().items())
    assert model.config == make_tiny().config
    assert model_to_start_from("nano").dtype == torch.float32


def test_a_run_keeps_a_table_and_a_log(whole: Path):
    rows = (whole / "metrics.csv").read_text().splitlines()
    assert rows[0].startswith("step,stage,lr,steps_per_s,focal,dice")
    assert len(rows) == 6
    assert "tiny step 5 (100%)" in (whole / "log.txt").read_text()


def test_devices_that_are_not_here_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(ValueError, match="'cuda' is not available here"):
        choose_device("cuda")
    with pytest.raises(ValueError, match="unknown device 'tpu'"):
        choose_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (stage,) = fit_to_device((STAGE,), device="auto", batch_scale=8)
    assert stage.use_bfloat16
    assert (stage.clips_per_step, stage.images_per_step) == (8, 8)
