"""In films, objects that are not known and were lost are found where their cells are seen."""

import numpy as np
import pytest
import torch
from tiny import assert_session_goes_on, assert_stream_finds, make_tiny, masks_of

from sam2_plugins.core import VideoTracker, carrying
from sam2_plugins.core.closeups import whole
from sam2_plugins.core.finding_again import find_again
from sam2_plugins.core.label_propagation import LabelledView
from sam2_plugins.core.model.values import LOGIT_LIMIT
from sam2_plugins.core.redrawing import Redrawing
from sam2_plugins.core.windows import Window

CELLS = 24
SIDE = 8 * CELLS
PLANE = whole((SIDE, SIDE))
PATCH = 6
GONE = torch.full((1, 1, 2 * CELLS, 2 * CELLS), -LOGIT_LIMIT)


def cells_with(object_at, *, seed=0, patch=PATCH):
    """(1, 12, CELLS, CELLS) of noise, of which a patch is always the same; None for without it."""
    rng = np.random.default_rng((9, seed))
    cells = rng.normal(size=(1, 12, CELLS, CELLS)).astype(np.float32)
    looks = np.random.default_rng(3).normal(size=(12, PATCH, PATCH)).astype(np.float32)
    if object_at is not None:
        y, x = object_at
        cells[0, :, y : y + patch, x : x + patch] = looks[:, :patch, :patch]
    return torch.from_numpy(cells)


def logits_at(y, x, side=PATCH):
    logits = np.full((1, 1, 2 * CELLS, 2 * CELLS), -5.0, np.float32)
    logits[..., 2 * y : 2 * (y + side), 2 * x : 2 * (x + side)] = 5
    return torch.from_numpy(logits)


def overlap(logits, y, x):
    found, truth = logits > 0, logits_at(y, x) > 0
    return float((found & truth).sum() / (found | truth).sum())


START = LabelledView(cells_with((4, 3)), logits_at(4, 3), PLANE)


def test_what_was_away_is_found_where_its_cells_are():
    now = LabelledView(cells_with((14, 12), seed=1), GONE, PLANE)
    found = find_again(now, START)
    assert found is not None
    assert overlap(found, 14, 12) > 0.95


def test_what_was_lost_on_something_else_is_found_elsewhere():
    now = LabelledView(cells_with((15, 15), seed=1), logits_at(2, 2), PLANE)
    found = find_again(now, START)
    assert found is not None
    assert overlap(found, 15, 15) > 0.95


@pytest.mark.parametrize("drift", [0, 2])
def test_a_mask_that_may_be_right_stays(drift):
    now = LabelledView(cells_with((14, 12), seed=1), logits_at(14, 12 + drift), PLANE)
    assert find_again(now, START) is None


def test_what_is_not_there_is_not_found():
    assert find_again(LabelledView(cells_with(None, seed=1), GONE, PLANE), START) is None
    # Nor is a thing of which one corner looks the same.
    corner = cells_with((14, 12), seed=1, patch=2)
    assert find_again(LabelledView(corner, GONE, PLANE), START) is None


def test_it_is_found_through_another_window():
    """The same picture, seen through a window elsewhere: so did the object move."""
    through = Window(300, 40, 300 + SIDE, 40 + SIDE)
    now = LabelledView(cells_with((14, 12), seed=1), GONE, through)
    found = find_again(now, START)
    assert found is not None
    assert overlap(found, 14, 12) > 0.95


RED, GREEN = (190, 50, 40), (40, 150, 60)


def film():
    """A patterned thing that is away for some frames, and comes back elsewhere."""
    rng = np.random.default_rng(0)
    frames = np.empty((12, 128, 128, 3), np.uint8)
    frames[:] = GREEN
    looks = (np.array(RED) + 60 * rng.integers(0, 2, (7, 7, 1))).clip(0, 255).astype(np.uint8)
    looks = looks.repeat(8, 0).repeat(8, 1)
    for index, place in [(0, 8), (1, 8), (8, 64), (9, 64), (10, 64), (11, 64)]:
        frames[index, place : place + 56, place : place + 56] = looks
    return frames


def first_mask():
    mask = np.zeros((128, 128), np.bool_)
    mask[8:64, 8:64] = True
    return mask


def tracker_of(frames=None, **options):
    tracker = VideoTracker(make_tiny(), film() if frames is None else frames, **options)
    tracker.set_mask(0, 1, first_mask())
    return tracker


@pytest.fixture
def found(monkeypatch):
    """Frames on which something was found again, of an object that is not known."""
    monkeypatch.setattr(Redrawing, "knows", lambda *_: False)
    frames = []
    ask = carrying.CellFollower.find_again

    def find(self, object_id, masklet, carried, frame_index, *, start):
        logits = ask(self, object_id, masklet, carried, frame_index, start=start)
        if logits is not None:
            frames.append(frame_index)
        return logits

    monkeypatch.setattr(carrying.CellFollower, "find_again", find)
    return frames


@pytest.mark.parametrize("window_side", [None, 64])
def test_a_thing_that_comes_back_elsewhere_is_followed(found, window_side):
    masks = masks_of(tracker_of(window_side=window_side, retouch=False))
    assert 8 in found
    assert masks[8, 0, 64:120, 64:120].mean() > 0.5


def test_neither_in_stacks_nor_of_what_is_known(found, monkeypatch):
    masks_of(tracker_of(film()[..., 0], retouch=False))
    monkeypatch.setattr(Redrawing, "knows", lambda *_: True)
    masks_of(tracker_of(retouch=False))
    assert not found


def test_not_by_a_mask_that_may_be_wrong(found):
    """A click on a network of random weights, which is sure of nothing."""
    tracker = VideoTracker(make_tiny(), film(), retouch=False)
    predicted = tracker.add_points(0, 1, [(30, 30)], [1]).predicted_iou
    masks_of(tracker)
    assert predicted < 0.75
    assert not found


@pytest.mark.parametrize("window_side", [None, 64])
def test_sessions_and_streams_go_on_with_it(tmp_path, found, window_side):
    options = {"window_side": window_side, "retouch": False}
    expected = masks_of(tracker_of(**options))
    assert found
    begun, path = tracker_of(**options), tmp_path / "session"
    assert_session_goes_on(begun, expected, path=path, stop=5, frames=film())
    stream = VideoTracker(make_tiny(), None, cache_frames=1, **options)
    assert_stream_finds(stream, expected, mask=first_mask(), frames=film())
