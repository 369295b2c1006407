"""Tracked masks that give way: which of several objects has a thing that all were found on.

A tracker follows each object by itself. Where an object ends, as a cell does between two slices, it
may slide to a neighbour that is an object of its own. Both can then not be shown: a label image
has one object per pixel, and a cell has one name.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SAME_THING = 0.5
"""IoU from which two masks are of one thing; of disjoint things none overlaps a mask so with two
others, as in panoptic quality (Kirillov et al. 2019)."""


class Extents(NamedTuple):
    """Where the masks of a frame are.

    Attributes:
        boxes: (B, 4), half-open (x0, y0, x1, y1) around each mask.
        areas: (B,) pixels.
        common_area: Pixels that the masks of two rows share.
    """

    boxes: NDArray[np.int64]
    areas: NDArray[np.int64]
    common_area: Callable[[int, int], int]


def gives_way(
    extents: Extents,
    *,
    scores: NDArray[np.float32],
    prompt_distance: NDArray[np.int64],
    object_ids: NDArray[np.int64],
    shown_within: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Which masks are of a thing that another object has with more right.

    What a person said never gives way. A tracked mask gives way to one that is of the same thing
    and has more right: the object score, less one logit for every doubling of the distance from
    where tracking set out, since it errs the more the farther it went. Masks that give way
    themselves do not count, nor do those of what a person showed as lying within each other: a
    nucleus may well fill its cell.

    Args:
        extents: Of the masks.
        scores: (B,) object score logits.
        prompt_distance: (B,) frames from the prompt that tracking set out from; 0 where there is
            one.
        object_ids: (B,).
        shown_within: (B,) id of the object that a person showed this one inside of; 0 for none.

    Returns:
        (B,) bool.
    """
    boxes, areas, common_area = extents
    lost = np.zeros(len(areas), dtype=np.bool_)
    if not prompt_distance.any():
        return lost
    is_given = prompt_distance == 0
    nested = _nested_rows(object_ids, shown_within)
    right = np.where(is_given, np.inf, scores - np.log2(np.maximum(prompt_distance, 1)))
    is_kept = np.zeros_like(lost)
    for row in np.argsort(-right, kind="stable").tolist():
        is_stronger = is_kept & (right > right[row])
        near = np.flatnonzero(is_stronger & _may_be_same(row, boxes, areas))
        for other in near.tolist():
            if other in nested[row] or row in nested[other]:
                continue
            common = common_area(row, other)
            if common >= SAME_THING * (areas[row] + areas[other] - common):
                lost[row] = True
                break
        is_kept[row] = areas[row] > 0 and not lost[row]
    return lost


def _nested_rows(object_ids: NDArray[np.int64], shown_within: NDArray[np.int64]) -> list[set[int]]:
    """For each row the rows of what it lies in, and of what that lies in."""
    row_of = {object_id: row for row, object_id in enumerate(object_ids.tolist())}
    nested: list[set[int]] = []
    for row in range(len(object_ids)):
        around: set[int] = set()
        outer = row_of.get(int(shown_within[row]))
        while outer is not None and outer not in {row, *around}:
            around.add(outer)
            outer = row_of.get(int(shown_within[outer]))
        nested.append(around)
    return nested


def _may_be_same(row: int, boxes: NDArray[np.int64], areas: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which masks can be of the same thing as one, by their boxes and areas."""
    low = np.maximum(boxes[row, :2], boxes[:, :2])
    high = np.minimum(boxes[row, 2:], boxes[:, 2:])
    shared = np.minimum((high - low).clip(min=0).prod(axis=-1), areas[row])
    return np.asarray(shared >= SAME_THING * np.maximum(areas, areas[row]))
