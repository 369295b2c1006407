from types import SimpleNamespace

import pytest
import torch

from sam2_plugins.core.masklets import Masklet
from sam2_plugins.core.memory import MemoryRule
from sam2_plugins.core.model.mask_decoder import Decoding
from sam2_plugins.core.presence import PresenceRule
from sam2_plugins.core.regrowth import regrowth
from sam2_plugins.core.rules import Rules
from sam2_plugins.core.staying import judge_presence

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
    assert lost([32, 28, 20, 16], 28, step=step) > 2
    assert lost([32, 28, 20, 16], 16, step=step) == 0
    assert lost([32, 28, 20, 16], 12, step=step) == 0


def test_growing_alone_is_no_reason():
    assert lost([16, 20, 24], 32) == 0
    assert lost([32, 32, 28], 32) == 0, "nor is shrinking a little"


def test_the_more_it_grows_the_more_it_loses_up_to_a_limit():
    first, second, third, fourth = (lost([40, 16], side) for side in (16, 20, 24, 60))
    assert 0 == first < second <= third <= fourth == 3


def test_only_what_came_since_the_last_prompt_counts():
    assert lost([32, 12, 32, 32], 32, prompted=2) == 0


def test_the_mask_that_is_shown_is_what_grows_not_another_that_was_thought_of():
    results = {
        frame: SimpleNamespace(
            box=(0, 0, side, side), step=1, object_score_logit=9.0, walked=frame, logits=None
        )
        for frame, side in enumerate([40, 24, 16])
    }
    masklet = Masklet(prompts={0: None}, results=results)
    presence = PresenceRule(inertia=0.0, weak=0.0)
    rules = Rules(MemoryRule(4, 6, 1, 16), fill_hole_area=0, exact=False, presence=presence)

    def score(best):
        decoding = Decoding(
            torch.cat([square(16), square(32), square(12)], dim=1),
            torch.eye(3)[best, None],
            torch.zeros(1, 3, 4),
            torch.full((1, 1), 2.0),
        )
        walk = 3, 1, range(4)
        judged = judge_presence(
            decoding,
            rules,
            masklet=masklet,
            walk=walk,
            likeness=0.0,
            knows=lambda *_: True,
            is_found_again=False,
            size=SIZE,
        )
        return float(judged.object_score_logits)

    assert score(1) < 0 < score(0) == score(2)


def test_a_mask_that_is_gone_has_not_grown():
    empty = torch.full((1, 1, 16, 16), -3.0)
    assert regrowth(walked([32, 16]), 2, empty, step=1, size=SIZE) == 0
