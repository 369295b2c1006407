"""Mistakes are refused with one line that says what would be right, and change nothing."""

import numpy as np
import pytest
from tiny import counted, everything, make_tiny

from sam2_plugins.core.tracker import VideoTracker
from synthetic import two_discs_crossing

CLIP = two_discs_crossing(4)
MODEL = make_tiny()
NOT_CONFIRMED = r"object 1 is not confirmed on frame 0; it is on \[\]"

MISTAKES = {
    "frame": (
        lambda tracker: tracker.add_points(4, 1, [[1, 1]], [1]),
        (ValueError, "there is no frame 4: frames are 0 to 3"),
    ),
    "negative frame": (
        lambda tracker: tracker.set_box(-1, 1, [1, 1, 9, 9]),
        (ValueError, "there is no frame -1: frames are 0 to 3"),
    ),
    "frame is no integer": (
        lambda tracker: tracker.set_box(1.0, 1, [1, 1, 9, 9]),
        (ValueError, r"there is no frame 1\.0"),
    ),
    "object 0": (
        lambda tracker: tracker.add_points(0, 0, [[1, 1]], [1]),
        (ValueError, r"object id must be an integer from 1 \(0 is background\) to \d+, not 0"),
    ),
    "object is no integer": (
        lambda tracker: tracker.set_mask(0, "cell", CLIP.mask(0, 1)),
        (ValueError, r"object id must be .* not 'cell'"),
    ),
    "object too large": (
        lambda tracker: tracker.set_mask(0, 2**32, CLIP.mask(0, 1)),
        (ValueError, "to 4294967295, not 4294967296"),
    ),
    "point outside": (
        lambda tracker: tracker.add_points(0, 1, [[1, 1], [30, 41]], [1, 1]),
        (ValueError, r"point \(30, 41\) is outside the frame: x is 0 to 56, y is 0 to 40"),
    ),
    "labels": (
        lambda tracker: tracker.add_points(0, 1, [[1, 1], [3, 4]], [1]),
        (ValueError, "2 points need as many labels, not 1"),
    ),
    "empty box": (
        lambda tracker: tracker.set_box(0, 1, [9, 1, 9, 5]),
        (ValueError, r"box \(9, 1, 9, 5\) is empty: x1 must be greater than x0"),
    ),
    "box outside": (
        lambda tracker: tracker.set_box(0, 1, [60, 1, 70, 5]),
        (ValueError, r"box .* is outside the frame: x is 0 to 56, y is 0 to 40"),
    ),
    "mask of another size": (
        lambda tracker: tracker.set_mask(0, 1, np.ones((56, 40), bool)),
        (ValueError, r"the mask has shape \(56, 40\), but the frame is 40 x 56 \(H, W\)"),
    ),
    "masks of no frame": (
        lambda tracker: tracker.masks(9),
        (ValueError, "there is no frame 9: frames are 0 to 3"),
    ),
    "pixels of no frame": (
        lambda tracker: tracker.read_rgb(9),
        (ValueError, "there is no frame 9"),
    ),
    "encode no frame": (
        lambda tracker: tracker.encode(9),
        (ValueError, "there is no frame 9"),
    ),
    "clear an object": (
        lambda tracker: tracker.clear_prompts(0, 5),
        (KeyError, r"no object 5; objects are \[1, 2\]"),
    ),
    "clear a frame": (
        lambda tracker: tracker.clear_prompts(3, 1),
        (KeyError, r"object 1 has no prompts on frame 3; it has on \[0\]"),
    ),
    "remove": (
        lambda tracker: tracker.remove_object(5),
        (KeyError, r"no object 5; objects are \[1, 2\]"),
    ),
    "propagate": (
        lambda tracker: tracker.propagate(object_ids=[1, 5]),
        (KeyError, r"no object 5; objects are \[1, 2\]"),
    ),
    "confirm an object": (
        lambda tracker: tracker.confirm(5, 0),
        (KeyError, r"no object 5; objects are \[1, 2\]"),
    ),
    "confirm nothing": (
        lambda tracker: tracker.confirm(1, 3),
        (KeyError, "object 1 has no mask on frame 3 to confirm: prompt it there, or propagate"),
    ),
    "unconfirm": (lambda tracker: tracker.unconfirm(1, 0), (KeyError, NOT_CONFIRMED)),
    "suggest": (
        lambda tracker: tracker.suggest_frame(5),
        (KeyError, r"no object 5; objects are \[1, 2\]"),
    ),
    "frames of no object": (
        lambda tracker: tracker.known_frames(5),
        (KeyError, r"no object 5; objects are \[1, 2\]"),
    ),
}


@pytest.fixture
def tracker():
    tracker = VideoTracker(MODEL, CLIP.frames)
    tracker.set_box(0, 1, CLIP.box(0, 1))
    tracker.set_box(0, 2, CLIP.box(0, 2))
    return tracker


@pytest.mark.parametrize(("mistake", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_refused_in_one_line(tracker, mistake, expected):
    error, message = expected
    before = everything(tracker)
    with counted(MODEL) as calls, pytest.raises(error, match=message) as caught:
        mistake(tracker)
    assert "\n" not in str(caught.value)
    assert not calls
    assert everything(tracker) == before
    assert tracker.object_ids == [1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_conditioning_frames": 0}, "max_conditioning_frames must be 1 or more, or None"),
        ({"memory_frames": 7}, "memory_frames must be 0 to 6, not 7"),
        ({"memory_frames": -1}, "memory_frames must be 0 .*-1"),
        ({"memory_stride": 0}, "memory_stride must be 1 or more, not 0"),
        ({"fill_hole_area": -1}, "fill_hole_area must be 0 or more, not -1"),
        ({"cache_frames": 0}, "must hold 1 frame or more, not 0"),
        ({"limits": (5, 5)}, "must be finite, low below high"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        VideoTracker(MODEL, CLIP.frames, **options).set_box(0, 1, CLIP.box(0, 1))


def test_weights_for_images_cannot_track():
    model = make_tiny()
    model.has_memory = False
    with pytest.raises(ValueError, match="weights of tiny are for images only"):
        VideoTracker(model, CLIP.frames)


@pytest.mark.parametrize("memory_frames", [0, 1, 3])
@pytest.mark.parametrize("memory_stride", [1, 3])
def test_less_memory_is_allowed(memory_frames, memory_stride):
    tracker = VideoTracker(
        MODEL, CLIP.frames, memory_frames=memory_frames, memory_stride=memory_stride
    )
    tracker.set_box(0, 1, CLIP.box(0, 1))
    with counted(MODEL) as calls:
        list(tracker.propagate())
    assert calls["encode_memory"] <= 1 + 3 * bool(memory_frames)
