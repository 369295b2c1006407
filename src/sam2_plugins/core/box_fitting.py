"""What a box says of the object in it, where the network heeds it too little.

A small network now and then answers a box with a mask that is much smaller than the box, or that
spills over what else is in it. But who draws a box around an object says where its four sides are,
that its middle is likelier on the object than the corners, and that what lies outside looks
different. So a mask made from a box alone is

1. given the shape that objects in boxes have on average, as far as it is unsure by itself;
2. cut at the height at which it reaches the sides of the box;
3. moved towards what GrabCut (Rother et al., SIGGRAPH 2004) makes of it by colour, where that
   reaches the sides too, and is of the same object.

On half of the held-out images, on which the numbers here were chosen, boxes give nuclei 0.878 IoU
instead of 0.859 and clothing 0.695 instead of 0.662; on the other half, 0.868 instead of 0.842 and
0.706 instead of 0.667. Drawn with errors of 6 % of their sides they give on that half 0.842 instead
of 0.817 and 0.670 instead of 0.643.
"""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_plugins.core.closeups import Extent
from sam2_plugins.core.transforms import tensor_to_rgb

_SHAPE_WEIGHT = 2.0
"""Logits that the middle of a box is likelier on the object than its sides."""
_SHAPE_POWER = 2.5
"""Of the superellipse that objects in boxes resemble: between an ellipse and a rectangle."""
_HEIGHTS = np.arange(-4.0, 2.25, 0.25)
"""Logits at which the mask may be cut."""
_HEIGHT_COST = 0.02
"""How much of the box's sides a cut one logit higher or lower must bring to be worth it."""
_TOLERANCE = 0.04
"""How far boxes are drawn beside the object, as a part of their sides."""
_REACH = 1.12
"""How far from the middle of a box the object may reach, over half of the box's side."""
_SURE = 4.0
"""Logit from which on GrabCut does not doubt that a cell is on the object."""
_ROUNDS = 3
_COLOUR_WEIGHT = 2.0
"""Logits that the colours have to say."""
_LARGEST_GAP = 0.1
"""Where what the colours say ends so far from a side of the box, they say nothing of the object."""
_AGREEMENT = 0.4
"""IoU from which on two masks are of the same object."""

Mask = NDArray[np.bool_]
Logits = NDArray[np.float32]


def fit_to_box(logits: Tensor, picture: Tensor, box: Extent) -> Tensor:
    """Move a mask towards what the box says that it was made from.

    Args:
        logits: (1, 1, h, w) low-res logits.
        picture: (3, S, S), the model's input that was looked at.
        box: (x0, y0, x1, y1) in pixels of the input.

    Returns:
        (1, 1, h, w).
    """
    seen = logits[0, 0].float().cpu().numpy()
    side = picture.shape[-1]
    places = _places(box, side=side, num_cells=len(seen))
    fitted = _cut(seen + _shape(*places), *places)
    fitted = fitted + _by_colour(fitted, tensor_to_rgb(picture, side=len(seen)), *places)
    return torch.from_numpy(fitted)[None, None].to(logits)


def _places(box: Extent, *, side: int, num_cells: int) -> tuple[Logits, Logits]:
    """Where columns and rows of cells are in a box: -1 on its one side and 1 on the other."""
    middles = (np.arange(num_cells, dtype=np.float32) + 0.5) * (side / num_cells)
    columns, rows = (
        (middles - (low + high) / 2) / (max(high - low, 1e-6) / 2)
        for low, high in (box[0::2], box[1::2])
    )
    return columns, rows


def _shape(columns: Logits, rows: Logits) -> Logits:
    """Logits of the mean object in a box: highest in the middle, 0 on a superellipse."""
    power = _SHAPE_POWER
    far = (np.abs(columns)[None, :] ** power + np.abs(rows)[:, None] ** power) ** (1 / power)
    return np.asarray(_SHAPE_WEIGHT * (1 - far).clip(-1, 1))


def _cut(logits: Logits, columns: Logits, rows: Logits) -> Logits:
    """Logits whose zero is at the height at which the mask fits the box best."""
    highest_of_columns, highest_of_rows = logits.max(0), logits.max(1)
    costs = []
    for height in _HEIGHTS:
        gaps = _gaps(highest_of_columns > height, columns), _gaps(highest_of_rows > height, rows)
        beyond = (np.concatenate(gaps) - _TOLERANCE).clip(0)
        costs.append(beyond.sum() + _HEIGHT_COST * abs(height))
    return np.asarray(logits - np.float32(_HEIGHTS[int(np.argmin(costs))]))


def _gaps(is_on: Mask, places: Logits) -> NDArray[np.float64]:
    """How far a mask ends from two sides of the box, over the box's side; from nothing infinite.

    Args:
        is_on: (n,), which columns, or rows, it has cells in.
        places: (n,), where these are.
    """
    indices = np.flatnonzero(is_on)
    if not len(indices):
        return np.full(2, np.inf)
    half_cell = (places[1] - places[0]) / 2
    ends = places[indices[0]] - half_cell, places[indices[-1]] + half_cell
    return np.abs([ends[0] + 1, ends[1] - 1]) / 2


def _by_colour(
    logits: Logits, picture: NDArray[np.uint8], columns: Logits, rows: Logits
) -> Logits | float:
    """Logits (h, w) of what the colours say; 0 where they say nothing of the object."""
    is_within = (np.abs(columns) < _REACH)[None, :] & (np.abs(rows) < _REACH)[:, None]
    is_seen = (logits > 0) & is_within
    if not is_seen.any() or is_seen.all():
        return 0.0
    given = np.where(is_seen, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    given[is_seen & (logits > _SURE)] = cv2.GC_FGD
    given[~is_within] = cv2.GC_BGD
    found = _grab_cut(picture, given.astype(np.uint8))
    along = enumerate((columns, rows))
    gaps = np.concatenate([_gaps(found.max(axis=axis), places) for axis, places in along])
    shared = (found & is_seen).sum() / (found | is_seen).sum()
    if gaps.max() >= _LARGEST_GAP or shared <= _AGREEMENT:
        return 0.0
    blurred = cv2.GaussianBlur(np.where(found, 1, -1).astype(np.float32), (0, 0), 1.0)
    return np.asarray(_COLOUR_WEIGHT * blurred)


def _grab_cut(picture: NDArray[np.uint8], given: NDArray[np.uint8]) -> Mask:
    """The object (h, w) by GrabCut, the same every time."""
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(picture, given, (0, 0, 0, 0), *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    return (given == cv2.GC_FGD) | (given == cv2.GC_PR_FGD)
