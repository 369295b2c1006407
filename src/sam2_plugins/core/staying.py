"""Whether a tracked object is still there: the network's score, and what else is known of it."""

import math
from collections.abc import Callable

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
    knows: Callable[[Masklet, int | None], bool],
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
        knows: See `Redrawing.knows`.
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
    start = masklet.vouched_start(frame_index, step=step)
    is_known = start is None or knows(masklet, start)
    rule = rules.presence if is_known else rules.presence.for_unknown
    settled = rule.settle(
        score,
        CERTAIN if is_certain else before.object_score_logit,
        # Where no person has seen it, or it was away, it was never near to that.
        walked=math.inf if start is None else abs(frame_index - start),
        likeness=likeness if rules.keeps_alike else 0.0,
    )
    return decoding._replace(object_score_logits=settled)
