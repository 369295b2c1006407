import numpy as np
import pytest
import torch

from sam2_plugins.core import VideoTracker, load_model
from sam2_plugins.core.heeded_prompts import Statement
from sam2_plugins.core.mending import agreeing
from sam2_plugins.core.model.values import ABSENT_LOGIT

CELLS, SIDE = 32, 128
ROUND, LEAK = (4, 8, 14, 24), (18, 8, 28, 24)
"""Two light things, (x0, y0, x1, y1) in cells."""


@pytest.fixture(scope="module")
def model():
    return load_model()


def picture():
    image = torch.full((3, SIDE, SIDE), -1.0)
    for x0, y0, x1, y1 in (ROUND, LEAK):
        image[:, 4 * y0 : 4 * y1, 4 * x0 : 4 * x1] = 1.0
    return image


def drawn(*boxes):
    logits = torch.full((1, 1, CELLS, CELLS), -4.0)
    for x0, y0, x1, y1 in boxes:
        logits[..., y0:y1, x0:x1] = 4.0
    return logits


NOTHING = torch.full((1, 1, CELLS, CELLS), ABSENT_LOGIT)


def mended(found, *clicks, before=None):
    """(h, w) bool after clicks (column, row, label) on cells, where the network found a mask."""
    points = [(4 * column + 2, 4 * row + 2) for column, row, _ in clicks]
    logits = agreeing(
        found,
        picture(),
        Statement(points, [label for *_, label in clicks], goes_on=True, has_new_box=False),
        before=drawn(ROUND, LEAK, (14, 14, 18, 18)) if before is None else before,
        is_found=found is not NOTHING,
    )
    return (logits[0, 0] > 0).numpy()


def share(mask, box):
    x0, y0, x1, y1 = box
    return mask[y0:y1, x0:x1].mean()


def test_a_click_on_a_leak_does_not_take_the_object_away_where_the_network_would():
    # Beside the middle of it: a click there would say "not here".
    mask = mended(NOTHING, (26, 10, 0))
    assert share(mask, ROUND) > 0.95
    assert not mask[10, 26]


def test_clicks_in_the_middle_say_that_it_is_not_here_if_the_network_agrees():
    mask = mended(NOTHING, (9, 16, 0), before=drawn(ROUND))
    assert not mask.any()
    mask = mended(drawn(LEAK), (9, 16, 0), before=drawn(ROUND))
    assert mask.any()
    assert not mask[16, 9]
    # With a click on the object it is here.
    mask = mended(NOTHING, (6, 10, 1), (9, 16, 0), before=drawn(ROUND))
    assert mask[10, 6]


def test_a_click_in_the_middle_of_a_piece_takes_it_all():
    for found in (NOTHING, drawn(LEAK)):
        mask = mended(found, (23, 15, 0), before=drawn(ROUND, LEAK))
        assert share(mask, ROUND) > 0.95
        assert not share(mask, LEAK)


def test_a_click_on_the_object_adds_what_both_the_network_and_the_picture_say():
    mask = mended(drawn(ROUND, LEAK), (23, 16, 1), before=drawn(ROUND))
    assert share(mask, ROUND) > 0.95
    assert share(mask, LEAK) > 0.95
    # The network forgot what was right about the mask.
    mask = mended(drawn(LEAK), (23, 16, 1), before=drawn(ROUND))
    assert share(mask, ROUND) > 0.5
    assert mask[16, 23]


def test_what_was_said_and_answered_moves_a_mask_no_further():
    before = drawn(ROUND, LEAK)
    for click in ((1, 2, 0), (9, 16, 1)):
        mask = mended(before, click, before=before)
        assert np.array_equal(mask, (before[0, 0] > 0).numpy())


def test_far_from_the_click_the_mask_stays_whatever_the_network_says():
    # The round thing has lost a corner, and the network would give the other instead.
    seen = drawn(ROUND)
    seen[..., 20:24, 10:14] = -4.0
    mask = mended(drawn(LEAK), (12, 22, 1), before=seen)
    assert mask[22, 12]
    assert share(mask, (4, 8, 10, 20)) > 0.95
    assert not share(mask, LEAK)


def test_a_click_near_the_outline_takes_no_more_than_it_is_meant_for():
    # On the outermost cells of a thing that is seen as it is.
    mask = mended(NOTHING, (5, 16, 0), before=drawn(ROUND))
    assert not mask[16, 5]
    assert share(mask, (8, 8, 14, 24)) > 0.95


def test_without_a_mask_to_mend_the_answer_is_the_networks():
    empty = torch.full((1, 1, CELLS, CELLS), -4.0)
    mask = mended(drawn(ROUND), (9, 16, 1), before=empty)
    assert np.array_equal(mask, (drawn(ROUND)[0, 0] > 0).numpy())


def discs(*centres, radius=14, side=96):
    y, x = np.mgrid[:side, :side]
    return np.any([(x - cx) ** 2 + (y - cy) ** 2 < radius**2 for cx, cy in centres], axis=0)


@pytest.mark.parametrize("is_tracked", [False, True])
def test_a_given_or_tracked_mask_of_two_things_is_mended_to_one(model, is_tracked):
    one, other = (26, 48), (68, 48)
    both, noise = discs(one, other), np.random.default_rng(0).normal(0, 6, (3, 96, 96))
    stack = np.clip(np.where(both, 180, 40) + noise, 0, 255).astype(np.uint8)
    # What is mended is what tracking carried: drawn anew, two discs as one object become smaller.
    tracker = VideoTracker(model, stack, retouch=False)
    tracker.set_mask(0, 1, both)
    frame = 0
    if is_tracked:
        list(tracker.propagate())
        frame = 2
    assert tracker.masks(frame).masks[0][both].mean() > 0.9
    tracker.add_points(frame, 1, [(67, 50)], [0])
    found = tracker.masks(frame)
    kept, rest = discs(one), discs(other)
    assert found.masks[0][kept].mean() > 0.9
    assert found.masks[0][rest].mean() < 0.1
    assert found.object_score_logits[0] > 0
