"""A carried mask, held against an earlier look at the object.

A mask that is carried from frame to frame drifts: every step adds its error. From a look some
frames ago it is one step to here, and where the picture moved so looks as it did, that step is to
be trusted. How much of the object looks as it did also says whether it is still there: a network
too small to be sure of that is told.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_plugins.core.model.layers import sample_within
from sam2_plugins.core.motion import TRUST, measure_motion
from sam2_plugins.core.windows import Window

_SHARE = 0.7
"""Of the mask carried from the earlier look, where the picture looks as it did. Measured, as the
other numbers here, with nano on clips made of held-out images; dev only confirmed them."""
_TOLERANCE = 0.2
"""A difference in brightness of so much of the object's contrast leaves 1 / e of the likeness."""
_LEAST_CONTRAST = 5.0
"""Grey values of 255: what an object's contrast is at least taken for."""
_SMOOTHING = 2.0
"""Cells over which differences are averaged, as the deviation of a Gaussian."""
_LEAST_SHARE = 0.02
"""A smaller share changes nothing."""
_LEAST_CELLS = 4
"""Of an object: one that is smaller has no middle to go by."""
_AROUND = np.ones((7, 7), np.uint8)
"""Reaches three cells around an object, to measure its contrast."""


class Look(NamedTuple):
    """How an object was seen on a frame.

    Attributes:
        picture: (S, S) grey, seen through the window.
        logits: (1, 1, S / 4, S / 4), low-res mask logits.
        window: What was looked through.
    """

    picture: NDArray[np.uint8]
    logits: Tensor
    window: Window


class LookedBack(NamedTuple):
    """What an earlier look says.

    Attributes:
        logits: (1, 1, S / 4, S / 4), the carried mask after it.
        likeness: In [0, 1]: how far the object looks as it did; 0 where that cannot be told.
    """

    logits: Tensor
    likeness: float


def look_back(now: Look, earlier: Look) -> LookedBack:
    """Mend a carried mask by an earlier look at the object.

    Both pictures are first laid on each other by the middles of the two masks, so that optical flow
    has only to find how the object turned and changed.

    Args:
        now: The frame, with the mask that was carried there.
        earlier: The same object some frames ago.
    """
    carried = now.logits
    middles = [middle_of(look.logits, look.window) for look in (now, earlier)]
    if middles[0] is None or middles[1] is None:
        return LookedBack(carried, 0.0)
    offset = middles[1] - middles[0]
    laid = _lay_on(now, earlier, offset)
    motion = measure_motion(now.picture, laid)
    grid = places_before(motion, now.window, earlier.window, offset).to(carried.device)
    limited = earlier.logits.to(carried.device).float().clamp(-TRUST, TRUST)
    moved = sample_within(limited, grid)
    alike = torch.from_numpy(_alike(now.picture, laid, motion, _contrast(earlier)))
    alike = alike.to(carried)[None, None]
    is_object = (carried > 0) | (moved > 0)
    likeness = float(alike[is_object].mean())
    share = _SHARE * alike * (grid.abs() <= 1).all(-1)[:, None]
    mended = (1 - share) * carried.clamp(-TRUST, TRUST) + share * moved
    return LookedBack(torch.where(share > _LEAST_SHARE, mended, carried), likeness)


def middle_of(logits: Tensor, window: Window) -> NDArray[np.float64] | None:
    """The middle of a mask (1, 1, h, w) in pixels of the plane, (x, y); None if tiny."""
    rows, columns = np.nonzero((logits[0, 0] > 0).cpu().numpy())
    if len(rows) < _LEAST_CELLS:
        return None
    cells = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    return cells / logits.shape[-1] * _size(window) + _corner(window)


def _lay_on(now: Look, earlier: Look, offset: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The earlier picture as it would be seen through today's window, moved by an offset."""
    side = len(now.picture)
    scale = _size(now.window) / _size(earlier.window)
    # Pixel middles: (p + 0.5) / side of one window is a place of the plane, and so of the other.
    begin = _corner(now.window) + offset - _corner(earlier.window)
    side_before = len(earlier.picture)
    begin = begin / _size(earlier.window) * side_before
    scale = scale * side_before / side
    shift = 0.5 * scale + begin - 0.5
    matrix = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size, border = (side, side), cv2.BORDER_REPLICATE
    laid = cv2.warpAffine(earlier.picture, matrix, size, flags=flags, borderMode=border)
    return np.asarray(laid, np.uint8)


def places_before(
    motion: NDArray[np.floating], window: Window, before: Window, offset: NDArray[np.float64]
) -> Tensor:
    """Motion between pictures laid on each other, as places in the earlier window.

    Args:
        motion: (h, w, 2), (x, y) from -1 to 1 over the picture.
        window: What is looked through now.
        before: What was looked through earlier.
        offset: (x, y) in pixels of the plane, by which the earlier picture was moved.

    Returns:
        (1, h, w, 2), as `grid_sample` has them.
    """
    plane = (motion + 1) / 2 * _size(window) + _corner(window) + offset
    places = (plane - _corner(before)) / _size(before) * 2 - 1
    return torch.from_numpy(places.astype(np.float32))[None]


def cells_before(
    rows: range, columns: range, side: int, *, windows: tuple[Window, Window], offset: NDArray[Any]
) -> Tensor:
    """Cells of a map (side, side), as places in an earlier window.

    Args:
        rows: Of the map.
        columns: Likewise.
        side: In cells.
        windows: What is looked through now, and what was looked through earlier.
        offset: (x, y) in pixels of the plane, by which the earlier picture was moved.

    Returns:
        (1, h, w, 2) of the middles of the cells, as `grid_sample` has them.
    """
    down, right = (np.array(np.meshgrid(rows, columns, indexing="ij")) + 0.5) / side
    return places_before(2 * np.stack([right, down], -1) - 1, *windows, offset)


def _alike(
    picture: NDArray[np.uint8],
    laid: NDArray[np.uint8],
    motion: NDArray[np.float32],
    contrast: float,
) -> NDArray[np.float32]:
    """How far each cell looks as it did, (S / 4, S / 4) in [0, 1]."""
    num_cells = len(motion)
    maps = ((motion + 1) / 2 * num_cells - 0.5).astype(np.float32)
    now, before = (_cells(p, num_cells) for p in (picture, laid))
    border = cv2.BORDER_REPLICATE
    moved = cv2.remap(before, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderMode=border)
    difference = cv2.GaussianBlur(np.abs(now - moved), (0, 0), _SMOOTHING)
    return np.exp(-((difference / (_TOLERANCE * contrast)) ** 2)).astype(np.float32)


def _contrast(look: Look) -> float:
    """What an object's brightness differs by, within it and from what is around it."""
    is_object = (look.logits[0, 0] > 0).cpu().numpy()
    cells = _cells(look.picture, len(is_object))
    is_around = cv2.dilate(is_object.astype(np.uint8), _AROUND).astype(bool) & ~is_object
    contrast = float(cells[is_object].std())
    if is_around.any():
        contrast += abs(float(cells[is_object].mean() - cells[is_around].mean()))
    return max(contrast, _LEAST_CONTRAST)


def _cells(picture: NDArray[np.uint8], num_cells: int) -> NDArray[np.float32]:
    size = (num_cells, num_cells)
    shrunk = cv2.resize(picture.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, np.float32)


def _size(window: Window) -> NDArray[np.float64]:
    height, width = window.size
    return np.array([width, height], np.float64)


def _corner(window: Window) -> NDArray[np.float64]:
    return np.array([window.x0, window.y0], np.float64)
