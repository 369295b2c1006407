"""How far a run is, told while it goes on."""

import pytest
from tiny import make_tiny

from sam2_plugins.core import VideoTracker
from synthetic import two_discs_crossing

CLIP = two_discs_crossing(10)
MODEL = make_tiny()


def new_tracker(*prompted, object_id=1):
    tracker = VideoTracker(MODEL, CLIP.frames)
    for frame in prompted:
        tracker.set_box(frame, object_id, CLIP.box(frame, object_id))
    return tracker


@pytest.mark.parametrize(
    ("prompted", "options", "num_visits"),
    [
        ((4,), {}, 10),
        ((0,), {}, 10),
        ((9,), {}, 10),
        ((4,), {"direction": "forward"}, 6),
        ((4,), {"direction": "backward"}, 5),
        ((4,), {"start": 2, "stop": 8}, 6),
        # Frames between prompts are tracked from both sides.
        ((2, 7), {}, 10 + 4),
        ((2, 7), {"direction": "forward"}, 8),
        ((2, 7), {"start": 4, "stop": 7}, 3 + 3),
    ],
)
def test_every_frame_is_visited_and_those_between_prompts_twice(prompted, options, num_visits):
    run = new_tracker(*prompted).propagate(**options)
    assert (run.num_visited, run.num_visits) == (0, num_visits)
    seen = [run.num_visited for _ in run]
    assert seen == sorted(seen)
    assert seen[0] == 1
    assert run.num_visited == run.num_visits == num_visits


def test_a_run_is_not_at_its_end_before_the_way_back_has_been_walked():
    run = new_tracker(0, 9).propagate()
    positions = {}
    for found in run:
        positions.setdefault(found.frame_index, run.num_visited)
    # Every frame has been seen once when little more than half is done.
    assert max(positions.values()) == 10
    assert run.num_visits == 18


def test_objects_that_are_tracked_together_are_visited_together():
    tracker = new_tracker(2)
    tracker.set_box(6, 2, CLIP.box(6, 2))
    # Forward 2 to 9; backward 5, 4, 3 and 2 for the second object, 1 and 0 for both.
    assert tracker.propagate().num_visits == 8 + 6


def test_what_is_done_before_counts_though_nothing_new_is_found():
    tracker = new_tracker(4)
    list(tracker.propagate())
    again = tracker.propagate()
    assert list(again) == []
    assert again.num_visited == again.num_visits == 10


def test_a_run_that_is_closed_stays_where_it_is():
    tracker = new_tracker(4)
    run = tracker.propagate()
    next(run)
    next(run)
    run.close()
    assert list(run) == []
    assert run.num_visited == 2
    assert tracker.known_frames() == [4, 5]


def test_an_object_that_is_removed_meanwhile_leaves_nothing_to_be_visited_in_vain():
    tracker = new_tracker(0)
    run = tracker.propagate()
    next(run)
    tracker.remove_object(1)
    assert list(run) == []
    assert run.num_visited == run.num_visits


def test_between_two_objects_of_a_frame_others_may_work():
    tracker = new_tracker(4)
    tracker.set_box(4, 2, CLIP.box(4, 2))
    tracker.set_box(4, 3, CLIP.box(4, 2))
    whole = list(tracker.propagate())
    again = new_tracker(4)
    again.set_box(4, 2, CLIP.box(4, 2))
    again.set_box(4, 3, CLIP.box(4, 2))
    run = again.propagate()
    steps, shares = [], []
    for masks in run.steps():
        steps.append(masks)
        shares.append(run.share)
        assert masks is None or not run.under_way
    found = [masks for masks in steps if masks is not None]
    assert [masks.frame_index for masks in found] == [masks.frame_index for masks in whole]
    for ours, theirs in zip(found, whole, strict=True):
        assert (ours.masks == theirs.masks).all()
    assert steps.count(None) == 2 * 10 + 2  # the frame it sets out from backward as well
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert shares[0] == pytest.approx(1 / 3 / run.num_visits)


def test_what_was_found_before_it_ended_amid_a_frame_is_kept_and_known_of():
    tracker = new_tracker(4)
    tracker.set_box(4, 2, CLIP.box(4, 2))
    run = tracker.propagate(direction="forward")
    steps = run.steps()
    while run.under_way != [6]:
        next(steps)
    run.close()
    assert run.under_way == [6]
    assert [i for i in range(10) if len(tracker.masks(i).object_ids) == 2] == [4, 5]
    assert tracker.masks(6).object_ids.tolist() == [1]
    kept = tracker.masks(6).masks[0]
    rest = {masks.frame_index: masks for masks in tracker.propagate(direction="forward")}
    assert sorted(rest) == [6, 7, 8, 9]
    assert (rest[6].masks[0] == kept).all()


def test_an_object_that_is_edited_amid_a_frame_is_left_and_others_go_on():
    tracker = new_tracker(4)
    tracker.set_box(4, 2, CLIP.box(4, 2))
    run = tracker.propagate(direction="forward")
    for masks in run.steps():
        if masks is None and run.under_way == [6]:
            tracker.set_box(4, 2, CLIP.box(4, 1))
            break
    frames = [masks.frame_index for masks in run]
    assert frames == [6, 7, 8, 9]
    assert 2 not in tracker.masks(6).object_ids
    assert tracker.masks(9).object_ids.tolist() == [1]
    assert [m.frame_index for m in tracker.propagate(direction="forward")] == [4, 5, 6, 7, 8, 9]
    assert tracker.masks(9).object_ids.tolist() == [1, 2]
