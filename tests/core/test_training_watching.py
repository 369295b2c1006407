"""A run that is looked on: told how far it is, asked to stop, and heard when a process fails."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from test_training_runs import make_run, weights_of

from sam2_plugins.core.child_processes import child_context
from sam2_plugins.core.training import processes
from sam2_plugins.core.training.checkpoints import load_checkpoint
from sam2_plugins.core.training.launch import run_training
from sam2_plugins.core.training.processes import (
    NEEDED,
    Link,
    failure_noted,
    leave_ctrl_c_to_parent,
    run_processes,
)
from sam2_plugins.core.training.watching import Position, TrainingStopped, Watch


def test_a_stopped_run_goes_on_as_if_nothing_had_been(tmp_path: Path):
    run_training(make_run(tmp_path / "whole"))
    seen: list[Position] = []
    watch = Watch(seen.extend, lambda: len(seen) == 2)
    with pytest.raises(TrainingStopped, match="stopped after step 3; the checkpoint is") as stopped:
        run_training(make_run(tmp_path / "parts"), watch)
    assert stopped.value.step == load_checkpoint(stopped.value.checkpoint)["progress"]["step"] == 3
    assert [(p.num_steps, p.num_in_all) for p in seen] == [(1, 5), (2, 5), (3, 5)]
    assert [p.share for p in seen] == pytest.approx([0.2, 0.4, 0.6])
    seen.clear()
    run_training(make_run(tmp_path / "parts", resume=True), Watch(seen.extend))
    assert [(p.num_steps, p.num_in_all) for p in seen] == [(1, 2), (2, 2)]
    parts, whole = weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole")
    assert all(torch.equal(value, whole[name]) for name, value in parts.items())


def test_a_run_of_no_processes_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="one process or more, not 0"):
        make_run(tmp_path, num_processes=0)


def fail_or_wait(rank: int, failure: Path, how: str) -> None:
    """The second of two processes fails; the first waits for it in vain."""
    leave_ctrl_c_to_parent()
    with failure_noted(failure):
        if rank == 0:
            time.sleep(0.5 if how == "raise" else 30)
            raise RuntimeError("the connection was closed by a peer")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise FileNotFoundError("there is no folder /nowhere")


def run_two(failure: Path, how: str) -> None:
    arguments = (failure, how)
    link = Link()
    for _ in run_processes(
        fail_or_wait,
        arguments,
        num_processes=2,
        failure=failure,
        link=link,
        wants_stop=lambda: False,
    ):
        pass


def test_the_first_failure_of_several_processes_is_raised_as_it_was(tmp_path: Path):
    with pytest.raises(FileNotFoundError) as failed:
        run_two(tmp_path / "failure", "raise")
    assert str(failed.value) == "there is no folder /nowhere"


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_a_process_that_dies_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "GRACE_S", 0.1)
    with pytest.raises(OSError, match=r"one of 2 processes died \(.*SIGKILL"):
        run_two(tmp_path / "failure", "kill")


def note_and_wait(rank: int, folder: Path) -> None:
    """Say which process this is, and wait for its end."""
    leave_ctrl_c_to_parent()
    (folder / f"{rank}.part").write_text(str(os.getpid()))
    (folder / f"{rank}.part").rename(folder / f"{rank}.pid")
    time.sleep(200)


def run_two_that_wait(folder: Path) -> None:
    on = {"failure": folder / "failure", "link": Link(), "wants_stop": lambda: False}
    for _ in run_processes(note_and_wait, (folder,), num_processes=2, **on):
        pass


def is_running(process_id: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_processes_end_with_the_one_that_started_them(tmp_path: Path):
    parent = child_context(*NEEDED).Process(target=run_two_that_wait, args=(tmp_path,))
    parent.start()
    give_up = time.monotonic() + 120
    while len(pids := [*tmp_path.glob("*.pid")]) < 2 and time.monotonic() < give_up:
        time.sleep(0.05)
    children = [int(path.read_text()) for path in pids]
    assert len(children) == 2
    os.kill(children[0], signal.SIGINT)  # Ctrl-C is for the one that started them
    time.sleep(0.3)
    assert is_running(children[0])
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    while any(map(is_running, children)) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not any(map(is_running, children))
