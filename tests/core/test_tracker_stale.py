"""`propagate` computes only what a changed prompt can change."""

import numpy as np
import pytest
from tiny import assert_same, counted, everything, frames_of, make_tiny

from sam2_plugins.core.tracker import VideoTracker
from synthetic import two_discs_crossing

CLIP = two_discs_crossing(8)
NUM_FRAMES = len(CLIP.frames)
MODEL = make_tiny()


def new_tracker(**options):
    return VideoTracker(MODEL, CLIP.frames, **options)


@pytest.fixture
def tracked():
    """Two objects, tracked."""
    tracker = new_tracker()
    tracker.set_box(0, 1, CLIP.box(0, 1))
    tracker.set_box(7, 2, CLIP.box(7, 2))
    list(tracker.propagate())
    return tracker


def test_a_first_run_encodes_every_frame_once_and_tracks_every_object_once():
    tracker = new_tracker()
    with counted(MODEL) as calls:
        tracker.set_box(0, 1, CLIP.box(0, 1))
        tracker.set_box(7, 2, CLIP.box(7, 2))
        assert calls == {"encode_image": 2, "decode": 2}
        frames = frames_of(tracker.propagate())
    assert frames == [*range(8), *range(6, -1, -1)]
    assert calls["encode_image"] == NUM_FRAMES
    assert calls["with_memory"] == 2 * (NUM_FRAMES - 1)
    assert calls["decode"] == 2 * NUM_FRAMES
    # The last frame of a walk is remembered by none.
    assert calls["encode_memory"] == 2 * (NUM_FRAMES - 1)


@pytest.mark.parametrize("direction", ["both", "forward"])
def test_a_second_run_does_nothing(direction):
    tracker = new_tracker()
    tracker.set_box(0, 1, CLIP.box(0, 1))
    list(tracker.propagate(direction=direction))
    before = everything(tracker)
    with counted(MODEL) as calls:
        assert list(tracker.propagate(direction=direction)) == []
    assert not calls
    assert everything(tracker) == before


def test_an_unchanged_object_costs_nothing(tracked):
    tracked.add_points(4, 1, [[40, 30]], [1])
    with counted(MODEL) as calls:
        frames = frames_of(tracked.propagate())
    assert sorted(set(frames)) == list(range(1, NUM_FRAMES))
    # The three frames before the correction are reached from both sides.
    assert calls["with_memory"] == NUM_FRAMES - 2 + 3
    assert calls["encode_image"] == 0


def test_a_new_object_costs_only_itself(tracked):
    tracked.set_box(0, 3, [2, 2, 20, 20])
    with counted(MODEL) as calls:
        list(tracked.propagate())
    assert calls["with_memory"] == NUM_FRAMES - 1
    assert calls["encode_image"] == 0


def test_only_frames_that_attend_to_a_correction_are_computed_again():
    tracker = VideoTracker(MODEL, np.repeat(CLIP.frames, 4, axis=0), max_conditioning_frames=2)
    for frame in (0, 10, 20, 30):
        tracker.set_mask(frame, 1, CLIP.mask(frame // 4, 1))
    before = {result.frame_index: result for result in tracker.propagate()}
    tracker.set_mask(30, 1, CLIP.mask(6, 1))
    with counted(MODEL) as calls:
        frames = frames_of(tracker.propagate())
    # The two nearest prompts on both sides of frames up to 20 are others than that on 30.
    assert sorted(set(frames)) == list(range(21, 32))
    assert calls["with_memory"] == 9 + 9 + 1
    for frame in range(21):
        assert_same(tracker.masks(frame), before[frame])


def test_a_prompt_that_says_nothing_new_costs_nothing(tracked):
    tracked.set_box(0, 1, CLIP.box(0, 1))
    with counted(MODEL) as calls:
        assert frames_of(tracked.propagate()) == []
    assert not calls


def test_an_undone_correction_needs_nothing_computed(tracked):
    before = everything(tracked)
    tracked.add_points(4, 1, [[40, 30]], [1])
    list(tracked.propagate())
    after = everything(tracked)
    assert before != after
    with counted(MODEL) as calls:
        assert tracked.undo()
        assert everything(tracked) == before
        assert 4 not in tracked.prompts[1]
        assert frames_of(tracked.propagate()) == []
        assert tracked.redo()
        assert everything(tracked) == after
        # The prompted frame has its correction back: that is news, but no work.
        assert set(frames_of(tracked.propagate())) <= {4}
    assert not calls
    assert everything(tracked) == after


def test_a_confirmed_mask_costs_nothing_and_is_not_overwritten(tracked):
    locked = tracked.masks(4)
    tracked.confirm(1, 4)
    tracked.add_points(0, 1, [[40, 30]], [0])
    with counted(MODEL) as calls:
        frames = frames_of(tracked.propagate())
    assert calls["with_memory"] == NUM_FRAMES - 2 + 3
    assert sorted(set(frames)) == [0, 1, 2, 3, 5, 6, 7]
    assert_same(tracked.masks(4), locked)
    for direction in ("backward", "forward"):
        list(tracked.propagate(direction=direction, object_ids=[1]))
        np.testing.assert_array_equal(tracked.masks(4).masks[0], locked.masks[0])


def test_other_frames_follow_a_confirmed_mask(tracked):
    before = everything(tracked, [1])
    tracked.confirm(1, 4)
    frames = frames_of(tracked.propagate())
    assert sorted(set(frames)) == [1, 2, 3, 5, 6, 7]
    after = everything(tracked, [1])
    assert before[1, 4] == after[1, 4]
    assert all(before[1, frame] != after[1, frame] for frame in frames)
    assert tracked.confirmed == {1: [4], 2: []}
    tracked.unconfirm(1, 4)
    list(tracked.propagate())
    assert everything(tracked, [1]) == before


def test_prompts_on_a_confirmed_mask_are_refused(tracked):
    tracked.add_points(4, 1, [[40, 30]], [1])
    tracked.confirm(1, 4)
    before = everything(tracked)
    for change in (
        lambda: tracked.add_points(4, 1, [[1, 1]], [0]),
        lambda: tracked.set_box(4, 1, CLIP.box(4, 1)),
        lambda: tracked.set_mask(4, 1, CLIP.mask(4, 1)),
        lambda: tracked.clear_prompts(4, 1),
    ):
        with pytest.raises(ValueError, match=r"object 1 on frame 4 is confirmed: unconfirm it"):
            change()
    assert everything(tracked) == before
    tracked.unconfirm(1, 4)
    tracked.add_points(4, 1, [[1, 1]], [0])


def test_a_confirmed_mask_keeps_an_object_without_prompts(tracked):
    tracked.confirm(1, 4)
    tracked.clear_prompts(0, 1)
    assert tracked.prompts[1] == {}
    list(tracked.propagate())
    assert tracked.known_frames(1) == list(range(NUM_FRAMES))
    tracked.unconfirm(1, 4)
    assert tracked.object_ids == [2]


def test_clicks_on_a_frame_that_was_encoded_do_not_encode_it_again(tracked):
    with counted(MODEL) as calls:
        tracked.add_points(3, 1, [[40, 30]], [1])
        tracked.add_points(3, 1, [[10, 30]], [0])
    assert calls["encode_image"] == 0
    assert calls["decode"] == 2


def test_a_frame_can_be_encoded_ahead():
    tracker = new_tracker()
    tracker.encode(5)
    with counted(MODEL) as calls:
        tracker.add_points(5, 1, [[40, 30]], [1])
    assert calls == {"decode": 1}
