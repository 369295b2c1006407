"""What forms say of themselves, asked as the App asks them, and on what a verdict is."""

import asyncio
from typing import Any

import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import resolve_type
from fiftyone.operators.registry import OperatorRegistry
from tracked import write_masks
from video_files import moving_discs

REVIEW = "@sam2-plugins/sam2/review_masklets"
SUGGEST = "@sam2-plugins/sam2/suggest_frames"


@pytest.fixture
def tracked(video_dataset: Any) -> Any:
    """Masks of one, two and one discs."""
    for sample, count in zip(video_dataset, (1, 2, 1), strict=True):
        write_masks(sample, moving_discs(12, num_objects=count)[1])
    return video_dataset


def form(uri: str, dataset: Any, *, open_sample: str | None = None, **params: Any) -> Any:
    """The inputs of an operator's form, by name."""
    request = {
        "dataset_name": dataset.name,
        "current_sample": open_sample,
        "target": "inputs",
        "params": params,
    }
    resolved = asyncio.run(resolve_type(OperatorRegistry(), uri, request))
    return resolved.type.properties


def test_a_review_says_what_it_is_on(tracked: Any) -> None:
    sample = tracked.skip(1).first()
    assert form(REVIEW, tracked)["scope"].view.label == "All tracks of 3 videos"
    inputs = form(REVIEW, tracked, open_sample=sample.id, tracks="1, 2")
    assert inputs["scope"].view.label == "Tracks 1, 2 of clip1.mp4"


def test_a_verdict_is_on_the_video_that_is_open(tracked: Any) -> None:
    sample = tracked.skip(1).first()
    result = foo.execute_operator(
        REVIEW, dataset=tracked, current_sample=sample.id, params={"verdict": "reject"}
    ).result
    assert (result["num_tracks"], result["num_videos"]) == (2, 1)
    assert [len(kept or []) for kept in tracked.values("masks_review")] == [0, 2, 0]


@pytest.mark.parametrize(
    ("given", "name", "message"),
    [
        ({"num_frames": -3}, "num_frames", "num_frames must be a number from 1 on, not -3"),
        ({"field": "nope"}, "field", "'nope' is no field of detections in this dataset; those"),
    ],
)
def test_what_is_wrong_is_said_in_the_form(
    tracked: Any, given: dict[str, Any], name: str, message: str
) -> None:
    wrong = form(SUGGEST, tracked, **given)[name]
    assert wrong.invalid
    assert wrong.error_message.startswith(message)
    assert "\n" not in wrong.error_message
