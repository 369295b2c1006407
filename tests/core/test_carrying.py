"""Masks that a person has prompted are carried on as certain, and with the outline they had."""

import numpy as np
import pytest
import torch

from sam2_plugins.core import VideoTracker, load_model
from sam2_plugins.core.carrying import _made_certain
from sam2_plugins.core.masks import resize_logits
from sam2_plugins.core.model.values import CERTAIN


def soft_disc(radius, height):
    """(1, 1, 32, 32) logits that fall evenly from a middle, 0 at a radius of cells."""
    rows, columns = np.mgrid[:32, :32]
    return torch.from_numpy(height * (radius - np.hypot(rows - 15.3, columns - 16.2)))[None, None]


@pytest.mark.parametrize("height", [0.05, 0.5, 5.0])
@pytest.mark.parametrize("radius", [1.6, 4.3, 10.0])
def test_what_is_made_certain_keeps_its_outline_between_the_cells(radius, height):
    before = soft_disc(radius, height).float()
    after = _made_certain(before)
    assert torch.equal(before > 0, after > 0)
    shown = [resize_logits(logits[0, 0], (256, 256)) > 0 for logits in (before, after)]
    shared, either = (shown[0] & shown[1]).sum(), (shown[0] | shown[1]).sum()
    assert shared / either > 0.9
    # A cut at 0 of the cells alone: what thin things lose by it.
    hard = resize_logits(torch.where(before > 0, CERTAIN, -CERTAIN)[0, 0], (256, 256)) > 0
    assert (shown[0] & hard).sum() / (shown[0] | hard).sum() < shared / either


def test_doubts_are_gone_but_for_noise():
    doubtful = torch.full((1, 1, 16, 16), -1.0)
    doubtful[..., 4:12, 4:12] = 0.3
    certain = _made_certain(doubtful)
    assert certain[..., 6:10, 6:10].eq(CERTAIN).all()
    assert certain[..., :2, :2].eq(-CERTAIN).all()
    assert _made_certain(torch.full((1, 1, 16, 16), 1e-3)).max() < 0.2


@pytest.mark.parametrize("width", [3, 4])
def test_a_thin_line_is_found_on_the_next_frame(width):
    rng = np.random.default_rng(3)
    frames = rng.normal(60, 4, (2, 220, 220))
    truth = np.zeros((2, 220, 220), bool)
    for index in range(2):
        truth[index, 50:120, 90 + index : 90 + index + width] = True
    frames[truth] = 180
    tracker = VideoTracker(load_model(device="cpu"), frames.clip(0, 255).astype(np.uint8))
    tracker.set_mask(0, 1, truth[0])
    list(tracker.propagate())
    found = tracker.masks(1).masks[0]
    assert (found & truth[1]).sum() / (found | truth[1]).sum() > 0.8
