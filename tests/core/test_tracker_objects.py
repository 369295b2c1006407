"""An object's masks do not depend on other objects, nor on the order or batching of calls."""

import numpy as np
import pytest
from tiny import assert_same, everything, frames_of, make_tiny, row

from sam2_plugins.core.tracker import VideoTracker
from synthetic import two_discs_crossing

CLIP = two_discs_crossing(7)
MODEL = make_tiny()
A, B = 3, 8
exact_too = pytest.mark.parametrize("exact", [False, True], ids=["default", "exact"])


def new_tracker(exact=False):
    return VideoTracker(MODEL, CLIP.frames, exact=exact)


def prompt_a(tracker):
    tracker.set_box(1, A, CLIP.box(1, 1))
    tracker.add_points(5, A, [[40, 14]], [1])


def prompt_b(tracker):
    tracker.add_points(0, B, [[44, 26], [6, 6]], [1, 0])
    tracker.set_mask(4, B, CLIP.mask(4, 2))


@exact_too
def test_an_object_does_not_see_another(exact):
    alone, together = new_tracker(exact), new_tracker(exact)
    prompt_a(alone)
    list(alone.propagate())
    prompt_b(together)
    prompt_a(together)
    list(together.propagate())
    assert everything(alone) == everything(together, [A])
    other = {frame: together.masks(frame) for frame in range(7)}
    assert any((masks.masks[0] != masks.masks[1]).any() for masks in other.values())


@pytest.mark.parametrize(
    "run",
    [
        lambda tracker: list(tracker.propagate()),
        lambda tracker: [list(tracker.propagate(object_ids=[i])) for i in (A, B)],
        lambda tracker: [list(tracker.propagate(object_ids=[i])) for i in (B, A)],
        lambda tracker: list(tracker.propagate(object_ids=[B, A, B])),
    ],
    ids=["together", "A then B", "B then A", "B and A, B named twice"],
)
def test_objects_are_propagated_apart_or_together(run):
    tracker, apart = new_tracker(), {}
    prompt_a(tracker)
    prompt_b(tracker)
    run(tracker)
    for prompt in (prompt_a, prompt_b):
        alone = new_tracker()
        prompt(alone)
        list(alone.propagate())
        apart |= everything(alone)
    assert everything(tracker) == apart


def test_clicks_before_or_after_a_box():
    first, second = new_tracker(), new_tracker()
    first.add_points(2, A, [[20, 14], [40, 30]], [1, 0])
    clicks_then_box = first.set_box(2, A, CLIP.box(2, 1))
    second.set_box(2, A, CLIP.box(2, 1))
    second.add_points(2, A, [[20, 14]], [1])
    assert_same(second.add_points(2, A, [[40, 30]], [0]), clicks_then_box)
    assert everything(first) == everything(second)


def test_an_object_added_later_is_as_if_it_had_always_been_there():
    late, early = new_tracker(), new_tracker()
    prompt_a(late)
    list(late.propagate())
    prompt_b(late)
    assert set(frames_of(late.propagate())) == set(range(7))
    prompt_b(early)
    prompt_a(early)
    list(early.propagate())
    assert everything(late) == everything(early)


def test_removing_an_object_changes_no_other():
    tracker = new_tracker()
    prompt_a(tracker)
    prompt_b(tracker)
    list(tracker.propagate())
    before = {frame: row(tracker.masks(frame), A) for frame in range(7)}
    tracker.remove_object(B)
    assert tracker.object_ids == [A]
    assert frames_of(tracker.propagate()) == []
    for frame, result in before.items():
        assert_same(tracker.masks(frame), result)


def test_an_object_id_can_be_used_again():
    tracker, fresh = new_tracker(), new_tracker()
    prompt_a(tracker)
    list(tracker.propagate())
    tracker.remove_object(A)
    for each in (tracker, fresh):
        each.set_mask(2, A, CLIP.mask(2, 2))
    assert set(frames_of(tracker.propagate())) == set(frames_of(fresh.propagate()))
    assert everything(tracker) == everything(fresh)


def test_the_same_object_again_is_reported_again():
    tracker = new_tracker()
    prompt_a(tracker)
    list(tracker.propagate())
    tracker.remove_object(A)
    prompt_a(tracker)
    assert set(frames_of(tracker.propagate())) == set(range(7))


@pytest.mark.parametrize("moment", [0, 2, 5])
def test_objects_come_and_go_while_others_are_propagated(moment):
    tracker, calm = new_tracker(), new_tracker()
    tracker.set_box(0, 1, CLIP.box(0, 1))
    tracker.set_box(0, 2, CLIP.box(0, 2))
    run = tracker.propagate(direction="forward")
    for _ in range(moment):
        next(run)
    tracker.remove_object(2)
    prompt_b(tracker)
    rest = list(run)
    assert frames_of(rest) == list(range(moment, 7))
    assert all(1 in result.object_ids and 2 not in result.object_ids for result in rest)
    # The newcomer waits for the next call.
    assert tracker.known_frames(B) == [0, 4]
    assert set(frames_of(tracker.propagate(direction="forward"))) == set(range(7))

    calm.set_box(0, 1, CLIP.box(0, 1))
    prompt_b(calm)
    list(calm.propagate(direction="forward"))
    assert everything(tracker) == everything(calm)


def test_an_object_edited_while_it_is_propagated_waits_for_the_next_call():
    tracker, calm = new_tracker(), new_tracker()
    tracker.set_box(0, A, CLIP.box(0, 1))
    run = tracker.propagate()
    for _ in range(4):
        next(run)
    preview = tracker.add_points(2, A, [[40, 30]], [1])
    assert list(run) == []
    assert tracker.undo()
    assert tracker.redo()
    assert_same(tracker.masks(2), preview)
    list(tracker.propagate())

    calm.set_box(0, A, CLIP.box(0, 1))
    list(calm.propagate())
    calm.add_points(2, A, [[40, 30]], [1])
    list(calm.propagate())
    assert everything(tracker) == everything(calm)


def test_an_edit_undone_while_it_is_propagated_leaves_no_gap():
    tracker, calm = new_tracker(), new_tracker()
    for each in (tracker, calm):
        each.set_box(0, A, CLIP.box(0, 1))
        each.set_box(0, B, CLIP.box(0, 2))
    run = tracker.propagate()
    next(run)
    tracker.add_points(5, A, [[40, 30]], [1])
    next(run)
    tracker.undo()
    list(run)
    list(tracker.propagate())
    list(calm.propagate())
    assert everything(tracker) == everything(calm)


def test_removing_every_object_ends_a_run():
    tracker = new_tracker()
    prompt_a(tracker)
    run = tracker.propagate()
    tracker.remove_object(A)
    assert list(run) == []


def test_ids_are_the_callers():
    tracker = new_tracker()
    for object_id in (70000, 5, np.int64(12)):
        tracker.add_points(0, object_id, [[12, 16]], [1])
    assert tracker.object_ids == [5, 12, 70000]
    assert tracker.masks(0).object_ids.tolist() == [5, 12, 70000]
    assert tracker.masks(0).to_labels().max() <= 70000
