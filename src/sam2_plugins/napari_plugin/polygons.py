"""Areas of polygons, filled row by row.

A lasso has hundreds of corners and may go around millions of pixels: to ask of each pixel where it
lies would take minutes.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def fill_polygon(vertices: ArrayLike, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels whose centres are in a polygon or on its edge, by the even-odd rule.

    Args:
        vertices: (N, 2) x and y of the corners; pixel centres are at whole numbers.
        size: (H, W) of the picture; the polygon may go beyond.

    Returns:
        (H, W) bool.
    """
    height, width = size
    corners = np.asarray(vertices, dtype=float)
    starts, ends = corners, np.roll(corners, -1, axis=0)
    upper = np.where((starts[:, 1] <= ends[:, 1])[:, None], starts, ends)
    lower = np.where((starts[:, 1] <= ends[:, 1])[:, None], ends, starts)
    steps = np.zeros((height, width + 1), np.int16)
    # A row through a corner meets the edges below it, or those above: what either fills counts.
    for first, last in (
        (np.ceil(upper[:, 1]), np.ceil(lower[:, 1])),
        (np.floor(upper[:, 1]) + 1, np.floor(lower[:, 1]) + 1),
    ):
        rows, xs = _crossings(upper, lower, np.clip(first, 0, height), np.clip(last, 0, height))
        begins = np.clip(np.ceil(xs[::2]), 0, width).astype(int)
        ends_before = np.clip(np.floor(xs[1::2]) + 1, 0, width).astype(int)
        np.add.at(steps, (rows[::2], begins), 1)
        np.add.at(steps, (rows[1::2], ends_before), -1)
    return np.cumsum(steps[:, :-1], axis=1, dtype=np.int16) > 0


def _crossings(
    upper: NDArray[np.float64],
    lower: NDArray[np.float64],
    first: NDArray[np.float64],
    last: NDArray[np.float64],
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Rows, and x where an edge crosses them; in pairs between which a row is inside.

    Args:
        upper: (N, 2) ends of the edges with the lower y.
        lower: (N, 2) the other ends.
        first: (N,) the first row of each.
        last: (N,) the row after its last.
    """
    counts = np.maximum(last - first, 0).astype(int)
    edges = np.repeat(np.arange(len(counts)), counts)
    begun = np.cumsum(counts) - counts
    rows = (first[edges] + np.arange(len(edges)) - begun[edges]).astype(np.intp)
    (x0, y0), (x1, y1) = upper[edges].T, lower[edges].T
    xs = x0 + (rows - y0) / (y1 - y0) * (x1 - x0)
    order = np.lexsort((xs, rows))
    return rows[order], xs[order]
