"""From scores to doubt: where a masklet may have drifted, and which frame to look at next."""

from collections.abc import Sequence

from sam2_plugins.core.frame_results import FrameResult
from sam2_plugins.core.masklets import Masklet

_JUMP_WEIGHT = 0.5
_PRESENCE_WEIGHT = 0.5
_CLEAR_PRESENCE = 4.0
"""Object scores this far from 0 leave no doubt whether the object is there."""


def box_iou(
    first: tuple[float, float, float, float], second: tuple[float, float, float, float]
) -> float:
    """Intersection over union of two boxes; 1 where both are empty."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    common = max(width, 0) * max(height, 0)
    union = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (first, second)) - common
    return common / union if union else 1.0


def doubt(result: FrameResult, neighbour: FrameResult | None) -> float:
    """How much a tracked mask is worth a look; 0 is none.

    The expected error 1 - predicted IoU, plus the jump of the box from the neighbouring frame, plus
    how undecided the model is whether the object is visible. A clear absence predicts no mask, so
    its predicted IoU says nothing.
    """
    is_absent = result.object_score_logit <= 0
    undecided = max(0.0, 1 - abs(result.object_score_logit) / _CLEAR_PRESENCE)
    value = _PRESENCE_WEIGHT * undecided
    if not is_absent:
        value += 1 - result.predicted_iou
    if neighbour is not None:
        value += _JUMP_WEIGHT * (1 - box_iou(result.box, neighbour.box))
    return value


def doubts(masklet: Masklet) -> dict[int, float]:
    """The doubt of every tracked frame that is not locked, by frame index."""
    results = masklet.results
    return {
        frame: doubt(result, results.get(frame - result.step))
        for frame, result in results.items()
        if result.step and masklet.is_tracked(frame)
    }


def most_doubtful_frame(masklets: Sequence[Masklet]) -> int | None:
    """The frame with the greatest doubt in any masklet; the earliest of equals."""
    worst: dict[int, float] = {}
    for masklet in masklets:
        for frame, value in doubts(masklet).items():
            worst[frame] = max(value, worst.get(frame, 0.0))
    return min(worst, key=lambda frame: (-worst[frame], frame)) if worst else None
