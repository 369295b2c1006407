"""Through which part of an image to look at an object. Geometry and choice; no network.

A small network sees an object best where it takes a good part of the picture. A box says where that
is. A click does not say how large its object is: it is looked at through a ladder of windows, and
the mask that is surest, and has the size for its window, is taken.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sam2_plugins.core.config import ModelConfig, nearest_image_size
from sam2_plugins.core.windows import LARGEST_SHARE, Window, is_cut, window_around

Extent = tuple[float, float, float, float]

_SMALLEST_SIDE = 32
"""Pixels of the image; in a smaller window there is nothing to tell an object by."""
_BOX_SCALE = 2.5
"""A window's side over that of the box which it is for."""
_STEP = 1.5
"""A window's side over that of the one before it on the ladder."""
_SMALLEST_SHARE = 0.12
"""An object that takes less of its window's side is better seen through a smaller one."""
_WHOLE_SHARE = 0.75
"""A window that takes more of the image's longer side than this makes no difference."""
_STABILITY_DELTA = 1.0
_NO_OBJECT = -32.0


def closeup_side(config: ModelConfig, image_size: int) -> int:
    """Side of the square input that windows are encoded at, a multiple of 32.

    In proportion to the model's input size, where that is not its usual one.
    """
    usual = config.closeup_size or config.image_size
    return nearest_image_size(usual * image_size / config.image_size)


def whole(plane: tuple[int, int]) -> Window:
    """The window that is all of an image (H, W)."""
    return Window(0, 0, plane[1], plane[0])


def window_for(extent: Extent, plane: tuple[int, int]) -> Window:
    """The window for an object of known extent (x0, y0, x1, y1)."""
    side = max(extent[2] - extent[0], extent[3] - extent[1]) * _BOX_SCALE
    return _window(extent, side, plane)


def ladder(extent: Extent, plane: tuple[int, int], *, step: float = _STEP) -> list[Window]:
    """Windows around clicks, from the smallest to the whole image.

    Args:
        extent: (x0, y0, x1, y1) around the clicks on the object.
        plane: (H, W).
        step: A window's side over that of the one before it.
    """
    spread = max(extent[2] - extent[0], extent[3] - extent[1])
    side = max(float(_SMALLEST_SIDE), spread / LARGEST_SHARE)
    windows = []
    while side < _WHOLE_SHARE * max(plane):
        windows.append(_window(extent, side, plane))
        side *= step
    return [*windows, whole(plane)]


def again(window: Window, extent: Extent, plane: tuple[int, int]) -> Window:
    """Where to look again at an object that was seen through a window: there, if it fits."""
    share = max(extent[2] - extent[0], extent[3] - extent[1]) / window.side
    fits = _SMALLEST_SHARE <= share <= LARGEST_SHARE and window.holds(extent)
    return window if fits else window_for(extent, plane)


def windows_for(
    on_object: Sequence[tuple[float, float]],
    *,
    has_box: bool,
    mask: Tensor | None,
    before: Window,
    plane: tuple[int, int],
) -> list[Window]:
    """Windows to look at an object through: several where nothing tells its size.

    Args:
        on_object: Clicks (x, y) on the object, and corners of its box.
        has_box: Whether there is a box.
        mask: (1, 1, h, w) logits of what was found before; None without.
        before: Through which window that was seen.
        plane: (H, W) of the image.
    """
    extent = extent_of(mask, before, on_object)
    if extent is None:
        return [before]
    if mask is not None:
        return [again(before, extent, plane)]
    return [window_for(extent, plane)] if has_box else ladder(extent, plane)


