"""Ctrl-C: the finished frames are kept, and --resume goes on as if nothing had happened."""

import json
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tifffile
from PIL import Image

from command_line import Ran
from sam2_plugins.commands.console import stop_request
from sam2_plugins.commands.tracked import kept_on_failure
from sam2_plugins.core import VideoTracker, load_model, open_frames
from sam2_plugins.core.segmenting import Segmenter

Track = Callable[..., Ran]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")


@pytest.fixture
def long_stack(tmp_path: Path) -> Path:
    """A stack that takes long enough to be interrupted, with its prompts."""
    frames = np.random.default_rng(0).integers(0, 900, (40, 48, 64), np.uint16)
    frames[:, 10:30, 20:40] += 3000
    tifffile.imwrite(tmp_path / "long.tif", frames, metadata={"axes": "TYX"})
    prompts = [
        {"frame": 20, "object": 1, "points": [[30, 20], [60, 40]], "labels": [1, 0]},
        {"frame": 3, "object": 2, "points": [[30, 20], [5, 5]], "labels": [1, 0]},
    ]
    (tmp_path / "prompts.json").write_text(json.dumps({"version": 1, "prompts": prompts}))
    return tmp_path / "long.tif"


@pytest.fixture
def command(long_stack: Path, checkpoint: Path) -> list[str]:
    return [
        *("track", str(long_stack), "--prompts", str(long_stack.with_name("prompts.json"))),
        *("--checkpoint", str(checkpoint), "--image-size", "64"),
    ]


def start(command: list[str], output: Path) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "sam2_plugins.cli", *command, "-o", str(output)]
    return subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )


@contextmanager
def counted_tracking() -> Iterator[list[int]]:
    """The frames that are tracked inside, one by one."""
    calls: list[int] = []
    track = Segmenter.track

    def counting(self: Segmenter, object_id: int, masklet: Any, frame_index: int, **on: Any) -> Any:
        calls.append(frame_index)
        return track(self, object_id, masklet, frame_index, **on)

    with mock.patch.object(Segmenter, "track", counting):
        yield calls


def wait_for_first_frame(process: subprocess.Popen[str]) -> None:
    assert process.stderr
    while "tracking: " not in (line := process.stderr.readline()):
        assert line, "the program ended before it tracked a frame"


def test_interrupt_and_resume(command: list[str], long_stack: Path, run: Track) -> None:
    output, whole = long_stack.with_name("out.tif"), long_stack.with_name("whole.tif")
    partial = long_stack.with_name("out.tif.partial")
    with start([*command, "--json"], output) as process:
        wait_for_first_frame(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=150)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "stopping after this frame" in err
    assert f"{partial}: --resume continues" in err
    summary = json.loads(out)
    assert summary["status"] == "interrupted"
    interrupted = [entry["frames"] for entry in summary["objects"]]
    assert 0 < sum(interrupted) < 80
    assert partial.exists()
    assert not output.exists()

    resumed = run(*command, "-o", output, "--resume", "--json")
    assert resumed.status == 0, resumed.err
    assert not partial.exists()
    at_once = run(*command, "-o", whole, "--json")
    assert at_once.status == 0
    np.testing.assert_array_equal(tifffile.imread(output), tifffile.imread(whole))
    found = [[entry["frames"] for entry in each.summary["objects"]] for each in (resumed, at_once)]
    assert found[0] == found[1]
    assert sum(interrupted) < sum(found[0])


def test_resuming_tracks_only_what_is_missing(
    command: list[str], long_stack: Path, run: Track
) -> None:
    output = long_stack.with_name("out.tif")
    # Of a size at which it is not yet at its end then.
    command = [*command, "--image-size", "256"]
    with start(command, output) as process:
        wait_for_first_frame(process)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=150)
    assert process.returncode == 130
    short = [*command, "-o", output, "--resume", "--json"]
    before = run(*short, "--start", 3, "--stop", 4)
    assert sum(entry["frames"] for entry in before.summary["objects"]) > 2
    assert "of what was asked at first (frames 0 to 39, both ways) a part is left" in before.err


