"""Boxes, points and masks: shares of a frame to pixels and back.

FiftyOne keeps boxes as [x, y, width, height] and points as (x, y), all as shares of the frame, and
a mask that covers its box. The core takes pixels.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import draw

Box = tuple[float, float, float, float]

_MOST_SHARE = 4.0
"""What is drawn may leave the frame, but not by so much: numbers beyond are pixels."""


def to_box(bounding_box: Iterable[float] | None, size: tuple[int, int]) -> Box:
    """(x0, y0, x1, y1) in pixels of FiftyOne's [x, y, width, height].

    Raises:
        ValueError: It is not four numbers, or they are pixels.
    """
    given = [float(value) for value in bounding_box or ()]
    if len(given) != 4 or not np.isfinite(given).all():
        raise ValueError(
            f"a bounding_box is [x, y, width, height] as shares of the frame, not {given}"
        )
    _refuse_pixels(given, "a bounding_box is [x, y, width, height]", size)
    x, y, width, height = given
    rows, columns = size
    # Rounded so that edges that were whole pixels are so again.
    x0, y0, x1, y1 = (
        round(value, 6)
        for value in (x * columns, y * rows, (x + width) * columns, (y + height) * rows)
    )
    return x0, y0, x1, y1


def to_bounding_box(box: Iterable[float], size: tuple[int, int]) -> list[float]:
    """FiftyOne's [x, y, width, height] of (x0, y0, x1, y1) in pixels."""
    x0, y0, x1, y1 = box
    rows, columns = size
    return [x0 / columns, y0 / rows, (x1 - x0) / columns, (y1 - y0) / rows]


def to_pixels(point: Iterable[float], size: tuple[int, int]) -> tuple[float, float]:
    """(x, y) in pixels of a point in shares of a frame of `size` (H, W).

    Raises:
        ValueError: It is in pixels already.
    """
    x, y = point
    _refuse_pixels((x, y), "a point is (x, y)", size)
    return round(float(x) * size[1], 6), round(float(y) * size[0], 6)


def detection_mask(detection: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask of a Detection on the whole frame, (H, W) bool.

    Raises:
        ValueError: It has no mask.
    """
    covering = detection.get_mask()
    if covering is None:
        raise ValueError("the detection has no mask")
    pixels = np.asarray(covering) > 0
    inner = np.asarray(pixels.any(axis=2)) if pixels.ndim == 3 else pixels
    rows, columns = size
    x0, y0, x1, y1 = (round(edge) for edge in to_box(detection.bounding_box, size))
    full = np.zeros(size, np.bool_)
    height, width = max(y1 - y0, 1), max(x1 - x0, 1)
    if 0 in inner.shape:
        return full
    if inner.shape != (height, width):
        picked_rows = ((np.arange(height) + 0.5) * inner.shape[0] / height).astype(int)
        picked_columns = ((np.arange(width) + 0.5) * inner.shape[1] / width).astype(int)
        inner = inner[np.ix_(picked_rows, picked_columns)]
    top, left, bottom, right = max(y0, 0), max(x0, 0), min(y1, rows), min(x1, columns)
    if top < bottom and left < right:
        full[top:bottom, left:right] = inner[top - y0 : bottom - y0, left - x0 : right - x0]
    return full


def _refuse_pixels(given: Iterable[float], what: str, size: tuple[int, int]) -> None:
    values = [float(value) for value in given]
    if max(map(abs, values)) > _MOST_SHARE:
        raise ValueError(
            f"{what} as shares of the frame, from 0 to 1, not {values}; if those are pixels, "
            f"divide x by {size[1]} and y by {size[0]}"
        )


def polygon_mask(rings: Iterable[Iterable[Any]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The inside of polygons, (H, W) bool; a ring inside another is a hole.

    Args:
        rings: Of (x, y) as shares of the frame.
        size: (H, W).
    """
    mask = np.zeros(size, np.bool_)
    for ring in rings:
        # polygon2mask takes (row, column) of pixel centres; FiftyOne counts from the pixel's edge.
        corners = [(y - 0.5, x - 0.5) for x, y in (to_pixels(point, size) for point in ring)]
        if len(corners) >= 3:
            mask ^= draw.polygon2mask(size, corners)  # type: ignore[no-untyped-call]
    return mask
