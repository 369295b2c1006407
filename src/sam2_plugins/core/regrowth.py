"""Where a stack goes on with a neighbour: what had shrunk grows again.

From slice to slice most things grow to their largest cross-section and shrink after it. A tracker
that follows one of them to its end finds the neighbour below it in the same place, and goes on with
that. What tells is the size: it was shrinking, and now it grows.
"""

from collections.abc import Sequence

from torch import Tensor

from sam2_plugins.core.masklets import Masklet
from sam2_plugins.core.masks import mask_to_box, resize_logits

_SHRUNK = 0.75
"""Of the largest box before the smallest one: if that is not smaller, there was no shrinking."""
_GROWN = 0.1
"""Of the smallest box; less is no growing."""
_WEIGHT = 3.0
"""Logits that the object loses where its box is twice the smallest, and in proportion before. On
the CT volume of the training data 10, 7, 5 and 3 had 0.347, 0.349, 0.355 and 0.358 J&F where organs
are seen, from boxes. The others were chosen on the stack of the demo, where the weight changes
nothing."""
_REACH = 40
"""Frames that are looked back at most."""


def regrowth(
    masklet: Masklet, frame_index: int, logits: Tensor, *, step: int, size: tuple[int, int]
) -> float:
    """What an object loses of its score because it has grown again.

    Args:
        masklet: Its results so far.
        frame_index: The frame.
        logits: (1, 1, h, w) of its mask there.
        step: 1 walking forward, -1 walking backward.
        size: (H, W) in pixels of what was seen.

    Returns:
        Logits, 0 or more.
    """
    before = _areas(masklet, frame_index - step, step)
    if not before:
        return 0.0
    smallest = min(before)
    if smallest >= _SHRUNK * max(before[before.index(smallest) :]):
        return 0.0
    seen = resize_logits(logits[0, 0], size) > 0
    grown = _area(mask_to_box(seen.cpu().numpy()).tolist()) / smallest - 1
    return _WEIGHT * min(grown, 1.0) if grown > _GROWN else 0.0


def _areas(masklet: Masklet, frame_index: int, step: int) -> list[int]:
    """Areas of the boxes around an object since it was last prompted, the nearest first."""
    areas: list[int] = []
    for frame in range(frame_index, frame_index - _REACH * step, -step):
        result = masklet.results.get(frame)
        is_said = not masklet.is_tracked(frame)
        if result is None or not any(result.box) or not (is_said or result.step == step):
            break
        areas.append(_area(result.box))
        if is_said:
            break
    return areas


def _area(box: Sequence[int]) -> int:
    x0, y0, x1, y1 = box
    return (x1 - x0) * (y1 - y0)
