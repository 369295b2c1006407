"""Large planes are drawn and counted square by square: where nothing is, nothing is to be done."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.napari_plugin.layers import Window

SIDE = 512
FEW_LABELS = 2**16

Square = tuple[int, int]
"""Row and column of a square of the grid that all windows of a plane share."""


def cut(window: Window, side: int = SIDE) -> Iterator[tuple[Square, Window]]:
    """The squares that a window touches, each with the part of the window that it holds."""
    y0, x0, y1, x1 = window
    for row in range(y0 // side, -(-y1 // side)):
        for column in range(x0 // side, -(-x1 // side)):
            top, left = row * side, column * side
            part = max(top, y0), max(left, x0), min(top + side, y1), min(left + side, x1)
            yield (row, column), part


def occupied(covered: NDArray[Any], side: int = SIDE) -> frozenset[Square]:
    """The squares of a plane (H, W) on which anything is."""
    return frozenset(square for square, part in _parts(covered, side) if part.any())


def count_labels(labels: NDArray[Any]) -> dict[int, int]:
    """Pixels of every label but 0 in (H, W)."""
    found: Counter[int] = Counter()
    for _, part in _parts(labels):
        if part.any():
            found.update(_count(part))
    return dict(found)


def _count(labels: NDArray[Any]) -> dict[int, int]:
    if labels.max() >= FEW_LABELS or labels.min() < 0:
        ids, counts = np.unique(labels, return_counts=True)
    else:
        every = np.bincount(labels.reshape(-1))
        ids = np.flatnonzero(every)
        counts = every[ids]
    return {int(i): int(n) for i, n in zip(ids, counts, strict=True) if i}


def _parts(plane: NDArray[Any], side: int = SIDE) -> Iterator[tuple[Square, NDArray[Any]]]:
    height, width = plane.shape
    for square, (y0, x0, y1, x1) in cut((0, 0, height, width), side):
        yield square, plane[y0:y1, x0:x1]
