"""A mask on a frame and clicks on it, in different fields: the clicks correct the mask."""

from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import numpy as np
import pytest
from propagation import QUICK, SIZE, masked, masks_of
from video_files import moving_discs

import fiftyone as fo
from sam2_plugins.core import HandedPrompt, VideoTracker, load_model, read_handover
from sam2_plugins.fiftyone_plugin.geometry import detection_mask
from sam2_plugins.fiftyone_plugin.labels import instance_id
from sam2_plugins.fiftyone_plugin.napari_session import write_session
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.sources import list_units

DRAWN = moving_discs(12)[1][0] == 1
DRAWN[16:48, 66:90] = True
TOO_MUCH = 78, 32
"""A pixel of what the mask on frame 1 has beside the disc."""
FIELDS = ("prompts, clicks", "clicks, prompts")


def click(sample: Any, x: float, y: float, sign: int) -> None:
    """A click on frame 1, of the track whose mask is there."""
    (mask,) = sample.frames[1]["prompts"].detections
    point = fo.Keypoint(
        index=1, instance=mask.instance, points=[(x / SIZE[1], y / SIZE[0])], point_labels=[sign]
    )
    sample.frames[1]["clicks"] = fo.Keypoints(keypoints=[point])
    sample.save()


@pytest.fixture
def sample(video_dataset: Any) -> Any:
    """The first video, with a mask on frame 1 as its only prompt."""
    sample = video_dataset.first()
    sample.frames[1]["prompts"] = masked(DRAWN.astype(np.uint8), 1)
    sample.save()
    return sample


def corrected(path: str | Path) -> dict[int, Any]:
    """What the core makes of the mask and a click on it."""
    tracker = VideoTracker(load_model(image_size=QUICK["image_size"], device="cpu"), path)
    tracker.set_mask(0, 1, DRAWN)
    tracker.add_points(0, 1, [TOO_MUCH], [0])
    for _ in tracker.propagate():
        pass
    found = {number: tracker.masks(number - 1).masks[0] for number in range(1, 13)}
    return {number: mask for number, mask in found.items() if mask.any()}


@pytest.mark.parametrize("fields", FIELDS)
def test_a_click_that_the_mask_contradicts_corrects_it(
    propagate: Any, sample: Any, fields: str
) -> None:
    click(sample, *TOO_MUCH, 0)
    propagate(sample._dataset[:1], model="nano", prompt_field=fields)
    made, expected = masks_of(sample, 1), corrected(sample.filepath)
    assert sorted(made) == sorted(expected)
    for number, mask in expected.items():
        np.testing.assert_array_equal(detection_mask(made[number], SIZE), mask)
    assert not np.array_equal(expected[1], DRAWN)


@pytest.mark.parametrize("fields", FIELDS)
def test_a_click_that_the_mask_agrees_with_leaves_it_as_it_is(
    propagate: Any, sample: Any, fields: str
) -> None:
    click(sample, *TOO_MUCH, 1)
    propagate(sample._dataset[:1], model="nano", prompt_field=fields)
    np.testing.assert_array_equal(detection_mask(masks_of(sample, 1)[1], SIZE), DRAWN)


def test_segmented_frames_heed_the_click_too(sample: Any) -> None:
    click(sample, *TOO_MUCH, 0)
    params = {**QUICK, "prompt_field": FIELDS[0]}
    dataset = sample._dataset
    foo.execute_operator(
        "@sam2-plugins/sam2/segment_frames", dataset=dataset, view=dataset[:1], params=params
    )
    expected = corrected(sample.filepath)[1]
    np.testing.assert_array_equal(detection_mask(masks_of(sample, 1)[1], SIZE), expected)


def test_napari_is_handed_both(sample: Any) -> None:
    click(sample, *TOO_MUCH, 0)
    options = Options(prompt_field=FIELDS[0])
    (unit,) = list_units(sample._dataset[:1])
    folder = write_session(sample._dataset, unit, options)
    given, _ = read_handover(folder / "given")
    said = given.prompts[0, 1]
    assert isinstance(said, HandedPrompt)
    np.testing.assert_array_equal(said.mask, DRAWN)
    assert (len(said.points), said.point_labels) == (1, (0,))
    assert instance_id(sample.frames[1]["clicks"].keypoints[0]) is not None