@pytest.mark.parametrize(
    "narrower", [("--direction", "forward"), ("--stop", 3), ("--stop-after-absent", 2)]
)
def test_what_is_resumed_in_part_can_be_resumed_to_its_end(
    track: Track, stack: Path, monkeypatch: pytest.MonkeyPatch, narrower: tuple[object, ...]
) -> None:
    output, partial = stack.with_name("out.tif"), stack.with_name("out.tif.partial")
    with monkeypatch.context() as interrupted:
        interrupted.setattr("sam2_plugins.commands.track._propagate", lambda *_: False)
        assert track(output, "--start", 1).status == 130
    ran = track(output, "--resume", *narrower)
    assert ran.status == 0
    assert "of what was asked at first (frames 1 to 5, both ways) a part is left out" in ran.err
    assert f"{partial}: --resume continues" in ran.err
    ran = track(output, "--resume", "--start", 1)
    assert (ran.status, "at first" in ran.err, partial.exists()) == (0, False, False)
    assert all(page.any() for page in tifffile.imread(output)[1:])


def test_the_same_part_resumed_leaves_nothing_behind(
    track: Track, stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, partial = stack.with_name("out.tif"), stack.with_name("out.tif.partial")
    options = ("--stop", 3, "--direction", "forward", "--stop-after-absent", 4)
    with monkeypatch.context() as interrupted:
        interrupted.setattr("sam2_plugins.commands.track._propagate", lambda *_: False)
        assert track(output, *options).status == 130
    assert track(output, *options, "--resume").status == 0
    assert not partial.exists()


def test_a_session_that_does_not_say_what_it_was_begun_for(
    track: Track, stack: Path, checkpoint: Path
) -> None:
    output, partial = stack.with_name("out.tif"), stack.with_name("out.tif.partial")
    tracker = VideoTracker(load_model(checkpoint=checkpoint, image_size=64), open_frames(stack))
    tracker.set_box(2, 1, [18, 12, 35, 29])
    tracker.add_points(0, 7, [[20, 20], [50, 40]], [1, 0])
    tracker.save(partial)
    assert track(output, "--resume", "--stop", 3).status == 0
    assert not partial.exists()


def test_a_second_interrupt_leaves_at_once(command: list[str], long_stack: Path) -> None:
    with stop_request() as request:
        signal.raise_signal(signal.SIGINT)
        assert request.is_set
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_signals_are_handled_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_request():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize("failing", ["labels", "overlay"])
@pytest.mark.parametrize(
    ("failure", "status"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left"), 2)]
)
def test_what_was_tracked_is_kept_when_writing_ends_early(
    track: Track,
    stack: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing: str,
    failure: BaseException,
    status: int,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    output, whole = stack.with_name("out.tif"), stack.with_name("whole.tif")
    partial = stack.with_name("out.tif.partial")
    options = (output, "--overlay", stack.with_name("drawn"))
    writer = {"labels": "save_masks", "overlay": "write_overlay"}[failing]
    monkeypatch.setattr(f"sam2_plugins.commands.tracked.{writer}", fail)
    ran = track(*options)
    assert ran.status == status
    assert f"finished frames are in {partial}: --resume continues" in ran.err
    monkeypatch.undo()

    with counted_tracking() as calls:
        assert track(*options, "--resume").status == 0
    assert not calls
    assert not partial.exists()
    assert track(whole).status == 0
    np.testing.assert_array_equal(tifffile.imread(output), tifffile.imread(whole))


def test_what_was_tracked_is_kept_when_tracking_fails(
    track: Track, stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = Segmenter.track

    def failing(self: Segmenter, object_id: int, masklet: Any, frame_index: int, **on: Any) -> Any:
        if frame_index == 4:
            raise ValueError("frame 4 is damaged")
        return find(self, object_id, masklet, frame_index, **on)

    output = stack.with_name("out.tif")
    monkeypatch.setattr(Segmenter, "track", failing)
    ran = track(output)
    assert ran.late_error.endswith("frame 4 is damaged")
    assert f"{output}.partial: --resume continues" in ran.err
    assert track(output, "--resume", "--stop", 4).status == 0
    assert Path(f"{output}.partial").exists()


def test_interrupt_before_tracking(
    run: Track, command: list[str], long_stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sam2_plugins.core.weights.load_model", interrupted)
    ran = run(*command, "-o", long_stack.with_name("out.tif"))
    assert (ran.status, ran.err) == (130, "sam2-plugins: stopped\n")
    assert sorted(path.name for path in long_stack.parent.iterdir()) == [
        "long.tif",
        "prompts.json",
    ]


def test_nothing_to_resume(track: Track, stack: Path) -> None:
    error = track(stack.with_name("out.tif"), "--resume").error
    assert error == f"nothing to resume: there is no {stack.with_name('out.tif.partial')}"


def test_a_damaged_session(track: Track, stack: Path) -> None:
    partial = stack.with_name("out.tif.partial")
    partial.write_bytes(b"PK")
    assert str(partial) in track(stack.with_name("out.tif"), "--resume").error
    assert partial.exists()


def test_other_prompts_than_the_session(
    track: Track, stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sam2_plugins.commands.track._propagate", lambda *_: False)
    output = stack.with_name("out.tif")
    assert track(output).status == 130
    monkeypatch.undo()
    path = stack.with_name("prompts.json")
    original = path.read_text()
    for change in (
        lambda prompts: prompts.pop(),
        lambda prompts: prompts[0]["box"].__setitem__(0, 17),
        lambda prompts: prompts[1]["labels"].__setitem__(1, 1),
        lambda prompts: prompts.append({"frame": 1, "object": 1, "box": [1, 1, 9, 9]}),
    ):
        document = json.loads(original)
        change(document["prompts"])
        path.write_text(json.dumps(document))
        assert "run without --resume" in track(output, "--resume").error
    path.write_text(original)
    assert track(output, "--resume").status == 0


def _lose(folder: Path) -> None:
    shutil.rmtree(folder)
    raise ValueError("the disk is gone")


def test_frames_that_are_gone_are_no_reason_to_lose_those_that_are_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, partial = tmp_path / "frames", tmp_path / "out.tif.partial"
    folder.mkdir()
    for index in range(3):
        Image.fromarray(np.full((48, 64), 60 * index, np.uint8)).save(folder / f"{index}.png")
    tracker = VideoTracker(load_model(device="cpu"), folder)
    tracker.set_box(0, 1, [10, 10, 30, 30])
    with (
        pytest.raises(ValueError, match="the disk is gone"),
        kept_on_failure(tracker, partial, failures=ValueError),
    ):
        _lose(folder)
    assert f"finished frames are in {partial}: --resume continues" in capsys.readouterr().err
    assert partial.exists()


def test_a_signal_while_a_line_is_written_is_answered() -> None:
    program = textwrap.dedent("""
        import os, signal
        from sam2_plugins.commands.console import say, stop_request
        with stop_request() as request:
            import io, sys

            class Raw(io.RawIOBase):
                def writable(self):
                    return True

                def fileno(self):
                    return 2

                def write(self, data):
                    if not request.is_set:
                        os.kill(os.getpid(), signal.SIGINT)
                        for _ in range(1000):
                            pass
                    return os.write(2, data)

            sys.stderr = io.TextIOWrapper(io.BufferedWriter(Raw()), write_through=True)
            say("tracking: 1 of 2 masks")
            assert request.is_set
    """)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "stopping after this frame" in ran.stderr
    assert "tracking: 1 of 2 masks" in ran.stderr
