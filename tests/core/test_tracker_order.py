"""An object's masks do not depend on the order or batching of calls, however frames are seen."""

from functools import cache

import numpy as np
import pytest
from tiny import assert_same, everything, make_tiny, row

from sam2_plugins.core.samples import nuclei_stack
from sam2_plugins.core.tracker import VideoTracker
from sam2_plugins.core.weights import load_model
from synthetic import two_discs_crossing

CLIP = two_discs_crossing(7)
MODEL = make_tiny()
A, B = 3, 8
SIGHTS = ["whole", "windows", "closeups"]
seen_in_every_way = pytest.mark.parametrize("sight", SIGHTS)


@cache
def nano(image_size=None):
    return load_model(device="cpu", image_size=image_size)


def seeing(sight, frames=CLIP.frames):
    """A tracker that sees frames whole, objects through windows, or objects from near."""
    if sight == "closeups":
        return VideoTracker(nano(128), frames)
    return VideoTracker(MODEL, frames, window_side={"whole": None, "windows": 16}[sight])


@seen_in_every_way
def test_the_order_of_prompts_before_tracking_does_not_matter(sight):
    steps = [
        lambda tracker: tracker.add_points(0, A, [[12, 16]], [1]),
        lambda tracker: tracker.set_box(5, A, CLIP.box(5, 1)),
        lambda tracker: tracker.set_mask(3, B, CLIP.mask(3, 2)),
        lambda tracker: tracker.add_points(0, B, [[44, 26]], [1]),
    ]
    results = []
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)):
        tracker = seeing(sight)
        for step in order:
            steps[step](tracker)
        list(tracker.propagate())
        results.append(everything(tracker))
    assert results[0] == results[1] == results[2]


@seen_in_every_way
def test_clicks_on_several_frames_come_in_any_order(sight):
    frames = nuclei_stack().images[8:14]
    results = []
    for order in ((2, 4, 5), (5, 4, 2), (4, 2, 5)):
        tracker = seeing(sight, frames)
        for frame in order:
            tracker.add_points(frame, A, [[100, 38]], [1])
        list(tracker.propagate())
        results.append(everything(tracker))
    assert results[0] == results[1] == results[2]


@seen_in_every_way
def test_the_size_of_what_was_tracked_does_not_depend_on_what_was_corrected_since(sight):
    frames = nuclei_stack().images[8:14]
    results = []
    for is_corrected in (False, True):
        tracker = seeing(sight, frames)
        tracker.set_box(0, A, [90, 28, 112, 50])
        list(tracker.propagate(stop=4))
        if is_corrected:
            tracker.set_box(3, A, [10, 10, 110, 110])
        results.append(row(tracker.add_points(5, A, [[65, 33]], [1]), A))
    assert_same(*results)


@seen_in_every_way
@pytest.mark.parametrize("is_tracked", [False, True], ids=["fresh frame", "tracked frame"])
@pytest.mark.parametrize("moved_from", [[9, 95], [3, 3]])
def test_a_click_that_was_moved_leaves_no_trace(sight, is_tracked, moved_from):
    frames = nuclei_stack().images[9:12]
    results = []
    for places in ([[100, 38]], [moved_from, [100, 38]]):
        tracker = seeing(sight, frames)
        if is_tracked:
            tracker.set_box(0, A, [90, 28, 112, 50])
            list(tracker.propagate())
        for place in places:
            tracker.set_prompts(1, A, points=[place], point_labels=[1])
        results.append(everything(tracker))
    assert results[0] == results[1]


@seen_in_every_way
def test_a_box_around_clicks_is_as_if_it_had_come_first(sight):
    frames = nuclei_stack().images[9:12]
    results = []
    for order in ("box first", "clicks first"):
        tracker = seeing(sight, frames)
        if order == "box first":
            tracker.set_box(1, A, [90, 28, 112, 50])
        tracker.add_points(1, A, [[100, 38]], [1])
        tracker.set_box(1, A, [90, 28, 112, 50])
        results.append(everything(tracker))
    assert results[0] == results[1]


@seen_in_every_way
@pytest.mark.parametrize("is_tracked", [False, True], ids=["fresh frame", "tracked frame"])
def test_clicks_in_one_call_or_in_several(sight, is_tracked):
    points, labels = [[40, 14], [10, 30], [30, 20]], [1, 0, 1]
    results = []
    for batches in ([3], [1, 1, 1], [2, 1]):
        tracker = seeing(sight)
        if is_tracked:
            tracker.set_box(0, A, CLIP.box(0, 1))
            list(tracker.propagate())
        done = 0
        for size in batches:
            part = slice(done, done + size)
            tracker.add_points(4, A, points[part], labels[part])
            done += size
        results.append(everything(tracker))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("is_mask", [True, False], ids=["mask", "click"])
def test_a_click_outside_the_window_is_as_if_it_had_come_alone(is_mask):
    """The window of the first answer is not that of all that is said together."""
    rows, columns = np.mgrid[:300, :340]
    disc = np.hypot(rows - 100, columns - 90) < 22
    frames = np.random.default_rng(0).normal(60, 4, (2, 300, 340))
    frames[:, disc] = 180
    frames = frames.clip(0, 255).astype(np.uint8)
    points, labels = [[90, 100], [200, 100]], [1, 1]
    together, apart = VideoTracker(nano(), frames), VideoTracker(nano(), frames)
    if is_mask:
        together.set_prompts(0, A, mask=disc, points=points[1:], point_labels=[1])
        apart.set_mask(0, A, disc)
    else:
        together.add_points(0, A, points, labels)
        apart.add_points(0, A, points[:1], labels[:1])
    apart.add_points(0, A, points[1:], labels[1:])
    assert everything(together) == everything(apart)
