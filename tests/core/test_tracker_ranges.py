"""Where a propagation goes, where it stops, and how it is resumed."""

import numpy as np
import pytest
from tiny import absent_on, assert_same, counted, everything, frames_of, make_tiny

from sam2_plugins.core.tracker import VideoTracker
from synthetic import two_discs_crossing

CLIP = two_discs_crossing(10)
NUM_FRAMES = len(CLIP.frames)
MODEL = make_tiny()


def new_tracker(*prompted, exact=False):
    tracker = VideoTracker(MODEL, CLIP.frames, exact=exact)
    for frame in prompted or (0,):
        tracker.set_box(frame, 1, CLIP.box(frame, 1))
    return tracker


@pytest.mark.parametrize(
    ("prompted", "direction", "exact", "expected"),
    [
        ((4,), "both", False, [4, 5, 6, 7, 8, 9, 3, 2, 1, 0]),
        ((4,), "forward", False, [4, 5, 6, 7, 8, 9]),
        ((4,), "backward", False, [4, 3, 2, 1, 0]),
        ((2, 7), "forward", False, [2, 3, 4, 5, 6, 7, 8, 9]),
        ((2, 7), "backward", False, [7, 6, 5, 4, 3, 2, 1, 0]),
        ((2, 7), "both", True, [2, 3, 4, 5, 6, 7, 8, 9, 1, 0]),
        ((2, 7), "backward", True, [2, 1, 0]),
        ((9,), "forward", False, [9]),
        ((0,), "backward", False, [0]),
    ],
)
def test_frames_are_reached_outward_from_the_prompts(prompted, direction, exact, expected):
    tracker = new_tracker(*prompted, exact=exact)
    assert frames_of(tracker.propagate(direction=direction)) == expected


def test_frames_between_prompts_are_reached_from_both_sides():
    tracker = new_tracker(2, 7)
    frames = frames_of(tracker.propagate())
    # What the way back has found is there when it has met the other, and seen then.
    met = [frame for frame in (3, 4, 5, 6) if tracker._store.masklets[1].results[frame].step < 0]
    assert frames == [*range(2, 10), 6, 5, 4, *sorted({3, *met}, reverse=True), 1, 0]


def test_a_stack_of_one_frame():
    tracker = VideoTracker(MODEL, CLIP.frames[:1])
    preview = tracker.set_box(0, 1, CLIP.box(0, 1))
    (result,) = tracker.propagate()
    assert_same(result, preview)
    assert list(tracker.propagate()) == []


@pytest.mark.parametrize("direction", ["both", "forward", "backward"])
@pytest.mark.parametrize("finished", [0, 1, 4])
def test_a_run_that_was_cancelled_is_continued(direction, finished):
    whole, tracker = new_tracker(3), new_tracker(3)
    order = frames_of(whole.propagate(direction=direction))
    run = tracker.propagate(direction=direction)
    for _ in range(finished):
        next(run)
    run.close()
    assert set(order[:finished]) | {3} == set(tracker.known_frames())
    with counted(MODEL) as calls:
        rest = frames_of(tracker.propagate(direction=direction))
    assert rest == order[finished:]
    assert calls["with_memory"] == len(set(rest) - {3})
    assert everything(tracker) == everything(whole)


def test_closing_stops_within_one_frame():
    tracker = new_tracker()
    tracker.set_box(0, 2, CLIP.box(0, 2))
    run = tracker.propagate()
    next(run), next(run)
    with counted(MODEL) as calls:
        run.close()
    assert not calls
    assert tracker.known_frames(1) == tracker.known_frames(2) == [0, 1]


def test_two_runs_side_by_side_do_not_harm_each_other():
    whole, tracker = new_tracker(3), new_tracker(3)
    list(whole.propagate())
    first, second = tracker.propagate(), tracker.propagate()
    next(first), next(first), next(second)
    list(second), list(first)
    assert everything(tracker) == everything(whole)


def test_start_and_stop_bound_what_is_computed():
    tracker = new_tracker(4)
    assert frames_of(tracker.propagate(start=2, stop=7)) == [4, 5, 6, 3, 2]
    assert tracker.known_frames(1) == [2, 3, 4, 5, 6]
    assert frames_of(tracker.propagate(start=6)) == [7, 8, 9]
    assert frames_of(tracker.propagate()) == [1, 0]
    whole = new_tracker(4)
    list(whole.propagate())
    assert everything(tracker) == everything(whole)


def test_frames_left_out_do_not_spoil_what_comes_later():
    tracker, whole = new_tracker(0), new_tracker(0)
    assert frames_of(tracker.propagate(start=5)) == [5, 6, 7, 8, 9]
    gap = tracker.masks(9)
    assert sorted(frames_of(tracker.propagate())) == list(range(NUM_FRAMES))
    list(whole.propagate())
    assert everything(tracker) == everything(whole)
    assert (gap.masks != tracker.masks(9).masks).any()


