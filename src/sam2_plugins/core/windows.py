"""Windows: the part of a large plane around one object, at full resolution. Pure geometry.

A plane of 4096 x 4096 pixels, squashed to the model's input of 256 or 1024, shows a nucleus of 30
pixels as a speck. Seen through a window as large as the input it is seen as it is; the window
follows it from frame to frame, and is doubled where the object does not fit.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LARGEST_SHARE = 0.6
"""An object that takes more of its window's side than this gets a window twice as large."""
SMALLEST_SHARE = 0.2
"""One that takes less gets a window half as large, down to the full resolution."""
CELLS = 16
"""Windows move in steps of their side over this: a still object's window does not tremble."""
_CUT_SHARE = 0.05


class Window(NamedTuple):
    """A part of a plane in pixels, half-open: also the box around a mask."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def side(self) -> int:
        """The longer side."""
        return max(self.size)

    @property
    def slices(self) -> tuple[slice, slice]:
        """What to index a plane (H, W) with."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def shifted(self, x: int, y: int) -> "Window":
        """The same moved by (x, y)."""
        return Window(self.x0 + x, self.y0 + y, self.x1 + x, self.y1 + y)

    def shared(self, other: "Window") -> "Window":
        """The part that two windows have in common; empty if there is none."""
        x0, y0 = max(self.x0, other.x0), max(self.y0, other.y0)
        return Window(x0, y0, max(min(self.x1, other.x1), x0), max(min(self.y1, other.y1), y0))

    def holds(self, box: Sequence[float], *, margin: float = 0) -> bool:
        """Whether a box (x0, y0, x1, y1) is inside, so far from the edges."""
        return (
            self.x0 + margin <= box[0]
            and self.y0 + margin <= box[1]
            and box[2] <= self.x1 - margin
            and box[3] <= self.y1 - margin
        )


NOWHERE = Window(0, 0, 0, 0)


def window_around(box: Sequence[float], side: int, plane: tuple[int, int]) -> Window:
    """A square window with a box in its middle, moved to where the plane is.

    Args:
        box: (x0, y0, x1, y1).
        side: Of the window; where the plane (H, W) is smaller, the window is as the plane.
        plane: (H, W).
    """
    step = max(side // CELLS, 1)
    ends = []
    for low, high, length in ((box[0], box[2], plane[1]), (box[1], box[3], plane[0])):
        extent = min(side, length)
        begin = round(((low + high) / 2 - extent / 2) / step) * step
        begin = min(max(begin, 0), length - extent)
        ends.append((begin, begin + extent))
    (x0, x1), (y0, y1) = ends
    return Window(x0, y0, x1, y1)


def fitting_side(box: Sequence[float], base: int, plane: tuple[int, int], *, seen: int = 0) -> int:
    """The side of a window for an object of the size of a box.

    Args:
        box: (x0, y0, x1, y1).
        base: The smallest side, that of full resolution.
        plane: (H, W); a window is not larger.
        seen: The side through which the object was seen; it is kept as long as it does.
    """
    extent = max(box[2] - box[0], box[3] - box[1])
    side = max(seen, base)
    while extent > LARGEST_SHARE * side and side < max(plane):
        side *= 2
    while side > base and extent < SMALLEST_SHARE * side:
        side = max(side // 2, base)
    return side


def next_window(
    window: Window, box: tuple[int, int, int, int], base: int, plane: tuple[int, int]
) -> Window:
    """Where to look for an object that was seen in a window at `box`, zeros for not at all."""
    if not any(box):
        return window
    return window_around(box, fitting_side(box, base, plane, seen=window.side), plane)


def is_cut(mask: NDArray[np.bool_], window: Window, plane: tuple[int, int]) -> bool:
    """Whether a mask (h, w) seen through a window goes on beyond its edges."""
    edges = (
        (window.x0 > 0, mask[:, 0]),
        (window.y0 > 0, mask[0]),
        (window.x1 < plane[1], mask[:, -1]),
        (window.y1 < plane[0], mask[-1]),
    )
    return any(is_inside and edge.mean() > _CUT_SHARE for is_inside, edge in edges)
