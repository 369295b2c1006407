"""Where two walks meet that come from prompts on either side."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import absent_on, counted, everything, frame_result, frames_of, make_tiny

from sam2_plugins.core.frame_results import FramePrompts
from sam2_plugins.core.masklets import Masklet
from sam2_plugins.core.meeting import Meeting
from sam2_plugins.core.placed_masks import PlacedMask
from sam2_plugins.core.propagation import plan_walks
from sam2_plugins.core.stored_masks import StoredMask
from sam2_plugins.core.tracker import VideoTracker
from sam2_plugins.core.windows import Window
from synthetic import two_discs_crossing

CLIP = two_discs_crossing(10)
NUM_FRAMES = len(CLIP.frames)
MODEL = make_tiny()


def found(first=0, *, iou=0.8, score=5.0, step=1, size=10):
    """A mask of some rows, from one on."""
    mask = np.zeros((40, 40), bool)
    mask[first : first + size] = True
    box = (0, first, 40, first + size) if size else (0, 0, 0, 0)
    return frame_result(
        mask=StoredMask.pack(mask),
        box=box,
        version=f"{first} {step}",
        iou=iou,
        score=score,
        step=step,
    )


def met(forward, backward, *, span=range(100)):
    """What comes of two walks over the frames between 0 and the last: which of both, by frame."""
    last = len(forward) + 1
    (walk,) = (
        walk
        for walk in plan_walks(1, [0, last], num_frames=last + 1, direction="both", exact=False)
        if walk.meets and walk.step < 0
    )
    results = {0: found(step=0), last: found(step=0)}
    results |= {frame: result for frame, result in enumerate(forward, start=1) if result}
    meeting = Meeting(
        Masklet(prompts={0: FramePrompts(), last: FramePrompts()}, results=results), walk, span
    )
    for frame in walk.frames[1:]:
        if frame in span and not meeting.has_met and backward[frame - 1] is not None:
            meeting.add(frame, backward[frame - 1])
    return {frame: result.step for frame, result in sorted(meeting.outcome().items())}


def test_walks_that_are_as_good_do_a_half_each():
    forward, backward = [found()] * 4, [found(20, step=-1)] * 4
    assert met(forward, backward) == {1: 1, 2: 1, 3: -1, 4: -1}


def test_a_walk_that_loses_the_object_does_not_take_the_masks_of_the_other():
    lost = found(size=0, score=-5.0, step=-1)
    assert set(met([found()] * 4, [lost] * 4).values()) == {1}
    assert set(met([replace(lost, step=1)] * 4, [found(step=-1)] * 4).values()) == {-1}
    # An empty mask that is thought to be there, and one that is not thought to be.
    for empty in (found(size=0, step=-1), found(score=-1.0, step=-1)):
        assert set(met([found(20)] * 4, [empty] * 4).values()) == {1}


@pytest.mark.parametrize(("better", "expected"), [(0.05, [1, 1, -1, -1]), (0.15, [1, 1, 1, 1])])
def test_off_the_middle_a_walk_must_be_better_by_a_tenth(better, expected):
    forward = [found(iou=0.7 + better)] * 4
    assert list(met(forward, [found(20, iou=0.7, step=-1)] * 4).values()) == expected


def test_walks_meet_where_they_agree():
    forward = [found(0), found(0), found(0), found(20), found(20), found(20)]
    backward = [found(10, step=-1)] * 2 + [found(0, step=-1)] + [found(30, step=-1)] * 3
    assert met(forward, backward) == {1: 1, 2: 1, 3: 1, 4: -1, 5: -1, 6: -1}


def test_a_walk_back_ends_once_both_agree():
    nowhere = found(30, iou=0.99, step=-1)
    kept = met([found()] * 6, [nowhere] * 3 + [found(step=-1)] * 3)
    assert kept == {1: 1, 2: 1, 3: 1, 4: 1, 5: -1, 6: -1}
    # Agreeing on one frame is not enough.
    backward = [nowhere] * 4 + [found(step=-1), nowhere]
    assert -1 in met([found()] * 6, backward).values()


def test_what_only_one_walk_has_found_is_kept():
    forward, backward = [found(), None, None, None], [None, None, found(step=-1), found(step=-1)]
    assert met(forward, backward) == {1: 1, 3: -1, 4: -1}
    assert met([found()] * 3, [None] * 3) == {1: 1, 2: 1, 3: 1}


def test_frames_that_may_not_be_computed_are_left_out():
    forward, backward = [found()] * 4, [found(20, step=-1)] * 4
    assert met(forward, backward, span=range(2, 5)) == {2: 1, 3: -1, 4: -1}


def test_masks_in_windows_agree_as_masks_of_the_plane_do():
    def placed(result, top):
        window = Window(0, top, 40, top + 20)
        box = Window(*result.box).shifted(0, -top)
        mask = result.mask.unpack()[window.slices]
        return replace(result, mask=PlacedMask.place(mask, window, box, (40, 40)))

    forward = [found(size=8), found(2), found(4), found(0), found(12), found(20)]
    backward = [found(5, step=-1, size=7)] * 6
    in_windows = (
        [placed(r, 0 if r.box[1] < 10 else 12) for r in forward],
        [placed(r, 2) for r in backward],
    )
    assert met(*in_windows) == met(forward, backward)


walks = st.lists(
    st.tuples(
        *(st.sampled_from([0.2, 0.5, 0.9]), st.sampled_from([0.2, 0.5, 0.9])),
        *(st.sampled_from([0, 2, 10]), st.sampled_from([0, 10])),
    ),
    min_size=1,
    max_size=7,
)


@settings(deadline=None)
@given(walks)
def test_the_best_place_to_meet_is_found(rows):
    forward = [found(place, iou=iou) for iou, _, place, _ in rows]
    backward = [found(0, iou=iou, step=-1, size=size) for _, iou, _, size in rows]
    agree = [(10 - row[2]) / (10 + row[2]) if row[3] else 0.0 for row in rows]
    # From the last frame on, until both agree twice.
    same = [value >= 0.9 for value in agree]
    reached = next((i for i in range(len(rows) - 2, -1, -1) if same[i] and same[i + 1]), 0)

    def value(count):
        kept = sum(row[0] for row in rows[:count]) + sum(
            row[1] * (row[3] > 0) for row in rows[count:]
        )
        beside = agree[max(count - 1, reached) : count + 1]
        off = abs(count - (len(rows) + 1) // 2)
        return kept + 2 * sum(beside) / len(beside) - 0.1 * off

    count = list(met(forward, backward).values()).count(1)
    assert count >= reached
    assert value(count) == pytest.approx(max(map(value, range(reached, len(rows) + 1))))


# In the tracker


def new_tracker(*prompted):
    tracker = VideoTracker(MODEL, CLIP.frames)
    for frame in prompted:
        tracker.set_box(frame, 1, CLIP.box(frame, 1))
    return tracker


@pytest.mark.parametrize("lost", [1, -1])
def test_a_correction_from_which_tracking_fails_leaves_what_was_found(lost):
    tracker = new_tracker(0)
    list(tracker.propagate())
    tracker.set_box(7, 1, CLIP.box(7, 1))
    with absent_on(tracker, range(1, 7), steps=[lost]):
        list(tracker.propagate())
    for frame in range(1, 7):
        assert tracker.masks(frame).masks.any()
        assert tracker._store.masklets[1].results[frame].step == -lost


def test_a_run_that_is_cancelled_before_walks_have_met_is_continued():
    whole = new_tracker(1, 8)
    order = frames_of(whole.propagate())
    for finished in range(len(order)):
        tracker = new_tracker(1, 8)
        run = tracker.propagate()
        for _ in range(finished):
            next(run)
        run.close()
        # Nothing that was finished is lost.
        assert set(order[:finished]) <= set(tracker.known_frames())
        list(tracker.propagate())
        assert everything(tracker) == everything(whole)
        with counted(MODEL) as calls:
            assert list(tracker.propagate()) == []
        assert not calls


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_what_one_direction_has_found_has_not_met(direction):
    whole, tracker = new_tracker(1, 8), new_tracker(1, 8)
    list(whole.propagate())
    list(tracker.propagate(direction=direction))
    list(tracker.propagate())
    assert everything(tracker) == everything(whole)


def test_walks_over_a_part_of_the_frames_meet_there():
    whole, tracker = new_tracker(1, 8), new_tracker(1, 8)
    list(whole.propagate())
    assert set(frames_of(tracker.propagate(start=3, stop=6))) == {3, 4, 5}
    assert set(tracker.known_frames()) == {1, 3, 4, 5, 8}
    with counted(MODEL) as calls:
        assert list(tracker.propagate(start=3, stop=6)) == []
        assert not calls
    list(tracker.propagate())
    assert everything(tracker) == everything(whole)
    with counted(MODEL) as calls:
        assert list(tracker.propagate(start=3, stop=6)) == []
    assert not calls


def test_an_object_that_is_given_up_between_prompts_is_found_from_the_other_side():
    tracker = new_tracker(1, 8)
    with absent_on(tracker, range(3, 8), steps=[1]):
        list(tracker.propagate(stop_after_absent=2))
        known = everything(tracker)
        assert tracker.known_frames() == list(range(NUM_FRAMES))
        assert all(tracker.masks(frame).masks.any() for frame in range(3, 8))
        assert list(tracker.propagate(stop_after_absent=2)) == []
    assert everything(tracker) == known


def test_an_object_that_is_given_up_from_both_sides_has_no_masks_between():
    tracker = new_tracker(0, 9)
    with absent_on(tracker, range(2, 8)):
        list(tracker.propagate(stop_after_absent=2))
        assert tracker.known_frames() == [0, 1, 2, 3, 6, 7, 8, 9]
        assert list(tracker.propagate(stop_after_absent=2)) == []


def test_an_object_that_is_edited_on_the_way_back_is_left_as_it_is():
    tracker, whole = new_tracker(1, 8), new_tracker(1, 8)
    run = tracker.propagate()
    while next(run).frame_index != 6 or 9 not in tracker.known_frames():
        pass
    tracker.add_points(8, 1, [[20, 20]], [1])
    list(run)
    assert not any(r.meeting for r in tracker._store.masklets[1].results.values())
    list(tracker.propagate())
    whole.add_points(8, 1, [[20, 20]], [1])
    list(whole.propagate())
    for frame in range(NUM_FRAMES):
        np.testing.assert_array_equal(tracker.masks(frame).masks, whole.masks(frame).masks)
