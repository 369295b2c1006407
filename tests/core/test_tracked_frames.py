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
