import json
import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from command_line import Ran
from sam2_plugins.commands.auto import key_frames
from sam2_plugins.core.config import MODELS
from sam2_plugins.core.formats import FORMATS, load_masks
from sam2_plugins.core.segmenting import Segmenter

Run = Callable[..., Ran]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photograph with a red square."""
    image = np.full((40, 60, 3), 90, np.uint8)
    image[10:30, 20:40] = (220, 30, 30)
    Image.fromarray(image).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def segment(run: Run, photo: Path, checkpoint: Path) -> Run:
    def segment(*arguments: object, source: Path = photo) -> Ran:
        options = ("--checkpoint", checkpoint, "--image-size", 64, "--json")
        return run("segment", source, *options, *arguments)

    return segment


def test_segment_boxes_into_a_palette_image(segment: Run, photo: Path) -> None:
    output = photo.with_name("out.png")
    ran = segment("--box", "20,10,40,30", "--box", "0,0,12,12", "-o", output)
    assert ran.status == 0, ran.err
    with Image.open(output) as image:
        assert image.mode == "P"
        labels = np.asarray(image)
    assert labels.shape == (40, 60)
    found = {entry["object"]: entry["area"] for entry in ran.summary["objects"]}
    assert set(found) == {1, 2}
    assert set(np.unique(labels)) <= {0, 1, 2}
    assert np.count_nonzero(labels) <= sum(found.values())


@pytest.mark.parametrize("name", ["out.tif", "out.zarr", "out", "out.json"])
def test_segment_points_into_every_format(segment: Run, photo: Path, name: str) -> None:
    output = photo.with_name(name)
    ran = segment("--point", "30,20", "--point", "5,5,0", "--box", "20,10,40,30", "-o", output)
    assert ran.status == 0, ran.err
    (frame,) = load_masks(output)
    assert frame.masks.sum() == ran.summary["objects"][0]["area"]


def test_segment_draws(segment: Run, photo: Path) -> None:
    overlay = photo.with_name("overlay.png")
    assert (
        segment("--point", "30,20", "-o", photo.with_name("o.tif"), "--overlay", overlay).status
        == 0
    )
    with Image.open(overlay) as image:
        assert image.size == (60, 40)


def test_segment_one_frame_of_a_stack(segment: Run, stack: Path) -> None:
    output = stack.with_name("out.png")
    arguments = ("--box", "18,12,35,29", "-o", output)
    assert segment(*arguments, source=stack).error.endswith(
        "frames 0 to 5: choose one with --frame"
    )
    assert segment(*arguments, "--frame", 2, source=stack).status == 0
    assert "there is no frame 6" in segment(*arguments, "--frame", 6, source=stack).error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "segment needs a --point or a --box"),
        (["--point", "1,1", "--box", "1,1,5,5", "--box", "1,1,6,6"], "at most one --box"),
        (["--point", "1"], "argument --point: expected x,y or x,y,label, found '1'"),
        (["--point", "a,1"], "argument --point: expected x,y or x,y,label, found 'a,1'"),
        (["--point", "1,1,3"], "the label is 1 (object) or 0 (not)"),
        (["--point", "61,1"], "point (61, 1) is outside the frame"),
        (["--box", "1,1,5"], "argument --box: expected x0,y0,x1,y1"),
        (["--box", "5,5,5,9"], "box (5, 5, 5, 9) is empty"),
        (["--box", "1,1,inf,9"], "a box is four numbers"),
    ],
)
def test_segment_refuses(segment: Run, photo: Path, arguments: list[str], message: str) -> None:
    assert message in segment(*arguments, "-o", photo.with_name("out.png")).error
    assert not photo.with_name("out.png").exists()


def test_segment_refuses_a_folder_as_picture(segment: Run, photo: Path) -> None:
    photo.with_name("out.png").mkdir()
    error = segment("--point", "30,20", "-o", photo.with_name("out.png")).error
    assert error.endswith("exists and is a folder")


@pytest.fixture
def auto(run: Run, checkpoint: Path) -> Run:
    def auto(source: Path, *arguments: object) -> Ran:
        # Random weights are sure of nothing: keep everything, of few clicks.
        keep = ("--min-predicted-iou", 0, "--min-stability", 0, "--points-per-side", 2)
        options = ("--checkpoint", checkpoint, "--image-size", 64, "--json")
        return run("auto", source, *keep, *options, *arguments)

    return auto


def test_auto_on_an_image(auto: Run, photo: Path) -> None:
    output = photo.with_name("out.tif")
    ran = auto(photo, "-o", output, "--overlay", photo.with_name("overlay.png"))
    assert ran.status == 0, ran.err
    assert ran.summary["objects"] > 0
    labels = tifffile.imread(output)
    assert labels.max() <= ran.summary["objects"]
    assert labels.shape[-2:] == (40, 60)


def test_auto_finds_nothing(auto: Run, photo: Path) -> None:
    output = photo.with_name("out.png")
    ran = auto(photo, "-o", output, "--min-area", 5000)
    assert ran.summary["objects"] == 0
    assert "nothing passed --min-predicted-iou 0, " in ran.err
    assert "--min-area 5000: lower ones keep more" in ran.err
    assert not np.asarray(Image.open(output)).any()


def test_auto_on_a_stack(auto: Run, stack: Path) -> None:
    output = stack.with_name("out.json")
    ran = auto(stack, "-o", output, "--every", 3)
    assert ran.status == 0, ran.err
    found = load_masks(output)
    ids = {object_id for frame in found for object_id in frame.object_ids.tolist()}
    assert ids == set(range(1, ran.summary["objects"] + 1))


def test_auto_goes_on_where_it_was_interrupted(
    auto: Run, stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, whole = stack.with_name("out.json"), stack.with_name("whole.json")
    partial = stack.with_name("out.json.partial")
    options = ("--every", 3)
    assert auto(stack, "-o", whole, *options).status == 0
    expected = json.loads(whole.read_text())
    calls = count(1)
    track = Segmenter.track

    def interrupted(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return track(*arguments, **options)

    monkeypatch.setattr(Segmenter, "track", interrupted)
    ran = auto(stack, "-o", output, *options)
    assert (ran.status, ran.summary["status"]) == (130, "interrupted")
    assert ran.summary["objects"] > 0
    assert f"finished frames are in {partial}: --resume continues" in ran.err
    assert not output.exists()
    monkeypatch.undo()

    resumed = auto(stack, "-o", output, *options, "--resume")
    assert (resumed.status, resumed.summary["status"]) == (0, "finished")
    assert not partial.exists()
    found = json.loads(output.read_text())
    assert found["masklet"] == expected["masklet"]


def test_auto_keeps_what_it_tracked_when_writing_fails(
    auto: Run, stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    output = stack.with_name("out.json")
    monkeypatch.setattr("sam2_plugins.commands.tracked.save_masks", stopped)
    assert auto(stack, "-o", output).status == 130
    assert stack.with_name("out.json.partial").exists()
    monkeypatch.undo()
    assert auto(stack, "-o", output, "--resume").status == 0


def test_auto_says_early_that_there_are_more_objects_than_the_output_can_hold(
    auto: Run, stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(FORMATS["davis"], max_object_id=0)
    monkeypatch.setitem(FORMATS, "davis", few)
    ran = auto(stack, "-o", stack.with_name("out"), "--every", 3)
    assert ran.late_error.endswith("write .tif, .zarr or .json")
    stack.with_name("out.partial").rename(stack.with_name("out.tif.partial"))
    assert auto(stack, "-o", stack.with_name("out.tif"), "--every", 3, "--resume").status == 0


def test_auto_refuses(auto: Run, photo: Path) -> None:
    assert "--every must be 1 or more" in auto(photo, "-o", "x.tif", "--every", 0).error
    assert (
        "points_per_side"
        in auto(photo, "-o", photo.with_name("x.tif"), "--points-per-side", 0).error
    )


@pytest.mark.parametrize(
    ("num_frames", "every", "expected"), [(1, 30, [0]), (20, 30, [10]), (60, 30, [15, 45])]
)
def test_key_frames(num_frames: int, every: int, expected: list[int]) -> None:
    assert key_frames(num_frames, every) == expected


def test_models(run: Run) -> None:
    ran = run("models")
    assert ran.status == 0
    header, *rows = ran.out.splitlines()
    assert header.split()[0] == "name"
    assert [row.split()[0] for row in rows] == list(MODELS)
    assert "bundled: " in rows[0]
    assert all("to download: " in row for row in rows[1:])
    listed = json.loads(run("models", "--json").out)["models"]
    assert [model["name"] for model in listed] == list(MODELS)


def test_version(run: Run) -> None:
    assert run("--version").out.startswith("sam2-plugins 0.")
