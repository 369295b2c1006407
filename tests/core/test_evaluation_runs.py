"""Runs that are stopped and go on, and runs in several processes."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
from tiny import make_tiny

from sam2_plugins.core.evaluation import RunOptions, VosSequence, evaluate_vos
from sam2_plugins.core.evaluation.journal import JOURNAL_NAME
from sam2_plugins.core.evaluation.rows import Outcome, ScoreRow
from sam2_plugins.core.evaluation.runs import run_parts

HEADER = {
    "protocol": "test",
    "threshold": 0.5,
    "choices": {"prompt": "mask", "clicks": 2},
}
NAMES = ["a", "b", "c"]


class Measure:
    """Counts; fails at a part if asked."""

    def __init__(self, fails_at=None):
        self.fails_at, self.calls = fails_at, []

    def __call__(self, part):
        self.calls.append(part)
        if part == self.fails_at:
            raise ValueError(f"{part} cannot be measured")
        metrics = {"iou": ord(part) / 200, "nothing": float("nan")}
        rows = (ScoreRow(part, 1, "sam2", metrics, {"kind": "x"}),)
        return Outcome(rows, {"sam2": 0.5}, f"signature of {part}")


def run(measure, folder, *, resume=False, header=HEADER, names=NAMES, progress=None):
    options = RunOptions(folder, resume)
    parts = {name: name for name in names}
    return run_parts(measure, parts, header=header, run=options, progress=progress)


def test_what_is_finished_is_not_measured_again(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(ValueError, match="c cannot be measured"):
        run(Measure(fails_at="c"), folder)
    with pytest.raises(ValueError, match=r"unfinished run of 2 parts: --resume goes on with it"):
        run(Measure(), folder)
    again, calls = Measure(), []
    outcomes = run(again, folder, resume=True, progress=lambda *told: calls.append(told))
    assert again.calls == ["c"]
    assert calls == [(2, 3, "c")]
    for ours, fresh in zip(outcomes, map(Measure(), NAMES), strict=True):
        np.testing.assert_equal(ours.to_json(), fresh.to_json())
    # resuming what is complete measures nothing; without it a new run begins
    run(again, folder, resume=True)
    assert again.calls == ["c"]
    run(again, folder)
    assert again.calls == ["c", *NAMES]


def test_a_line_that_was_cut_short_is_measured_again(tmp_path):
    run(Measure(), tmp_path)
    journal = tmp_path / JOURNAL_NAME
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]) + lines[2][:20])
    again = Measure()
    run(again, tmp_path, resume=True)
    assert again.calls == ["b", "c"]
    assert len(journal.read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"header": {**HEADER, "threshold": 0.9}}, r"there threshold is 0\.5, here 0\.9"),
        ({"names": ["a", "d"]}, "holds another run: parts: there also b, c, here also d. Take"),
        ({"names": ["b", "a", "c"]}, "parts: in another order"),
        (
            {"header": {**HEADER, "choices": {"prompt": "box", "clicks": 2}}},
            r"another run: there prompt is 'mask', here 'box'\. Take another folder or delete",
        ),
        ({"header": {"protocol": "test"}}, r"there threshold is 0\.5, here None"),
    ],
)
def test_another_run_is_refused(change, message, tmp_path):
    run(Measure(), tmp_path)
    with pytest.raises(ValueError, match=message):
        run(Measure(), tmp_path, resume=True, **change)


def test_a_damaged_journal(tmp_path):
    (tmp_path / JOURNAL_NAME).write_text("{\nnot json\n")
    with pytest.raises(ValueError, match=r"progress\.jsonl is damaged: .*; delete it to begin"):
        run(Measure(), tmp_path, resume=True)


def test_options_that_make_no_sense():
    with pytest.raises(ValueError, match="workers must be 1 or more, not 0"):
        RunOptions(workers=0)
    with pytest.raises(ValueError, match="resume needs the folder"):
        RunOptions(resume=True)


def moving(num_frames=3):
    labels = np.zeros((num_frames, 64, 64), np.uint8)
    for t in range(num_frames):
        labels[t, 20:40, 10 + 4 * t : 30 + 4 * t] = 1
    return labels


def test_several_processes_give_the_same_rows(tmp_path):
    sequences = [
        VosSequence.from_arrays(name, np.where(moving(), level, 20).astype(np.uint8), moving())
        for name, level in (("a", 120), ("b", 160), ("c", 220))
    ]
    model = make_tiny()
    alone = evaluate_vos(model, sequences)
    together = evaluate_vos(model, sequences, run=RunOptions(tmp_path, workers=2))
    assert together.rows == alone.rows
    assert (together.data, together.model) == (alone.data, alone.model)
    journal = (tmp_path / JOURNAL_NAME).read_text().splitlines()
    assert len(journal) == 5


def die(part):
    if part == "b":
        os._exit(9)
    return Measure()(part)


def test_a_process_that_dies_is_one_clear_error(tmp_path):
    with pytest.raises(OSError, match="one of 2 processes died"):
        run_parts(die, {n: n for n in NAMES}, header=HEADER, run=RunOptions(tmp_path, workers=2))


def test_killed_and_resumed(tmp_path, run, checkpoint):
    """The command is killed as by the system, and goes on to the same numbers."""
    num_videos = 8
    for number in range(num_videos):
        folder = tmp_path / "data" / f"v{number:02d}"
        folder.mkdir(parents=True)
        labels = moving()
        frames = np.where(labels, 100 + 5 * number, 20).astype(np.uint8)
        tifffile.imwrite(folder / "volume.tif", frames, photometric="minisblack")
        tifffile.imwrite(folder / "labels.tif", labels, photometric="minisblack")
    out = tmp_path / "out"
    command = ["evaluate", "vos", str(tmp_path / "data"), "-o", str(out)]
    command += ["--checkpoint", str(checkpoint), "--image-size", "64", "--baselines", "none"]
    code = "import sys; from sam2_plugins.cli import main; sys.exit(main())"
    process = subprocess.Popen([sys.executable, "-c", code, *command], stderr=subprocess.DEVNULL)
    journal, deadline = out / JOURNAL_NAME, time.monotonic() + 200
    while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (out / "evaluation.json").exists()
    num_done = journal.read_bytes().count(b"\n") - 1
    assert 2 <= num_done < num_videos
    assert "holds an unfinished run" in run(*command).late_error
    ran = run(*command, "--resume")
    assert ran.status == 0, ran.err
    assert f"{num_done + 1} of {num_videos}" in ran.err.splitlines()[0]
    resumed = json.loads((out / "evaluation.json").read_text())
    command[command.index(str(out))] = str(tmp_path / "fresh")
    assert run(*command).status == 0
    fresh = json.loads((tmp_path / "fresh" / "evaluation.json").read_text())
    assert resumed["rows"] == fresh["rows"]
    for name in ("model", "data", "options", "version", "seed", "summary"):
        assert resumed[name] == fresh[name]
