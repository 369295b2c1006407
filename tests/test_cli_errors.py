"""Bad input: one line that says what, where and what would be right; status 2; no output."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from command_line import Ran
from sam2_plugins.core.formats import registry

Track = Callable[..., Ran]
Run = Callable[..., Ran]


@pytest.fixture
def refused(track: Track, stack: Path) -> Callable[..., str]:
    """Run `track`, be refused, and leave nothing behind; returns the message."""

    def refused(
        *arguments: object, output: object = None, late: bool = False, **options: Any
    ) -> str:
        before = set(stack.parent.rglob("*"))
        ran = track(output or stack.with_name("out.tif"), *arguments, **options)
        error = ran.late_error if late else ran.error
        assert set(stack.parent.rglob("*")) == before
        return error

    return refused


@pytest.fixture
def refused_prompts(refused: Callable[..., str], stack: Path) -> Callable[..., str]:
    """Be refused for a file of prompts with this text or content; returns what follows its name."""

    def refused_prompts(content: Any) -> str:
        path = stack.with_name("bad.json")
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        error = refused(prompts=path)
        assert error.startswith(f"{path}: "), error
        return error.removeprefix(f"{path}: ")

    return refused_prompts


def with_prompts(*prompts: object) -> dict[str, Any]:
    return {"version": 1, "prompts": [{"frame": 0, "object": 1, "box": [1, 1, 9, 9]}, *prompts]}


# Input files


def test_missing_input(refused: Callable[..., str], tmp_path: Path) -> None:
    assert (
        refused(source=tmp_path / "no.tif") == f"there is no file or folder {tmp_path / 'no.tif'}"
    )


@pytest.mark.parametrize("name", ["e.tif", "e.npy", "e.mp4", "e.png"])
def test_empty_input(refused: Callable[..., str], tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert str(tmp_path / name) in refused(source=tmp_path / name)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.95])
def test_truncated_tiff(refused: Callable[..., str], stack: Path, kept: float) -> None:
    whole = stack.read_bytes()
    cut = stack.with_name("cut.tif")
    cut.write_bytes(whole[: int(kept * len(whole))])
    assert str(cut) in refused(source=cut)


@pytest.mark.parametrize("where_the_index_is", ["first", "last"])
def test_truncated_video(refused: Callable[..., str], stack: Path, where_the_index_is: str) -> None:
    path = stack.with_name("v.mp4")
    options = {"movflags": "faststart"} if where_the_index_is == "first" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(6):
            frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    cut = stack.with_name("cut.mp4")
    cut.write_bytes(path.read_bytes()[:-300])
    error = refused(source=cut)
    assert error.startswith(f"{cut}: ")
    assert "truncated" in error


def test_input_of_unknown_kind(refused: Callable[..., str], stack: Path) -> None:
    path = stack.with_name("notes.txt")
    path.write_text("hello")
    assert ".tif" in refused(source=path)


def test_folder_without_images(refused: Callable[..., str], tmp_path: Path, stack: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in refused(source=tmp_path / "empty")


# Prompts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: not JSON: Expecting value"),
        ('{"version": 1,\n "prompts": [}', "line 2, column 14: not JSON: Expecting value"),
        ('{"version": 1, "prompts": [{"frame": NaN', "line 1, column 41: not JSON"),
        ("1" * 5000, "cannot be read: Exceeds the limit"),
        ("[]", 'expected {"version": 1, "prompts": […]}'),
        ('{"version": 2, "prompts": []}', "version: expected 1, found 2"),
        ('{"version": 1, "prompts": []}', "prompts: there is none"),
    ],
)
def test_malformed_file_of_prompts(
    refused_prompts: Callable[..., str], text: str, message: str
) -> None:
    assert refused_prompts(text).startswith(message)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (3, 'expected {"frame": …, "object": …, …}, found 3'),
        ({"object": 1, "box": [1, 1, 9, 9]}, "'frame' is missing"),
        ({"frame": 0, "box": [1, 1, 9, 9]}, "'object' is missing"),
        ({"frame": 0, "object": 2}, "needs points, a box, or both, or a mask, found none"),
        ({"frame": 0, "object": 2, "label": [1]}, "unknown key 'label'"),
        ({"frame": 0, "object": 2, "box": [1, 1, 9, 9], "labels": [1]}, "has labels but no points"),
        ({"frame": 6, "object": 1, "box": [1, 1, 9, 9]}, "frame: there is no frame 6"),
        ({"frame": -1, "object": 1, "box": [1, 1, 9, 9]}, "frame: there is no frame -1"),
        ({"frame": 0.5, "object": 1, "box": [1, 1, 9, 9]}, "frame: there is no frame 0.5"),
        ({"frame": True, "object": 1, "box": [1, 1, 9, 9]}, "frame: expected a number from 0, fou"),
        ({"frame": 0, "object": 0, "box": [1, 1, 9, 9]}, "object: object id must be an integer"),
        ({"frame": 0, "object": "a", "box": [1, 1, 9, 9]}, "object: object id must be an integer"),
        ({"frame": 0, "object": 2, "box": [1, 1, 9]}, "box: expected [x0, y0, x1, y1]"),
        ({"frame": 0, "object": 2, "box": [9, 9, 9, 20]}, "box: box (9, 9, 9, 20) is empty"),
        ({"frame": 0, "object": 2, "box": [70, 1, 90, 9]}, "box: box (70, 1, 90, 9) is outside"),
        ({"frame": 0, "object": 2, "points": []}, "points: expected [[x, y], …], found []"),
        ({"frame": 0, "object": 2, "points": [[1, 1], [2]]}, "points[1]: expected [x, y]"),
        ({"frame": 0, "object": 2, "points": [[1, 1], ["2", 3]]}, "points[1]: expected [x, y]"),
        ({"frame": 0, "object": 2, "points": [[1, 1], [65, 3]]}, "points[1]: point (65, 3) is out"),
        ({"frame": 0, "object": 2, "points": [[1, 1]], "labels": [1, 0]}, "labels: expected 1 lab"),
        ({"frame": 0, "object": 2, "points": [[1, 1]], "labels": [2]}, "labels[0]: expected 1"),
        ({"frame": 0, "object": 2, "mask": "no.png"}, "mask: there is no file"),
        ({"frame": 0, "object": 2, "mask": "small.png"}, "mask: the mask has shape (9, 9)"),
        ({"frame": 0, "object": 2, "mask": "prompts.json"}, "mask: "),
        ({"frame": 0, "object": 1, "box": [2, 2, 9, 9]}, "object 1 on frame 0 has prompts in"),
        ({"frame": 0, "object": 1, "mask": "whole.png"}, "object 1 on frame 0 has prompts in"),
        ({"frame": 0, "object": 2, "points": [[1, math.nan]]}, "points[0]: expected [x, y]"),
        ({"frame": 0, "object": 2, "points": [[1, 10**400]]}, "points[0]: expected [x, y]"),
        ({"frame": 0, "object": 2, "box": [1, 1, 9, 10**400]}, "box: expected [x0, y0, x1, y1]"),
    ],
)
def test_a_bad_prompt_is_found_by_its_place(
    refused_prompts: Callable[..., str], tmp_path: Path, prompt: object, message: str
) -> None:
    Image.fromarray(np.ones((9, 9), np.uint8)).save(tmp_path / "small.png")
    Image.fromarray(np.ones((48, 64), np.uint8)).save(tmp_path / "whole.png")
    error = refused_prompts(with_prompts(prompt))
    assert error.removeprefix("prompts[1]: ").removeprefix("prompts[1].").startswith(message), error


def test_missing_file_of_prompts(refused: Callable[..., str], tmp_path: Path) -> None:
    assert str(tmp_path / "no.json") in refused(prompts=tmp_path / "no.json")


# Models


def test_unknown_model(run: Run, stack: Path) -> None:
    ran = run("track", stack, "--prompts", stack.with_name("prompts.json"), "-o",
              stack.with_name("o.tif"), "--model", "huge")  # fmt: skip
    assert ran.error.startswith("unknown model 'huge'; the models are nano, sam2-tiny")


def test_model_without_network_names_the_file_to_get(run: Run, stack: Path) -> None:
    ran = run("segment", stack, "--frame", 0, "--box", "1,1,9,9", "-o", stack.with_name("o.png"),
              "--model", "sam2.1-tiny", "--checkpoint", stack.with_name("no.pt"))  # fmt: skip
    assert "exclude each other" in ran.error


def test_checkpoint_of_something_else(run: Run, stack: Path) -> None:
    other = stack.with_name("other.pt")
    torch.save({"model": {"conv.weight": torch.zeros(3, 3)}}, other)
    arguments = ("track", stack, "--prompts", stack.with_name("prompts.json"))
    for checkpoint in (other, stack, stack.with_name("no.pt")):
        ran = run(*arguments, "-o", stack.with_name("o.tif"), "--checkpoint", checkpoint)
        assert str(checkpoint) in ran.error
        assert not stack.with_name("o.tif").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--image-size", 100, "image_size must be a positive multiple of 32, not 100"),
        ("--device", "tpu", "'tpu'"),
        ("--dtype", "int8", "unknown dtype 'int8'"),
        ("--stop", 7, "--start 0 --stop 7 is no range of frames"),
        ("--start", 6, "--start 6 --stop 6 is no range of frames"),
        ("--stop-after-absent", 0, "--stop-after-absent must be 1 or more"),
        ("--axis", "tyxc", "names 4 axes but the shape (6, 48, 64) has 3"),
        ("--at", "t", "expected AXIS=INDEX such as t=0"),
        ("--channels", "0,9", "no channel 9"),
        ("--level", 3, "no level 3"),
        ("--direction", "up", "invalid choice: 'up'"),
    ],
)
def test_bad_option(refused: Callable[..., str], option: str, value: object, message: str) -> None:
    assert message in refused(option, value)


# Outputs


def test_unknown_output(refused: Callable[..., str], stack: Path) -> None:
    assert "unknown ending '.xyz'" in refused(output=stack.with_name("o.xyz"))
    assert "ends in .png, .mp4" in refused("--overlay", stack.with_name("o.gif"))


def test_output_in_a_missing_folder(refused: Callable[..., str], stack: Path) -> None:
    assert "there is no folder" in refused(output=stack.parent / "no" / "o.tif")
    assert "there is no folder" in refused("--overlay", stack.parent / "no" / "o.png")


def test_output_in_a_file(refused: Callable[..., str], stack: Path) -> None:
    assert "there is no folder" in refused(output=stack / "o.tif")


def test_output_over_something_else(refused: Callable[..., str], stack: Path) -> None:
    folder = stack.with_name("photos")
    folder.mkdir()
    (folder / "holiday.jpg").touch()
    assert "choose another output" in refused(output=folder)


def test_output_folder_that_cannot_be_written(refused: Callable[..., str], stack: Path) -> None:
    folder = stack.with_name("locked")
    folder.mkdir()
    with read_only(folder):
        assert "cannot write" in refused(output=folder / "o.tif")
        assert "cannot write" in refused("--overlay", folder / "o.png")


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder that not even root can write to, where that can be done."""
    if os.geteuid():
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    mount(folder, "size=64k,ro")
    yield
    subprocess.run(["umount", folder], check=True)


