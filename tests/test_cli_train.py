"""`sam2-plugins train` as it is used: refusals, progress, Ctrl-C, and runs that are not mixed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line import Ran
from sam2_plugins.core.checkpoints import save_checkpoint
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.training import finetune, finetune_plan
from sam2_plugins.core.training.initial import initialise
from sam2_plugins.core.training.own_data import OwnData
from smallest import SMALLEST

Run = Callable[..., Ran]

SMALL = replace(SMALLEST, name="small-test")


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small network in a file; models go to `models`."""
    monkeypatch.setenv("SAM2_PLUGINS_MODELS", str(tmp_path / "models"))
    save_checkpoint(initialise(SAM2(SMALL)), tmp_path / "start.safetensors")
    return tmp_path / "start.safetensors"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six pictures of a disc; the first and the last are kept apart."""
    rows, columns = np.mgrid[:64, :64]
    for part in ("images", "labels"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for index in range(6):
        disc = ((rows - 30) ** 2 + (columns - 24 - 2 * index) ** 2 < 150).astype(np.uint8)
        Image.fromarray(disc * 150 + 40).save(tmp_path / f"data/images/{index}.png")
        Image.fromarray(disc).save(tmp_path / f"data/labels/{index}.png")
    return tmp_path / "data"


def tuning(start: Path, data: Path, *options: object) -> list[str]:
    known = ["train", "finetune", "--data", data, "--model", start, "--out", "discs"]
    return [str(part) for part in (*known, "--processes", 1, *options)]


def recipe(start: Path, data: Path, out: Path, *options: object) -> list[str]:
    known = ["train", "recipe", "mose", data, "-o", out, "--model", start, "--image-size", 64]
    return [str(part) for part in (*known, *options)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--steps", "0"), "steps must be positive, not 0"),
        (("--steps", "-3"), "steps must be positive, not -3"),
        (("--steps", "1", "--workers", "-1"), "workers must be 0 or more, not -1"),
        (("--steps", "1", "--processes", "-1"), "not -1"),
        (("--steps", "1", "--seed", "-1"), "seed must be 0 or more, not -1"),
        (("--steps", "1", "--resume"), "nothing to resume: there is no "),
        (("--resume", "--overwrite"), "not allowed with argument"),
    ],
)
@pytest.mark.parametrize("kind", ["finetune", "recipe"])
def test_what_is_wrong_is_said_before_anything_is_measured_or_written(
    run: Run, tmp_path: Path, start: Path, data: Path, kind: str, options: tuple[str], words: str
) -> None:
    command = tuning(start, data) if kind == "finetune" else recipe(start, data, tmp_path / "run")
    assert words in run(*command, *options).error
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "models").exists()


def test_data_that_is_not_there_is_said_before_processes_start(
    run: Run, tmp_path: Path, start: Path
) -> None:
    command = recipe(start, tmp_path / "none", tmp_path / "run", "--steps", 2, "--processes", 2)
    assert run(*command).error == f"there is no folder {tmp_path / 'none'}"
    (tmp_path / "empty").mkdir()
    error = run(*tuning(start, tmp_path / "empty", "--steps", 1)).error
    assert "no annotated sequence in" in error
    assert len(error) < len(str(tmp_path)) + 180


def test_nothing_to_measure_on_is_said(
    run: Run, start: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune, "measure", lambda *_, **__: [])
    ran = run(*tuning(start, data, "--steps", 1))
    assert "nothing can be measured on what is kept apart, 2 images" in ran.late_error


def test_few_objects_are_told_before_and_after(run: Run, start: Path, data: Path) -> None:
    ran = run(*tuning(start, data, "--steps", 2))
    assert ran.status == 1
    assert "whether it is better cannot be told in the end: 2 objects kept apart" in ran.err
    assert "training: 1 of 2 steps" in ran.err
    assert "not better: 2 objects kept apart cannot show it, at least 6 are needed" in ran.out
    assert "[-1.000, +1.000]" in ran.out
    log = (data.parent / "models/discs.run/log.txt").read_text()
    assert "finetune step 1 (50%)" in log
    assert "finetune step 2 (100%)" in log
    report = json.loads((data.parent / "models/discs.run/report.json").read_text())
    assert report["comparisons"][-1]["num_units"] == 2
    assert report["verdict"].startswith("2 objects kept apart")


def test_models_and_runs_are_only_replaced_where_that_is_said(
    run: Run, start: Path, data: Path
) -> None:
    models = data.parent / "models"
    models.mkdir()
    (models / "discs.safetensors").write_bytes(start.read_bytes())
    error = run(*tuning(start, data, "--steps", 1)).error
    assert error == "there is a model 'discs': take another name, or --overwrite to replace it"
    assert run(*tuning(start, data, "--steps", 1, "--overwrite")).status == 1
    assert (models / "discs.safetensors").read_bytes() == start.read_bytes()  # not better
    (models / "discs.safetensors").unlink()
    run_folder = models / "discs.run"
    before = {path.name: path.read_bytes() for path in run_folder.iterdir()}
    error = run(*tuning(start, data, "--steps", 2)).error
    assert error == f"{run_folder} holds a run: --resume goes on with it, --overwrite begins anew"
    assert {path.name: path.read_bytes() for path in run_folder.iterdir()} == before
    assert run(*tuning(start, data, "--steps", 2, "--overwrite")).status == 1
    rows = (run_folder / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2"]


def test_a_run_goes_on_with_its_own_settings_and_what_was_measured_before(
    run: Run, start: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(*tuning(start, data, "--steps", 1)).status == 1
    error = run(*tuning(start, data, "--resume", "--adapt", "lora", "--seed", 3)).error
    assert error.endswith("another run: there adapt 'all', seed 0, here adapt 'lora', seed 3")
    measured: list[OwnData] = []
    measure = finetune.measure

    def counting(model: SAM2, apart: OwnData, **options: object) -> object:
        measured.append(apart)
        return measure(model, apart, **options)

    monkeypatch.setattr(finetune, "measure", counting)
    ran = run(*tuning(start, data, "--resume", "--steps", 2))
    assert ran.status == 1
    assert len(measured) == 1  # only what was learnt
    assert "the run is complete: nothing was left to train" in ran.err
    # Other pictures under the old names: what was measured before is of no use.
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(data / "images/0.png")
    assert run(*tuning(start, data, "--resume", "--steps", 2)).status == 1
    assert len(measured) == 3


def test_a_gradient_that_is_not_finite_is_an_error_not_a_verdict(
    run: Run, start: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = finetune_plan.model_to_start_from

    def broken(*known: object, **options: object) -> SAM2:
        model = make(*known, **options)
        model.no_mem_embed.register_hook(lambda gradient: gradient * float("inf"))
        return model

    monkeypatch.setattr(finetune_plan, "model_to_start_from", broken)
    ran = run(*tuning(start, data, "--steps", 1))
    assert "gradient is not finite at step 0; its batch is in" in ran.late_error


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_curves_are_written_for_tensorboard(
    run: Run, tmp_path: Path, start: Path, data: Path
) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    options = ("--steps", 2, "--processes", 1, "--tensorboard")
    ran = run(*recipe(start, data, tmp_path / "run", *options))
    assert ran.status == 0, ran.err
    assert "training: 2 of 2 steps" in ran.err or "training: 1 of 2 steps" in ran.err
    curves = accumulators.EventAccumulator(str(tmp_path / "run/tensorboard"))
    curves.Reload()
    assert {"train/lr", "train/dice", "train/clip_iou"} <= set(curves.Tags()["scalars"])
    assert [event.step for event in curves.Scalars("train/dice")] == [1, 2]
    assert all(np.isfinite(event.value) for event in curves.Scalars("train/dice"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_ctrl_c_in_a_terminal_keeps_a_checkpoint_that_goes_on(
    run: Run, tmp_path: Path, start: Path, data: Path
) -> None:
    command = recipe(start, data, tmp_path / "run", "--steps", 5000)
    program = [sys.executable, "-m", "sam2_plugins", *command, "--processes", "2"]
    # A terminal sends the signal to all processes.
    with subprocess.Popen(
        program, stderr=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True
    ) as process:
        assert process.stderr
        while " of 5000 steps" not in (line := process.stderr.readline()):
            assert line, "it ended before it trained"
        os.killpg(process.pid, signal.SIGINT)
        err = process.communicate(timeout=120)[1]
    assert process.returncode == 130, err
    assert "Traceback" not in err
    checkpoint = tmp_path / "run/checkpoint.pt"
    last = err.splitlines()[-1]
    assert last.endswith(f"the checkpoint is {checkpoint}: --resume goes on")
    step = int(last.split("stopped after step ")[1].split(";")[0])
    options = ("--steps", step + 1, "--processes", 1)
    ran = run(*recipe(start, data, tmp_path / "run", *options, "--resume"))
    assert ran.status == 0, ran.err
    assert f"mose step {step + 1} (100%)" in (tmp_path / "run/log.txt").read_text()
    assert "holds a run" in run(*recipe(start, data, tmp_path / "run", *options)).error
