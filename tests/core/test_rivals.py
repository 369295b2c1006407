"""Which of several objects a label image shows where tracking found them on one thing."""

import math
import sys
import tempfile
from dataclasses import replace

import numpy as np
import pytest
from tiny import make_tiny

from sam2_plugins.core import PlacedMasks, VideoTracker, Window
from sam2_plugins.core.evaluation import VosSequence, evaluate_vos
from sam2_plugins.core.formats.stack import MaskStack
from sam2_plugins.core.masks import FrameMasks, box_to_mask, mask_to_box
from sam2_plugins.core.placed_masks import PlacedRow

SIZE = (40, 60)
CELL = (10, 10, 20, 20)
SHIFTED = (12, 10, 22, 20)  # IoU 2/3 with CELL
BESIDE = (16, 10, 26, 20)  # IoU 1/4 with CELL, 3/7 with SHIFTED


def found(boxes, scores, *, distance=None, ids=None):
    """Masks of boxes; all one frame from their prompts unless said otherwise."""
    masks = np.array([box_to_mask(box, SIZE) for box in boxes])
    return FrameMasks(
        0,
        np.array(ids or range(1, len(boxes) + 1)),
        masks,
        np.full(len(boxes), 0.5, np.float32),
        np.array(scores, np.float32),
        np.ones(len(boxes), int) if distance is None else np.array(distance),
    )


def placed(masks):
    """The same, each mask in a window of its own."""
    windows = [Window(*box) for box in mask_to_box(masks.masks).tolist()]
    rows = zip(
        *(masks.object_ids, masks.predicted_iou, masks.object_score_logits, masks.prompt_distance),
        masks.shown_within,
        *(windows, [mask[w.slices] for mask, w in zip(masks.masks, windows, strict=True)]),
        strict=True,
    )
    return PlacedMasks(masks.frame_index, SIZE, [PlacedRow(*row) for row in rows])


def ids_in(masks):
    labels = masks.to_labels()
    np.testing.assert_array_equal(placed(masks).to_labels(), labels)
    return set(np.unique(labels)) - {0}


def test_of_two_on_one_thing_the_surer_has_it():
    assert ids_in(found([CELL, SHIFTED], [3, 1])) == {1}
    assert ids_in(found([CELL, SHIFTED], [1, 3])) == {2}
    # all of it, not what a smaller one left
    shown = found([CELL, (9, 9, 22, 22)], [1, 3]).to_labels() == 2
    np.testing.assert_array_equal(shown, box_to_mask((9, 9, 22, 22), SIZE))


def test_to_be_twice_as_far_from_its_prompt_is_worth_a_logit():
    assert ids_in(found([CELL, SHIFTED], [3, 2.1], distance=[6, 3])) == {2}
    assert ids_in(found([CELL, SHIFTED], [3, 1.9], distance=[6, 3])) == {1}
    assert ids_in(found([CELL, SHIFTED], [3, 2.1], distance=[6, 4])) == {1}
    assert ids_in(found([CELL, SHIFTED], [1, 9], distance=[700, sys.maxsize])) == {1}
    assert ids_in(found([CELL, SHIFTED], [9, 1], distance=[sys.maxsize] * 2)) == {1}


def test_neighbours_and_parts_stay():
    assert ids_in(found([CELL, BESIDE], [3, 1])) == {1, 2}
    assert ids_in(found([(0, 0, 30, 30), CELL], [3, 1])) == {1, 2}
    assert ids_in(found([CELL, (30, 10, 40, 20)], [3, 1])) == {1, 2}


def test_one_that_gives_way_takes_nothing_from_others():
    # 1 and 2 are one thing, 2 and 3 are too, 1 and 3 are not
    wide = (13, 10, 23, 20)
    last = (16, 10, 26, 20)
    assert ids_in(found([CELL, wide, last], [3, 2, 1])) == {1, 3}


def test_what_a_person_said_never_gives_way():
    assert ids_in(found([CELL, SHIFTED], [9, -1], distance=[1, 0])) == {2}
    assert ids_in(found([CELL, SHIFTED], [9, -1], distance=[0, 0])) == {1, 2}


