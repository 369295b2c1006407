"""Clips seen through a window around one object, as `core.closeups` and windows look at them."""

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Labels = NDArray[np.int32]

MIN_AREA = 40
MIN_SIDE = 24
SCALES = 1.7, 6.0
"""Least and most of a window's side over that of the object in its middle."""
JITTER = 0.15
"""How far from the middle of the window, as a part of its side, the object's may be."""


def look_closer(
    rng: np.random.Generator, frames: Frames, labels: Labels, *, size: int
) -> tuple[Frames, Labels] | None:
    """Cut a clip to a window around one object, and scale it.

    Args:
        rng: Source of randomness.
        frames: (T, S, S, 3) uint8.
        labels: (T, S, S) int32.
        size: Side of the result in pixels.

    Returns:
        Frames (T, size, size, 3) and labels (T, size, size); None if there is no object of some
        size on the first frame.
    """
    areas = np.bincount(labels[0].ravel())
    areas[0] = 0
    ids = np.flatnonzero(areas >= MIN_AREA)
    if not len(ids):
        return None
    chosen = (labels == rng.choice(ids)).any(axis=0)
    lines = [np.flatnonzero(chosen.any(axis=axis)) for axis in (1, 0)]  # rows, columns
    extent = max(int(line[-1] - line[0]) + 1 for line in lines)
    scale = np.exp(rng.uniform(*np.log(SCALES)))
    plane = labels.shape[1]
    side = int(np.clip(extent * scale, min(MIN_SIDE, plane), plane))
    slices = []
    for line in lines:
        middle = (line[0] + line[-1] + 1) / 2 + rng.uniform(-JITTER, JITTER) * side
        begin = int(np.clip(middle - side / 2, 0, plane - side))
        slices.append(slice(begin, begin + side))
    rows, columns = slices
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    resized = [cv2.resize(f[rows, columns], (size, size), interpolation=how) for f in frames]
    ids_resized = [
        cv2.resize(ids[rows, columns], (size, size), interpolation=cv2.INTER_NEAREST)
        for ids in labels
    ]
    return np.stack(resized).astype(np.uint8), np.stack(ids_resized).astype(np.int32)
