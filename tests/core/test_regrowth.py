from types import SimpleNamespace

import pytest
import torch

from sam2_plugins.core.masklets import Masklet
from sam2_plugins.core.regrowth import regrowth

SIZE = (64, 64)


def square(side):
    """(1, 1, 16, 16) logits of a square, of as many pixels a side."""
    logits = torch.full((1, 1, 16, 16), -3.0)
    logits[..., : side // 4, : side // 4] = 3.0
    return logits


def walked(sides, *, step=1, prompted=0):
    """A masklet whose square had these sides from frame 0 on."""
    results = {
        frame * step: SimpleNamespace(box=(0, 0, side, side), step=step if frame else 0)
        for frame, side in enumerate(sides)
    }
    return Masklet(prompts={prompted * step: None}, results=results)


def lost(sides, side, **options):
    step = options.get("step", 1)
    masklet = walked(sides, **options)
    return regrowth(masklet, len(sides) * step, square(side), step=step, size=SIZE)


@pytest.mark.parametrize("step", [1, -1])
def test_what_had_shrunk_and_grows_loses(step):
    assert lost([32, 28, 20, 16], 28, step=step) > 5
    assert lost([32, 28, 20, 16], 16, step=step) == 0
    assert lost([32, 28, 20, 16], 12, step=step) == 0


def test_growing_alone_is_no_reason():
    assert lost([16, 20, 24], 32) == 0
    assert lost([32, 32, 28], 32) == 0, "nor is shrinking a little"


def test_the_more_it_grows_the_more_it_loses_up_to_a_limit():
    first, second, third, fourth = (lost([40, 16], side) for side in (16, 20, 24, 60))
    assert 0 == first < second <= third <= fourth == 10


def test_only_what_came_since_the_last_prompt_counts():
    assert lost([32, 12, 32, 32], 32, prompted=2) == 0


def test_a_mask_that_is_gone_has_not_grown():
    empty = torch.full((1, 1, 16, 16), -3.0)
    assert regrowth(walked([32, 16]), 2, empty, step=1, size=SIZE) == 0