def test_frames_outside_are_not_touched_by_a_correction():
    tracker = new_tracker(0)
    before = {result.frame_index: result for result in tracker.propagate()}
    tracker.add_points(5, 1, [[40, 30]], [1])
    assert frames_of(tracker.propagate(start=5, stop=8)) == [5, 6, 7]
    for frame in (1, 2, 3, 4, 8, 9):
        assert_same(tracker.masks(frame), before[frame])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 10}, "no frame 10: frames are 0 to 9"),
        ({"start": -1}, "no frame -1"),
        ({"start": 5, "stop": 5}, r"stop must be 6 to 10 \(the frame after the last\), not 5"),
        ({"stop": 11}, "stop must be 1 to 10"),
        ({"direction": "up"}, "direction must be both, forward, backward, not 'up'"),
        ({"stop_after_absent": 0}, "stop_after_absent must be 1 or more, not 0"),
        ({"object_ids": [0]}, "object id must be an integer from 1"),
    ],
)
def test_wrong_ranges_are_refused_before_anything_is_computed(options, message):
    tracker = new_tracker()
    with counted(MODEL) as calls, pytest.raises(ValueError, match=message):
        tracker.propagate(**options)
    assert not calls


def test_propagating_nothing():
    tracker = VideoTracker(MODEL, CLIP.frames)
    with pytest.raises(RuntimeError, match="call add_points, set_box or set_mask first"):
        tracker.propagate()
    tracker.set_box(0, 1, CLIP.box(0, 1))
    assert list(tracker.propagate(object_ids=[])) == []


# Absence


def test_an_object_is_given_up_after_it_was_absent():
    tracker = new_tracker(0)
    with absent_on(tracker, range(3, 10)):
        assert frames_of(tracker.propagate(stop_after_absent=2)) == [0, 1, 2, 3, 4]
        assert frames_of(tracker.propagate(stop_after_absent=2)) == []
        assert tracker.known_frames(1) == [0, 1, 2, 3, 4]
        assert not tracker.masks(4).masks.any()
        assert frames_of(tracker.propagate()) == [5, 6, 7, 8, 9]
        assert frames_of(tracker.propagate(stop_after_absent=2)) == []


def test_absence_counts_frames_in_a_row():
    # Without motion: with it, this network's own masks are empty after an absence.
    tracker = VideoTracker(MODEL, CLIP.frames, follow_motion=False)
    tracker.set_box(0, 1, CLIP.box(0, 1))
    with absent_on(tracker, (2, 4, 5, 7, 8, 9)):
        assert frames_of(tracker.propagate(stop_after_absent=3)) == list(range(10))


def test_absence_ends_one_direction_of_one_object():
    tracker = new_tracker(5)
    tracker.set_mask(0, 2, CLIP.mask(0, 2))
    with absent_on(tracker, (6, 7)):
        list(tracker.propagate(stop_after_absent=2, object_ids=[1]))
    list(tracker.propagate(stop_after_absent=2, object_ids=[2]))
    assert tracker.known_frames(1) == list(range(8))
    assert tracker.known_frames(2) == list(range(10))


def test_an_object_given_up_is_followed_again_from_its_next_prompt():
    tracker, whole = new_tracker(0, 7), new_tracker(0, 7)
    with absent_on(tracker, (2, 3)):
        list(tracker.propagate(direction="forward", stop_after_absent=2))
        assert tracker.known_frames(1) == [0, 1, 2, 3, 7, 8, 9]
        list(tracker.propagate(direction="forward"))
    with absent_on(whole, (2, 3)):
        list(whole.propagate(direction="forward"))
    assert everything(tracker) == everything(whole)


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["in one go", "cancelled between"])
def test_masks_past_the_end_that_a_correction_made_wrong_are_dropped(is_cancelled):
    tracker = new_tracker(0)
    list(tracker.propagate())
    tracker.add_points(0, 1, [[40, 30]], [0])
    with absent_on(tracker, range(3, 10)):
        run = tracker.propagate(stop_after_absent=2)
        if is_cancelled:
            for _ in range(6):
                next(run)
            run.close()
            run = tracker.propagate(stop_after_absent=2)
        frames = frames_of(run)
        assert frames[-1] == 9
        assert tracker.known_frames(1) == [0, 1, 2, 3, 4]
        assert list(tracker.propagate(stop_after_absent=2)) == []


# Review


def test_the_frame_worth_checking_is_one_that_was_tracked():
    tracker = new_tracker(0)
    assert tracker.suggest_frame() is None
    list(tracker.propagate())
    suggested = []
    for _ in range(NUM_FRAMES - 1):
        frame = tracker.suggest_frame(1)
        tracker.confirm(1, frame)
        suggested.append(frame)
    assert sorted(suggested) == list(range(1, NUM_FRAMES))
    assert tracker.suggest_frame(1) is None


def test_a_frame_where_the_object_jumps_is_suggested():
    tracker = new_tracker(0)
    with absent_on(tracker, (6,)):
        list(tracker.propagate())
    assert tracker.suggest_frame() in (6, 7)
    assert np.isfinite(tracker.masks(6).predicted_iou).all()
