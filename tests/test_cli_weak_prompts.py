"""Prompts that will hardly find anything: one line says so, and the run goes on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from command_line import Ran

Run = Callable[..., Ran]
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def warned(track: Run, stack: Path) -> Callable[..., list[str]]:
    """Run `track` with prompts to its end; the warnings."""

    def warned(*prompts: dict[str, Any], source: Path = stack) -> list[str]:
        path = stack.with_name("weak.json")
        path.write_text(json.dumps({"version": 1, "prompts": prompts}))
        ran = track(stack.with_name("o.tif"), prompts=path, source=source)
        assert ran.status == 0, ran.err
        return warnings_of(ran)

    return warned


def warnings_of(ran: Ran) -> list[str]:
    start = "sam2-plugins: warning: "
    return [line.removeprefix(start) for line in ran.err.splitlines() if line.startswith(start)]


def test_an_object_with_clicks_on_the_background_alone(
    warned: Callable[..., list[str]], stack: Path
) -> None:
    off, on = {"points": [[60, 40]], "labels": [0]}, {"points": [[20, 20]]}
    (line,) = warned({"frame": 0, "object": 1, **on}, {"frame": 0, "object": 2, **off})
    assert line.startswith("of object 2 it is only told where it is not, so perhaps nothing is fou")
    assert not warned({"frame": 0, "object": 1, **off}, {"frame": 2, "object": 1, **on})
    assert not warned({"frame": 0, "object": 1, "box": [1, 1, 9, 9], **off})
    np.save(stack.with_name("empty.npy"), np.zeros((48, 64), bool))
    (line,) = warned({"frame": 0, "object": 1, "mask": "empty.npy"})
    assert line.startswith("of object 1 it is only told where it is not")


@pytest.mark.parametrize("value", [np.nan, np.inf, 7.0])
def test_frames_that_show_nothing(
    warned: Callable[..., list[str]], stack: Path, value: float
) -> None:
    frames = tifffile.imread(stack).astype(np.float32)
    frames[:2] = value
    path = stack.with_name("blank.tif")
    tifffile.imwrite(path, frames, metadata={"axes": "TYX"})
    entries = [{"frame": k, "object": 1, "box": [1, 1, 9, 9]} for k in (1, 0, 3)]
    told = "there is nothing to see on frames 0, 1: all pixels are alike, NaN or infinite"
    assert told in warned(*entries, source=path)
    assert told not in warned(entries[-1], source=path)


def test_segment_says_the_same(run: Run, stack: Path, checkpoint: Path) -> None:
    path = stack.with_name("dark.tif")
    tifffile.imwrite(path, np.zeros((48, 64), np.uint16))
    options = ("--checkpoint", checkpoint, "--image-size", 64, "-o", stack.with_name("o.png"))
    ran = run("segment", path, "--point", "5,5,0", *options)
    assert ran.status == 0, ran.err
    assert [line[:30] for line in warnings_of(ran)] == [
        "there is nothing to see on fra",
        "of object 1 it is only told wh",
    ]
