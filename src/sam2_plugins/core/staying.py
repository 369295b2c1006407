"""Whether a tracked object is still there: the network's score, and what else is known of it."""

import math

from sam2_plugins.core.masklets import Masklet
from sam2_plugins.core.model.mask_decoder import Decoding
from sam2_plugins.core.model.values import CERTAIN
from sam2_plugins.core.regrowth import regrowth
from sam2_plugins.core.rules import Rules


def judge_presence(
    decoding: Decoding,
    rules: Rules,
    *,
    masklet: Masklet,
    walk: tuple[int, int, range],
    likeness: float,
    is_found_again: bool,
    size: tuple[int, int],
) -> Decoding:
    """A tracked frame's decoding, with the object score that is believed.

    Args:
        decoding: What the network says of the frame.
        rules: Whether, and how, scores are judged.
        masklet: Results so far.
        walk: (frame index, step, window), as in `Segmenter.track`.
        likeness: How far the object looks as it did, see `looking_back`.
        is_found_again: Whether it was lost, and is seen elsewhere: that it was away before says
            nothing.
        size: (H, W) in pixels of what was seen.
    """
    frame_index, step, window = walk
    before = masklet.found_on_the_way(frame_index - step, step=step, window=window)
    if rules.presence is None or before is None:
        return decoding
    score = decoding.object_score_logits
    if not rules.keeps_alike:
        best = int(decoding.predicted_iou[0].argmax())
        seen = decoding.low_res_logits[:, best, None]
        score = score - regrowth(masklet, frame_index, seen, step=step, size=size)
    is_certain = is_found_again or masklet.is_vouched_for(frame_index - step)
    settled = rules.presence.settle(
        score,
        CERTAIN if is_certain else before.object_score_logit,
        walked=_frames_since_seen(masklet, frame_index, step),
        likeness=likeness if rules.keeps_alike else 0.0,
    )
    return decoding._replace(object_score_logits=settled)


def _frames_since_seen(masklet: Masklet, frame_index: int, step: int) -> float:
    """Frames from where a person has seen the object; infinite where none has, or it was away."""
    start = masklet.vouched_start(frame_index, step=step)
    return math.inf if start is None else abs(frame_index - start)