def test_what_a_person_showed_inside_of_another_never_gives_way_to_it():
    nucleus = (11, 10, 20, 19)
    nested = replace(found([CELL, nucleus], [3, 1]), shown_within=np.array([0, 1]))
    assert ids_in(found([CELL, nucleus], [3, 1])) == {1}
    assert ids_in(nested) == {1, 2}
    assert ids_in(replace(nested, object_score_logits=np.array([1, 3], np.float32))) == {1, 2}
    # nor to what that one is in, but to others that are found on it
    three = found([CELL, nucleus, (11, 10, 20, 18)], [3, 2, 1])
    assert ids_in(replace(three, shown_within=np.array([0, 1, 2]))) == {1, 2, 3}
    assert ids_in(replace(three, shown_within=np.array([0, 1, 1]))) == {1, 2}
    # ids that are not on this frame, and circles, which a damaged file may hold
    assert ids_in(replace(three, shown_within=np.array([0, 77, 0]))) == {1}
    assert ids_in(replace(three, shown_within=np.array([2, 1, 3]))) == {1, 2}


@pytest.mark.parametrize("window_side", [None, 64])
def test_a_nucleus_that_was_shown_in_its_cell_stays_with_it(window_side, tmp_path):
    size = (64, 64)
    cell, nucleus = box_to_mask((10, 10, 40, 40), size), box_to_mask((12, 12, 38, 37), size)
    frames = np.random.default_rng(0).integers(0, 255, (3, *size), np.uint8)
    model = make_tiny()
    tracker = VideoTracker(model, frames, window_side=window_side)
    within = []
    for object_id, mask in ((4, cell), (9, nucleus), (5, box_to_mask((42, 10, 60, 40), size))):
        tracker.set_mask(1, object_id, mask)
        within.append(tracker.masks(1).shown_within.tolist())
    assert within == [[0], [0, 4], [0, 0, 4]]
    for masks in tracker.propagate():
        assert masks.shown_within.tolist() == [0, 0, 4]
    with tempfile.TemporaryFile(buffering=0) as spool:
        stack = MaskStack(spool, num_frames=3, frame_size=size)
        stack.put(tracker.masks(0))
        assert stack[0].shown_within.tolist() == [0, 0, 4]
    tracker.save(tmp_path / "session")
    again = VideoTracker.load(tmp_path / "session", model, frames)
    assert again.masks(2).shown_within.tolist() == [0, 0, 4]
    # A person may say otherwise, and take it back.
    tracker.set_mask(1, 9, box_to_mask((2, 2, 14, 14), size))
    assert not tracker.masks(0).shown_within.any()
    tracker.undo()
    assert tracker.masks(0).shown_within.tolist() == [0, 0, 4]
    tracker.remove_object(4)
    assert not tracker.masks(0).shown_within.any()


def test_the_smallest_thing_around_counts():
    size = (64, 64)
    boxes = {1: (20, 20, 30, 30), 2: (0, 0, 64, 64), 3: (10, 10, 40, 40), 4: (20, 20, 30, 30),
             5: (26, 20, 46, 40)}  # fmt: skip
    tracker = VideoTracker(make_tiny(), np.zeros((1, *size), np.uint8))
    for object_id, box in boxes.items():
        tracker.set_mask(0, object_id, box_to_mask(box, size))
    # of two alike neither is inside; a third that is cut by an outline is not either
    assert tracker.masks(0).shown_within.tolist() == [3, 0, 2, 3, 2]


def test_without_a_reason_the_smaller_is_on_top_as_ever():
    assert ids_in(found([CELL, SHIFTED], [2, 2])) == {1, 2}
    one = found([CELL, SHIFTED], [3, 1])
    assert ids_in(replace(one, prompt_distance=np.zeros(0, int))) == {1, 2}
    assert not found([CELL], [1]).gives_way.any()


def test_an_empty_mask_takes_nothing():
    masks = found([CELL, (5, 5, 5, 5), (7, 7, 7, 7)], [1, 5, 5])
    assert ids_in(masks) == {1}
    assert not masks.gives_way.any()


@pytest.mark.parametrize("seed", range(20))
def test_it_follows_its_definition(seed):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 25, (9, 2))
    boxes = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(corners, rng.integers(4, 16, (9, 2)),
                                                            strict=True)]  # fmt: skip
    masks = found(boxes, rng.integers(-3, 6, 9), distance=rng.integers(0, 4, 9))
    ranks = [
        score - math.log2(far) if far else math.inf
        for far, score in zip(masks.prompt_distance, masks.object_score_logits, strict=True)
    ]
    expected = np.zeros(9, bool)
    for row in sorted(range(9), key=ranks.__getitem__, reverse=True):
        for other in range(9):
            both = np.logical_and(masks.masks[row], masks.masks[other]).sum()
            either = np.logical_or(masks.masks[row], masks.masks[other]).sum()
            if ranks[other] > ranks[row] and not expected[other] and both >= 0.5 * either:
                expected[row] = True
    np.testing.assert_array_equal(masks.gives_way, expected)
    np.testing.assert_array_equal(placed(masks).gives_way, expected)


