"""Edits can be undone and redone, many levels, each for its object alone."""

import numpy as np
import pytest
from tiny import everything, frames_of, make_tiny, row

from sam2_plugins.core.tracker import VideoTracker
from synthetic import two_discs_crossing

CLIP = two_discs_crossing(6)
MODEL = make_tiny()

EDITS = {
    "click": lambda tracker: tracker.add_points(0, 1, [[12, 16]], [1]),
    "another click": lambda tracker: tracker.add_points(0, 1, [[40, 30]], [0]),
    "box": lambda tracker: tracker.set_box(3, 1, CLIP.box(3, 1)),
    "second object": lambda tracker: tracker.set_mask(0, 2, CLIP.mask(0, 2)),
    "click on a tracked frame": lambda tracker: tracker.add_points(4, 2, [[9, 30]], [1]),
    "mask": lambda tracker: tracker.set_mask(3, 1, CLIP.mask(3, 1)),
    "lock": lambda tracker: tracker.confirm(2, 5),
    "all at once": lambda tracker: tracker.set_prompts(
        3, 1, points=[[20, 20], [8, 30]], point_labels=[1, 0], box=CLIP.box(3, 1)
    ),
    "clear": lambda tracker: tracker.clear_prompts(3, 1),
    "unlock": lambda tracker: tracker.unconfirm(2, 5),
    "remove": lambda tracker: tracker.remove_object(2),
    "clear the last": lambda tracker: tracker.clear_prompts(0, 1),
}


def snapshot(tracker):
    said = {
        (object_id, frame): (prompts.box, prompts.points, prompts.mask)
        for object_id, by_frame in tracker.prompts.items()
        for frame, prompts in by_frame.items()
    }
    return said, tracker.confirmed, everything(tracker)


@pytest.mark.parametrize("runs", [False, True], ids=["only edits", "propagated after every edit"])
def test_all_edits_back_and_forth(runs):
    tracker = VideoTracker(MODEL, CLIP.frames)
    before, after = [], []
    for name, edit in EDITS.items():
        if "lock" in name and not runs:
            continue
        before.append(snapshot(tracker))
        edit(tracker)
        if runs and tracker.object_ids:
            list(tracker.propagate())
        after.append(snapshot(tracker))
    assert all(shot != changed for shot, changed in zip(before, after, strict=True))
    for _ in range(2):
        for shot in reversed(before):
            assert tracker.undo()
            assert snapshot(tracker) == shot
        assert not tracker.undo()
        assert tracker.object_ids == []
        for shot in after:
            assert tracker.redo()
            assert snapshot(tracker) == shot
        assert not tracker.redo()


def test_a_new_edit_ends_what_could_be_redone():
    tracker = VideoTracker(MODEL, CLIP.frames)
    EDITS["click"](tracker)
    EDITS["another click"](tracker)
    tracker.undo()
    EDITS["box"](tracker)
    assert not tracker.redo()
    assert tracker.undo()
    assert tracker.prompts[1][0].points.xy == ((12, 16),)


def test_undoing_an_edit_of_one_object_leaves_what_others_got_since():
    tracker = VideoTracker(MODEL, CLIP.frames)
    tracker.set_box(0, 2, CLIP.box(0, 2))
    tracker.set_box(0, 1, CLIP.box(0, 1))
    list(tracker.propagate())
    before = everything(tracker, [2])
    tracker.undo()
    assert tracker.object_ids == [2]
    assert everything(tracker) == before
    assert frames_of(tracker.propagate()) == []


def test_tracking_after_undo_is_tracking_without_the_edit():
    tracker, plain = VideoTracker(MODEL, CLIP.frames), VideoTracker(MODEL, CLIP.frames)
    for each in (tracker, plain):
        each.set_box(0, 1, CLIP.box(0, 1))
    tracker.set_mask(3, 1, CLIP.mask(3, 2))
    tracker.undo()
    list(tracker.propagate())
    list(plain.propagate())
    assert everything(tracker) == everything(plain)


def test_levels_are_bounded():
    tracker = VideoTracker(MODEL, CLIP.frames, undo_levels=3)
    for x in range(5):
        tracker.add_points(0, 1, [[5 + x, 16]], [1])
    assert [tracker.undo() for _ in range(5)] == [True, True, True, False, False]
    assert len(tracker.prompts[1][0].points) == 2
    with pytest.raises(ValueError, match="undo_levels must be 0 or more, not -1"):
        VideoTracker(MODEL, CLIP.frames, undo_levels=-1)


def test_no_undo_at_all():
    tracker = VideoTracker(MODEL, CLIP.frames, undo_levels=0)
    tracker.add_points(0, 1, [[5, 16]], [1])
    assert not tracker.undo()
    assert tracker.object_ids == [1]


def test_a_refused_edit_is_no_edit():
    tracker = VideoTracker(MODEL, CLIP.frames)
    tracker.add_points(0, 1, [[5, 16]], [1])
    with pytest.raises(ValueError, match="outside the frame"):
        tracker.add_points(0, 1, [[5, 160]], [1])
    with pytest.raises(KeyError):
        tracker.clear_prompts(3, 1)
    assert tracker.undo()
    assert tracker.object_ids == []


def test_confirming_twice_is_one_edit():
    tracker = VideoTracker(MODEL, CLIP.frames)
    tracker.set_box(0, 1, CLIP.box(0, 1))
    tracker.confirm(1, 0)
    tracker.confirm(1, 0)
    tracker.undo()
    assert tracker.confirmed == {1: []}


def test_saying_the_same_again_is_no_edit():
    tracker = VideoTracker(MODEL, CLIP.frames)
    prompts = {"points": [[12, 16], [40, 30]], "point_labels": [1, 0], "box": CLIP.box(0, 1)}
    for _ in range(2):
        tracker.set_prompts(0, 1, **prompts)
        tracker.set_mask(3, 1, CLIP.mask(3, 1))
        list(tracker.propagate())
    assert [tracker.undo() for _ in range(3)] == [True, True, False]


def test_an_undone_removal_brings_back_masks():
    tracker = VideoTracker(MODEL, CLIP.frames)
    tracker.set_box(0, 1, CLIP.box(0, 1))
    tracker.set_box(0, 2, CLIP.box(0, 2))
    list(tracker.propagate())
    masks = row(tracker.masks(4), 2).masks
    tracker.remove_object(2)
    assert tracker.masks(4).object_ids.tolist() == [1]
    tracker.undo()
    np.testing.assert_array_equal(row(tracker.masks(4), 2).masks, masks)