def extent_of(
    logits: Tensor | None, window: Window, others: Sequence[tuple[float, float]]
) -> Extent | None:
    """What surely belongs to an object: a mask seen through a window, and points (x, y).

    Args:
        logits: (1, 1, h, w) of the mask; None without.
        window: Through which they were seen.
        others: Points on the object.
    """
    points = np.array(others, dtype=np.float64).reshape(-1, 2)
    if logits is not None:
        rows, columns = np.nonzero((logits[0, 0] > 0).cpu().numpy())
        scale = np.array(window.size[::-1]) / logits.shape[-1]
        cells = np.stack([columns, rows], 1)
        corner = np.array([window.x0, window.y0])
        points = np.concatenate([points, corner + cells * scale, corner + (cells + 1) * scale])
    if not len(points):
        return None
    x0, y0, x1, y1 = (float(v) for v in (*points.min(axis=0), *points.max(axis=0)))
    return x0, y0, x1, y1


def sureness(
    logits: NDArray[np.float32],
    mask: NDArray[np.bool_],
    *,
    window: Window,
    plane: tuple[int, int],
) -> float:
    """How far a mask is to be preferred to those seen through other windows.

    Its stability (the paper on Segment Anything, Kirillov 2023, section 5), less 1 for each reason
    to look through another window. What a small network predicts of its IoU says less.

    Args:
        logits: (h, w).
        mask: The same at the window's size.
        window: Through which it was seen.
        plane: (H, W) of the image.
    """
    inner = int((logits > _STABILITY_DELTA).sum())
    outer = int((logits > -_STABILITY_DELTA).sum())
    rows, columns = mask.any(axis=1), mask.any(axis=0)
    extent = max(
        (np.ptp(np.flatnonzero(line)) + 1 if line.any() else 0) for line in (rows, columns)
    )
    share = extent / window.side
    is_wrong = share < _SMALLEST_SHARE, share > LARGEST_SHARE, is_cut(mask, window, plane)
    return inner / max(outer, 1) - sum(is_wrong)


def most_like(masks: NDArray[np.bool_], mask: NDArray[np.bool_]) -> int:
    """Which of masks (M, h, w) overlaps most, by IoU, with one (h, w)."""
    whole_window = Window(0, 0, mask.shape[1], mask.shape[0])
    overlaps = [
        overlap(other, whole_window, other=mask, other_window=whole_window) for other in masks
    ]
    return int(np.argmax(overlaps))


def overlap(
    mask: NDArray[np.bool_], window: Window, *, other: NDArray[np.bool_], other_window: Window
) -> float:
    """IoU of two masks, each seen through a window of its own and (h, w) of its size."""
    both = window.shared(other_window)
    here = mask[both.shifted(-window.x0, -window.y0).slices]
    there = other[both.shifted(-other_window.x0, -other_window.y0).slices]
    shared = int(np.count_nonzero(here & there))
    either = int(np.count_nonzero(mask)) + int(np.count_nonzero(other)) - shared
    return shared / either if either else 0.0


def move_logits(
    logits: Tensor, before: Window, window: Window, *, num_cells: int | None = None
) -> Tensor:
    """Logits (1, 1, h, w) seen through one window, as they are through another.

    Args:
        logits: Seen before.
        before: Through this window.
        window: The other.
        num_cells: Height and width of the result, if not as before.
    """
    height, width = (num_cells, num_cells) if num_cells else logits.shape[-2:]
    if before == window and (height, width) == tuple(logits.shape[-2:]):
        return logits
    x = window.x0 + (torch.arange(width) + 0.5) / width * (window.x1 - window.x0)
    y = window.y0 + (torch.arange(height) + 0.5) / height * (window.y1 - window.y0)
    x = (x - before.x0) / (before.x1 - before.x0) * 2 - 1
    y = (y - before.y0) / (before.y1 - before.y0) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None].to(logits.device)
    # Up to its edge, which may be the picture's, what was seen is not mixed with what was not.
    moved = functional.grid_sample(logits, grid, padding_mode="border", align_corners=False)
    # Outside of what was seen there is no object, as far as is known.
    return moved.masked_fill(grid.abs().amax(-1)[:, None] > 1, _NO_OBJECT)


def _window(extent: Extent, side: float, plane: tuple[int, int]) -> Window:
    side = max(side, _SMALLEST_SIDE)
    if side >= _WHOLE_SHARE * max(plane):
        return whole(plane)
    return window_around(extent, round(side), plane)
