"""How a mask looks on its picture, drawn at one small size however large both are."""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.windows import Window

SIDE = 48
"""Cells of a portrait."""
CHANNELS = 6
"""Red, green, blue, the mask, where it was clicked, and what was seen when it was found."""
_SCALE = 1.8
"""The side of what is drawn, over that of the box around the mask and its clicks."""
_SMALLEST_SIDE = 12.0
"""Pixels."""
_CLICK_CELLS = 1.5
"""Standard deviation of the spot that a click is drawn as."""
_PIXELS_A_CELL = 4
"""So many, each way, tell enough of a cell: of a large picture only every nth is read."""

ReadPart = Callable[[Window], NDArray[np.uint8]]
"""Reads a part of a picture: (h, w, 3) uint8, RGB."""


def read_part(image: NDArray[Any], window: Window) -> NDArray[np.uint8]:
    """A part of an image (H, W, 3) that is uint8, or float in [0, 1]."""
    return to_bytes(image[window.slices])


def to_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Colours that are uint8, or float in [0, 1], as uint8."""
    return pixels if pixels.dtype == np.uint8 else (255 * pixels).astype(np.uint8)


def draw_portrait(
    mask: NDArray[np.bool_],
    window: Window,
    *,
    clicks: Sequence[tuple[float, float]],
    plane: tuple[int, int],
    read: ReadPart,
) -> NDArray[np.uint8]:
    """Draw a mask with what is around it.

    Args:
        mask: (H, W) bool, at the window's size.
        window: Through which it was seen.
        clicks: Points (x, y) on the object, in pixels of the picture.
        plane: (H, W) of the picture.
        read: Reads it.

    Returns:
        (CHANNELS, SIDE, SIDE) uint8.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    corners = list(clicks)
    if len(rows):
        corners += [
            (window.x0 + columns[0], window.y0 + rows[0]),
            (window.x0 + columns[-1] + 1, window.y0 + rows[-1] + 1),
        ]
    part = square_around(corners, scale=_SCALE)
    inside = window.shared(part)
    seen = mask[inside.shifted(-window.x0, -window.y0).slices]
    planes: list[NDArray[np.floating]] = [
        place(seen, inside, part=part, side=SIDE),
        spots(clicks, part, side=SIDE),
        place(True, inside, part=part, side=SIDE),
    ]
    drawn = (255 * np.stack(planes)).astype(np.uint8)
    picture = picture_in(part, plane, read=read, side=SIDE)
    return np.concatenate([picture.transpose(2, 0, 1), drawn])


def square_around(points: Sequence[tuple[float, float]], *, scale: float) -> Window:
    """The square around points (x, y) that is drawn; it may reach beyond the picture.

    Args:
        points: Corners of what is in its middle.
        scale: The square's side over that of the box around them.
    """
    xs, ys = zip(*points, strict=True)
    side = max(scale * max(max(xs) - min(xs), max(ys) - min(ys)), _SMALLEST_SIDE)
    x0 = int(np.floor((min(xs) + max(xs) - side) / 2))
    y0 = int(np.floor((min(ys) + max(ys) - side) / 2))
    extent = int(np.ceil(side)) + 1
    return Window(x0, y0, x0 + extent, y0 + extent)


def spots(points: Sequence[tuple[float, float]], part: Window, *, side: int) -> NDArray[np.float64]:
    """Points (x, y) of a picture as (side, side) of a square part of it: 1 at each, 0 far off."""
    if not points:
        return np.zeros((side, side))
    x, y = (np.array(ends, dtype=np.float64) for ends in zip(*points, strict=True))
    scale = side / part.side
    cells = np.arange(side) + 0.5
    across = np.exp(-((cells - (x[:, None] - part.x0) * scale) ** 2) / 2 / _CLICK_CELLS**2)
    down = np.exp(-((cells - (y[:, None] - part.y0) * scale) ** 2) / 2 / _CLICK_CELLS**2)
    return np.asarray((down[:, :, None] * across[:, None]).max(axis=0))


def picture_in(
    part: Window, plane: tuple[int, int], *, read: ReadPart, side: int
) -> NDArray[np.uint8]:
    """(side, side, 3) of a square part; what is beyond the picture (H, W) is as its edge."""
    inside = part.shared(Window(0, 0, plane[1], plane[0]))
    step = _step(part, side)
    pixels = np.ascontiguousarray(read(inside)[::step, ::step])
    before = (inside.y0 - part.y0) // step, (inside.x0 - part.x0) // step
    extent = -(-part.side // step)
    after = [max(extent - pixels.shape[axis] - before[axis], 0) for axis in (0, 1)]
    borders = (before[0], after[0], before[1], after[1])
    return _shrunk(cv2.copyMakeBorder(pixels, *borders, cv2.BORDER_REPLICATE), side)


def place(
    values: NDArray[Any] | bool, inside: Window, *, part: Window, side: int
) -> NDArray[np.float32]:
    """Values (h, w) of what is inside a square part as (side, side) of it; 0 elsewhere."""
    step = _step(part, side)
    placed = np.zeros(part.size, np.float32)
    placed[inside.shifted(-part.x0, -part.y0).slices] = values
    return _shrunk(np.ascontiguousarray(placed[::step, ::step]), side)


def _step(part: Window, side: int) -> int:
    """Of how many pixels of a part one is read, each way."""
    return max(part.side // (_PIXELS_A_CELL * side), 1)


def _shrunk(values: NDArray[Any], side: int) -> NDArray[Any]:
    """At the size of a portrait."""
    how = cv2.INTER_AREA if len(values) > side else cv2.INTER_LINEAR
    return cv2.resize(values, (side, side), interpolation=how)
