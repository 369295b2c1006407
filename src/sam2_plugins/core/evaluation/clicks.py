"""Clicks as an annotator would place them, from the truth and the current prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sam2_plugins.core.mask_regions import distances_inside

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Click", "centre_of", "click_until_right", "next_click"]


class Click(NamedTuple):
    """A point prompt: (x, y) in image pixels, and 1 for object or 0 for background."""

    x: int
    y: int
    point_label: int


def next_click(truth: NDArray[np.bool_], mask: NDArray[np.bool_] | None = None) -> Click | None:
    """The click at the centre of the error region, the rule of the SAM 2 paper.

    The centre is the pixel farthest from the edge of the missing or of the surplus pixels, the
    image border being an edge; the click is positive when the missing part has the deeper centre.

    Args:
        truth: (H, W) bool.
        mask: (H, W) bool, the prediction so far; None or empty for the first click.

    Returns:
        The click, or None when there is no error.
    """
    mask = np.zeros_like(truth) if mask is None else mask
    (miss_x, miss_y), miss_depth = centre_of(truth & ~mask)
    (extra_x, extra_y), extra_depth = centre_of(mask & ~truth)
    if miss_depth == extra_depth == 0:
        return None
    if miss_depth > extra_depth:
        return Click(miss_x, miss_y, 1)
    return Click(extra_x, extra_y, 0)


def centre_of(region: NDArray[np.bool_]) -> tuple[tuple[int, int], float]:
    """The pixel of a region farthest from its edge.

    Args:
        region: (H, W) bool, of any number of parts.

    Returns:
        (x, y) of the first such pixel in reading order, and its distance in pixels; depth 0 for
        an empty region.
    """
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if len(rows) == 0:
        return (0, 0), 0.0
    top, left = int(rows[0]), int(columns[0])
    window = region[top : rows[-1] + 1, left : columns[-1] + 1]
    depth = distances_inside(window)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return (left + int(column), top + int(row)), float(depth[row, column])


def click_until_right(
    truth: NDArray[np.bool_],
    mask: NDArray[np.bool_] | None,
    add: Callable[[tuple[int, int], int], NDArray[np.bool_]],
    *,
    num_clicks: int,
) -> int:
    """Clicks where the mask is most wrong, until it is right or the clicks are spent.

    Args:
        truth: (H, W) bool.
        mask: (H, W) bool, the prediction before; None where there is none.
        add: Takes (x, y) and the point label, gives the new mask.
        num_clicks: How many at most.

    Returns:
        How many clicks it took.
    """
    for number in range(num_clicks):
        click = next_click(truth, mask)
        if click is None:
            return number
        mask = add((click.x, click.y), click.point_label)
    return num_clicks
