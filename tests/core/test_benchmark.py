"""What the benchmark measures is there, and the published package computes the same in it."""

import numpy as np
import pytest

from sam2_plugins.core.benchmark import (
    Measurement,
    Workload,
    benchmark_core,
    moving_discs,
    random_model,
)
from sam2_plugins.core.published import PublishedTracker
from sam2_plugins.core.tracker import VideoTracker

QUICK = Workload("nano", 64, "cpu", num_frames=5, rounds=1)


def test_everything_is_measured(monkeypatch):
    monkeypatch.setattr("sam2_plugins.core.benchmark._MEMORY_FRAMES", (3, 9))
    found = {measurement.name: measurement for measurement in benchmark_core(QUICK)}
    assert list(found) == [
        "peak memory, 9 frames tracked",
        "tracking 1 object",
        "tracking 5 objects",
        "a click on an encoded frame",
        "encoding an image in bfloat16",
        "tracking 1 object in bfloat16",
    ]
    assert all(measurement.value > 0 for measurement in found.values())
    assert found["tracking 1 object"].ratio is None, "nobody publishes nano"
    assert found["tracking 1 object in bfloat16"].compared_with == "float32"


def test_a_ratio_says_how_many_times_better_ours_is():
    assert Measurement("", 6, "frames/s", "higher", other=2).ratio == 3
    assert Measurement("", 6, "ms", "lower", other=12).ratio == 2


@pytest.mark.parametrize("wrong", [{"num_frames": 3}, {"rounds": 0}])
def test_too_little_to_measure_is_refused(wrong):
    with pytest.raises(ValueError, match=r"needed to measure|once or more"):
        Workload("nano", 64, "cpu", **wrong)


def test_both_implementations_do_the_same_work():
    """Else their times could not be compared."""
    pytest.importorskip("sam2")
    model = random_model("sam2.1-tiny", 128)
    frames, boxes = moving_discs(3, 2)
    published = PublishedTracker(model, frames)
    published.add_boxes(boxes)
    expected = np.stack(list(published.propagate()))
    tracker = VideoTracker(model, frames, exact=True, fill_hole_area=0)
    for object_id, box in enumerate(boxes, start=1):
        tracker.set_box(0, object_id, box)
    ours = np.stack([found.masks for found in tracker.propagate()])
    assert ours.shape == expected.shape == (3, 2, *frames.shape[1:3])
    assert 0.01 < expected.mean() < 0.99
    assert (ours == expected).mean() > 0.99
    published.click(1, (60, 70))
    published.restart()
    published.add_boxes(boxes)
    np.testing.assert_array_equal(np.stack(list(published.propagate())), expected)
