import json
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import numpy as np
import pytest
import tifffile
from PIL import Image

from command_line import Ran
from sam2_plugins.core.formats import load_masks
from sam2_plugins.core.masks import FrameMasks
from sam2_plugins.core.tracker import VideoTracker
from sam2_plugins.core.weights import load_model

Track = Callable[..., Ran]


def labels_of(path: Path) -> np.ndarray:
    return np.stack([frame.to_labels() for frame in load_masks(path)])


def each_object(frames: Iterable[FrameMasks]) -> list[dict[int, bytes]]:
    return [
        {
            int(object_id): mask.tobytes()
            for object_id, mask in zip(frame.object_ids, frame.masks, strict=True)
            if mask.any()
        }
        for frame in frames
    ]


@pytest.mark.parametrize("name", ["out.tif", "out.zarr", "out", "out.json"])
def test_every_format_holds_what_the_tracker_found(
    track: Track, stack: Path, checkpoint: Path, name: str
) -> None:
    ran = track(stack.with_name(name), "--json")
    assert ran.status == 0
    assert [entry["object"] for entry in ran.summary["objects"]] == [1, 7]
    assert ran.summary["status"] == "finished"

    tracker = VideoTracker(load_model(checkpoint=checkpoint, image_size=64), stack)
    tracker.set_box(2, 1, [18, 12, 35, 29])
    tracker.add_points(0, 7, [[20, 20], [50, 40]], [1, 0])
    for _ in tracker.propagate():
        pass
    found = [tracker.masks(index) for index in range(6)]
    assert all(frame.to_labels().any() for frame in found)
    if name == "out.json":
        # It keeps objects that overlap, and not which of them a label image would show.
        assert each_object(load_masks(stack.with_name(name))) == each_object(found)
    else:
        expected = np.stack([frame.to_labels() for frame in found])
        np.testing.assert_array_equal(labels_of(stack.with_name(name)), expected)
    assert not list(stack.parent.glob("*.part*"))


def test_a_tiff_has_one_page_per_frame(track: Track, stack: Path) -> None:
    track(stack.with_name("out.tif"))
    assert tifffile.imread(stack.with_name("out.tif")).shape == (6, 48, 64)


@pytest.mark.parametrize(
    ("arguments", "reached"),
    [
        (["--direction", "forward"], {1: {2, 3, 4, 5}, 7: {0, 1, 2, 3, 4, 5}}),
        (["--direction", "backward"], {1: {0, 1, 2}, 7: {0}}),
        (["--start", 1, "--stop", 4], {1: {1, 2, 3}, 7: {1, 2, 3}}),
    ],
)
def test_frames_that_are_reached(
    track: Track, stack: Path, arguments: list[object], reached: dict[int, set[int]]
) -> None:
    output = stack.with_name("out.json")
    assert track(output, *arguments).status == 0
    found = load_masks(output)
    for object_id, frames in reached.items():
        on = {frame.frame_index for frame in found if object_id in frame.object_ids}
        # The preview of a prompted frame stays, in the range or not.
        assert on - {0, 2} == frames - {0, 2}


@pytest.mark.parametrize(("axis", "unturned"), [("yxt", "tyx"), ("yxz", "zyx"), ("2", "zyx")])
def test_an_axis_is_walked_that_is_not_the_first(
    track: Track, stack: Path, axis: str, unturned: str
) -> None:
    first, second, turned = (stack.with_name(name) for name in ("1.tif", "2.tif", "turned.npy"))
    np.save(turned, np.moveaxis(tifffile.imread(stack), 0, 2))
    assert track(first, "--axis", unturned).status == 0
    assert track(second, "--axis", axis, source=turned).status == 0
    np.testing.assert_array_equal(tifffile.imread(second), tifffile.imread(first))


def test_overlays(track: Track, stack: Path) -> None:
    sheet, video, folder = (stack.with_name(name) for name in ("o.png", "o.mp4", "o"))
    for overlay in (sheet, video, folder):
        assert track(stack.with_name("out.tif"), "--overlay", overlay).status == 0
    with Image.open(sheet) as image:
        # Six tiles, as three columns of two.
        assert image.size == (3 * 320, 2 * 240)
    with av.open(str(video)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [picture.shape for picture in pictures] == [(48, 64, 3)] * 6
    assert sorted(path.name for path in folder.iterdir()) == [f"{i:05d}.png" for i in range(6)]
    drawn = np.asarray(Image.open(folder / "00004.png")).astype(int)
    # Grey where nothing is, coloured where objects are.
    labels = tifffile.imread(stack.with_name("out.tif"))[4]
    spread = np.ptp(drawn, axis=2)
    assert (spread[labels == 0] == 0).all()
    assert (spread[labels > 0] > 0).all()


def test_progress_is_plain_lines_and_stdout_stays_clean(track: Track, stack: Path) -> None:
    ran = track(stack.with_name("out.tif"))
    assert ran.out == ""
    assert "\r" not in ran.err
    assert "tracking: 1 of 8 steps" in ran.err
    assert f"wrote {stack.with_name('out.tif')}" in ran.err


def test_a_mask_prompt_beside_the_prompt_file(track: Track, stack: Path) -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[10:20, 30:40] = 5
    Image.fromarray(mask).save(stack.with_name("m.png"))
    prompts = stack.with_name("masks.json")
    entry = {"frame": 5, "object": 3, "mask": "m.png"}
    prompts.write_text(json.dumps({"version": 1, "prompts": [entry]}))
    assert track(stack.with_name("out.tif"), prompts=prompts).status == 0
    labels = tifffile.imread(stack.with_name("out.tif"))
    np.testing.assert_array_equal(labels[5], np.where(mask, 3, 0))