def mount(folder: Path, options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs root on Linux")


@pytest.mark.parametrize("name", ["o.tif", "o.zarr", "o", "o.json"])
def test_disk_full(track: Track, stack: Path, name: str) -> None:
    folder = stack.with_name("small")
    folder.mkdir()
    mount(folder, "size=1m,nr_inodes=200")
    try:
        (folder / "filler").write_bytes(bytes(2**20 - 2 * 4096))
        noise = np.random.default_rng(0).integers(0, 2, (48, 64), np.uint8)
        entries = []
        for index in range(6):
            Image.fromarray(np.roll(noise, index)).save(stack.with_name(f"m{index}.png"))
            entries.append({"frame": index, "object": index + 1, "mask": f"m{index}.png"})
        prompts = stack.with_name("noise.json")
        prompts.write_text(json.dumps({"version": 1, "prompts": entries}))
        error = track(folder / name, prompts=prompts).late_error
        assert error == f"cannot write {folder / name}: No space left on device"
        assert [path.name for path in folder.iterdir()] == ["filler"]
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full_to_the_end_takes_no_session_either(
    track: Track, stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(registry, "move_into_place", fail)
    monkeypatch.setattr("sam2_plugins.core.tracker.write_session", lambda *_, **__: fail())
    ran = track(stack.with_name("out.tif"))
    assert ran.late_error == f"cannot write {stack.with_name('out.tif')}: No space left on device"
    partial = stack.with_name("out.tif.partial")
    assert f"could not be kept in {partial}: No space left on device" in ran.err


@pytest.mark.parametrize(("name", "highest"), [("out", 255), ("stack_RES", 65535)])
def test_ids_that_the_output_cannot_hold_are_refused_before_tracking(
    refused: Callable[..., str], stack: Path, name: str, highest: int
) -> None:
    prompts = stack.with_name("ids.json")
    entries = [{"frame": 0, "object": key, "box": [1, 1, 9, 9]} for key in (highest, highest + 1)]
    prompts.write_text(json.dumps({"version": 1, "prompts": entries}))
    error = refused(prompts=prompts, output=stack.with_name(name))
    assert error.startswith(f"{prompts}: prompts[1]: object {highest + 1}: the ")
    assert f"holds ids up to {highest}; write .tif" in error


# The program


@pytest.mark.parametrize("arguments", [["bogus"], [], ["track"], ["track", "x", "--nonsense"]])
def test_bad_usage_is_one_line(run: Run, arguments: list[str]) -> None:
    assert "--help" in run(*arguments).error


def test_errors_of_the_installed_program(stack: Path) -> None:
    command = [sys.executable, "-m", "sam2_plugins", "track", stack.with_name("no.tif")]
    ran = subprocess.run(
        [*command, "--prompts", "p.json", "-o", "o.tif"], capture_output=True, text=True
    )
    assert ran.returncode == 2
    assert ran.stdout == ""
    expected = f"sam2-plugins: error: there is no file or folder {stack.with_name('no.tif')}\n"
    assert ran.stderr == expected


def test_help_and_errors_do_not_wait_for_torch() -> None:
    script = "import sys; from sam2_plugins.cli import main; main(['--help']); main(['bogus']); "
    script += "main(['segment', 'no.png', '--box', '1,1,2,2', '-o', 'o.png']); "
    script += "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_traceback_on_request(run: Run, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run("--traceback", "segment", tmp_path / "no.png", "--box", "1,1,2,2", "-o", "o.png")


def test_stack_of_unreadable_pages(refused: Callable[..., str], stack: Path) -> None:
    data = bytearray(tifffile.imread(stack).tobytes())
    path = stack.with_name("noise.tif")
    path.write_bytes(bytes(data[:5000]))
    assert str(path) in refused(source=path)