def test_masks_on_their_way_to_a_file_keep_how_far_they_are_from_prompts():
    with tempfile.TemporaryFile(buffering=0) as spool:
        stack = MaskStack(spool, num_frames=1, frame_size=SIZE)
        stack.put(found([CELL], [9], ids=[4]))
        stack.put(found([SHIFTED], [-1], ids=[2], distance=[0]))
        assert stack[0].prompt_distance.tolist() == [1, 0]
        (labels,) = stack.labels()
    assert set(np.unique(labels)) == {0, 2}
    assert placed(found([CELL, SHIFTED], [1, 2])).on_frame(3).prompt_distance.all()


@pytest.mark.parametrize("window_side", [None, 64])
def test_the_tracker_says_how_far_a_mask_is_from_what_was_said(window_side):
    frames = np.random.default_rng(0).integers(0, 255, (5, 64, 64), np.uint8)
    tracker = VideoTracker(make_tiny(), frames, window_side=window_side)
    tracker.set_mask(1, 7, box_to_mask((10, 10, 40, 40), (64, 64)))
    list(tracker.propagate())
    tracker.confirm(7, 2)
    list(tracker.propagate())
    alone = tracker.masks(3).masks[0]
    tracker.set_mask(3, 8, alone)
    list(tracker.propagate())
    far = [tracker.masks(frame).prompt_distance.tolist() for frame in range(5)]
    assert far == [[1, 3], [0, 2], [0, 1], [1, 0], [2, 1]]
    # The mask of 7 is told as it was found; only a label image leaves it out.
    masks = tracker.masks(3)
    np.testing.assert_array_equal(masks.masks[0], alone)
    assert alone.any()
    assert set(np.unique(masks.to_labels())) == {0, 8}


def test_a_mask_is_as_far_as_it_was_tracked_until_it_is_tracked_anew(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (5, 64, 64), np.uint8)
    model = make_tiny()
    tracker = VideoTracker(model, frames)
    box = box_to_mask((10, 10, 40, 40), (64, 64))

    def far(tracker):
        return [int(tracker.masks(frame).prompt_distance[0]) for frame in range(5)]

    tracker.set_mask(0, 7, box)
    list(tracker.propagate())
    assert far(tracker) == [0, 1, 2, 3, 4]
    tracker.set_mask(2, 7, box)
    assert far(tracker) == [0, 1, 0, 3, 4]
    tracker.save(tmp_path / "session")
    again = VideoTracker.load(tmp_path / "session", model, frames)
    assert far(again) == [0, 1, 0, 3, 4]
    list(again.propagate())
    assert far(again) == [0, 1, 0, 1, 2]


class Sliding:
    """Tells of object 1 that it is where object 2 is, and less surely."""

    def __init__(self, frames):
        self.num_frames = frames.num_frames

    def set_mask(self, frame_index, object_id, mask):
        pass

    def propagate(self, *, direction):
        for index in range(self.num_frames):
            yield replace(found([CELL, CELL], [1, 3]), frame_index=index)


def test_evaluation_scores_what_a_label_image_shows():
    labels = np.zeros((4, *SIZE), np.uint8)
    labels[0, 30:38, 30:38] = 1
    labels[:, 10:20, 10:20] = 2
    images = np.repeat(labels * 50, 1, axis=0)

    def j_and_f(**choices):
        clip = VosSequence.from_arrays("clip", images, labels)
        result = evaluate_vos(
            Sliding, [clip], baselines=(), scoring="held-out", prompt_frame="first", **choices
        )
        return {row.object_id: row.metrics["j_and_f"] for row in result.rows}

    assert j_and_f() == {1: 1, 2: 1}
    assert j_and_f(overlaps="settled") == {1: 1, 2: 1}
    assert j_and_f(overlaps="kept") == {1: 0, 2: 1}
    with pytest.raises(ValueError, match="unknown overlaps 'mine'; known are auto, kept, settled"):
        j_and_f(overlaps="mine")
