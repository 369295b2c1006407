"""Labels of cells taken from the cells that look most alike on earlier frames.

Where limbs move and things turn, optical flow smears a mask over what is around. What is on a cell
now was mostly near it before, and looks as it did: so, as in CRW (Jabri et al., NeurIPS 2020), each
cell asks those near it on the last frames, and on the one where a person has said what the object
is, and takes the labels of the most alike. What that frame says counts most: the others repeat
their own mistakes.

A network that knows an object tracks it better, and among things that all look alike this loses
it: it is done in films, for objects of kinds that are not known (see `redrawing`). The numbers were
chosen with nano on 16 clips made of held-out images and on three films of people; most of them
matter little.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sam2_plugins.core.looking_back import cells_before, middle_of
from sam2_plugins.core.model.layers import sample_within
from sam2_plugins.core.model.sam2 import ImageFeatures
from sam2_plugins.core.motion import TRUST
from sam2_plugins.core.transforms import tensor_to_lab
from sam2_plugins.core.windows import Window

LABEL_REACH = 5
"""How many frames back cells are asked."""
_REACH = 4
"""Stride-8 cells, from where the object's middle would lead, within which a cell is looked for."""
_BLOCK = 8
"""Side, in cells, of the blocks that are compared at once."""
_MANY = 700
"""Cells that ask, from which on blocks pay: fewer are compared with all of the region at once."""
_MOST_ALIKE = 8
"""Cells whose labels are taken."""
_TEMPERATURE = 0.1
"""Squared distance by which a cell counts 1 / e of another."""
_COLOUR_WEIGHT = 0.4
"""Of squared distances of colours, where each level of features has 1."""
_FAVOUR = 0.3
"""Squared distance by which cells that a person has judged count as more alike than they are."""
_SHARE = 0.7
"""Of what the cells say; the rest is the carried mask."""
_LEAST_CELLS = 10
"""Of an object. Of a smaller one all cells are half of something else, and what is drawn anew of it
seldom agrees even if it is known: 8 clips of nuclei that move had 0.737 where the object is seen
with it, and 0.754 without, as before labels were taken."""


class LabelledView(NamedTuple):
    """A frame whose cells are labelled.

    Attributes:
        cells: (1, C, S / 8, S / 8), from `describe_cells`.
        logits: (1, 1, S / 4, S / 4), low-res mask logits.
        window: What was looked through.
    """

    cells: Tensor
    logits: Tensor
    window: Window


def describe_cells(picture: Tensor, features: ImageFeatures) -> Tensor:
    """What cells are compared by: what the encoder sees, and colours.

    Args:
        picture: (3, S, S), the model's input.
        features: Of it, B = 1.

    Returns:
        (1, C, S / 8, S / 8) float16, as many are kept; each level of features has unit length.
    """
    side = picture.shape[-1] // 8
    colours = tensor_to_lab(picture, side=side)
    seen = torch.from_numpy(colours).permute(2, 0, 1)[None].to(features.stride_8.device)
    parts = [seen * _COLOUR_WEIGHT**0.5]
    for level in (features.stride_4, features.stride_8, features.stride_16):
        how = "area" if level.shape[-1] > side else "bilinear"
        level = functional.interpolate(level.float(), size=(side, side), mode=how)
        parts.append(functional.normalize(level - level.mean((2, 3), keepdim=True), dim=1))
    return torch.cat(parts, 1).half()


def has_cells_enough(logits: Tensor) -> bool:
    """Whether an object is told by its cells; logits (1, 1, S / 4, S / 4) are its low-res ones."""
    return int((logits > 0).sum()) >= 4 * _LEAST_CELLS


def propagate_labels(
    now: LabelledView, earlier: Sequence[LabelledView], *, start: LabelledView
) -> Tensor:
    """Move a carried mask towards what its cells, and those near it, are most like.

    Args:
        now: The frame, with the mask that was carried there.
        earlier: Frames just before, with what was found there.
        start: The frame where a person has said what the object is.

    Returns:
        (1, 1, S / 4, S / 4), the carried mask after it; far from the mask nothing changes.
    """
    side = now.cells.shape[-1]
    coarse = functional.interpolate(now.logits, size=(side, side), mode="area")
    rows, columns = _asking(coarse[0, 0] > 0)
    if not len(rows):
        return now.logits
    part = _part_around(rows, columns, side)
    asking = now.cells[0][(..., *part.slices)].float()
    down, right = rows - part.rows.start, columns - part.columns.start
    ours = asking[:, down, right].T
    lengths = ours.square().sum(1, keepdim=True)
    near = _near(down, right, part.size)
    blocks = _Blocks(asking, down, right) if len(rows) >= _MANY else None
    alike, labels = [], []
    for view in (*earlier, start):
        cells, said, is_seen = _laid_on(now, view, part)
        squares = cells.square().sum(0)[near.places]
        if blocks is None:
            products = (ours @ cells).gather(1, near.places)
        else:
            products = blocks.products(cells)
        distance = lengths + squares - 2 * products
        is_known = near.is_within & is_seen[near.places]
        favour = _FAVOUR if view is start else 0.0
        alike.append((favour - distance).masked_fill(~is_known, -torch.inf))
        labels.append(said[near.places])
    best, places = torch.cat(alike, 1).topk(_MOST_ALIKE, 1)
    # A cell whose surroundings no frame has shown takes no label.
    weights = torch.nan_to_num(torch.softmax(best / _TEMPERATURE, 1))
    told = (weights * torch.cat(labels, 1).gather(1, places)).sum(1)
    limited = now.logits.clamp(-TRUST, TRUST)
    change = torch.zeros_like(coarse)
    is_told = weights.sum(1)
    change[0, 0, rows, columns] = told - is_told * coarse.clamp(-TRUST, TRUST)[0, 0, rows, columns]
    change = functional.interpolate(change, size=limited.shape[-2:], mode="bilinear")
    moved = (limited + _SHARE * change).clamp(-TRUST, TRUST)
    return torch.where(change != 0, moved, now.logits)


class _Part(NamedTuple):
    """The part of a map of cells where those are that may be asked.

    Attributes:
        rows: Of the map.
        columns: Likewise.
    """

    rows: range
    columns: range

    @property
    def size(self) -> tuple[int, int]:
        """(h, w), in cells."""
        return len(self.rows), len(self.columns)

    @property
    def slices(self) -> tuple[slice, slice]:
        """What to index a map with."""
        return slice(self.rows.start, self.rows.stop), slice(self.columns.start, self.columns.stop)


class _Near(NamedTuple):
    """Cells near each of N that ask.

    Attributes:
        places: (N, K), in the flattened part; where there is no such cell, of any other.
        is_within: (N, K), whether there is.
    """

    places: Tensor
    is_within: Tensor


class _Blocks:
    """Products of cells that ask with those near them, block by block.

    All of a block's cells with all that are near any of them is more than is wanted, and yet much
    faster than each cell with its own: it is one product of matrices.

    Args:
        asking: (C, h, w), part of a map.
        rows: (N,), of the cells of it that ask.
        columns: Likewise.
    """

    def __init__(self, asking: Tensor, rows: Tensor, columns: Tensor) -> None:
        self._size = height, width = asking.shape[1:]
        self._rest = (-width % _BLOCK, -height % _BLOCK)
        padded = functional.pad(asking, (0, self._rest[0], 0, self._rest[1]))
        num_across = padded.shape[-1] // _BLOCK
        of_cell = rows // _BLOCK * num_across + columns // _BLOCK
        used, which = torch.unique(of_cell, return_inverse=True)
        self._down, self._right = used // num_across, used % num_across
        self._asking = self._used(padded, _BLOCK).mT.contiguous()
        self._cell = which * _BLOCK**2 + rows % _BLOCK * _BLOCK + columns % _BLOCK
        down, right = _disc().to(rows.device).T + _REACH
        side = _BLOCK + 2 * _REACH
        self._places = (rows[:, None] % _BLOCK + down) * side + columns[:, None] % _BLOCK + right

    def products(self, cells: Tensor) -> Tensor:
        """(N, K) with each cell near one that asks, as `_near` has them; 0 where there is none.

        Args:
            cells: (C, h * w), the same part of another map.
        """
        right, below = self._rest
        around = cells.unflatten(1, self._size)
        padded = functional.pad(around, (_REACH, _REACH + right, _REACH, _REACH + below))
        blocks = self._used(padded, _BLOCK + 2 * _REACH)
        return torch.bmm(self._asking, blocks).flatten(0, 1)[self._cell].gather(1, self._places)

    def _used(self, padded: Tensor, side: int) -> Tensor:
        """(B, C, side * side) of the blocks in which a cell asks, and of what is around them."""
        blocks = padded.unfold(1, side, _BLOCK).unfold(2, side, _BLOCK)
        return blocks[:, self._down, self._right].flatten(2).transpose(0, 1)


def _asking(is_object: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns (N,) of cells that are on a mask (h, w) or within reach of it."""
    grown = cv2.dilate(is_object.cpu().numpy().astype(np.uint8), np.ones((2 * _REACH + 1,) * 2))
    rows, columns = np.nonzero(grown)
    device = is_object.device
    return torch.from_numpy(rows).to(device), torch.from_numpy(columns).to(device)


def _part_around(rows: Tensor, columns: Tensor, side: int) -> _Part:
    """Cells of a map (side, side), and all within reach of them."""
    ends = (
        range(max(int(places.min()) - _REACH, 0), min(int(places.max()) + _REACH + 1, side))
        for places in (rows, columns)
    )
    return _Part(*ends)


def _near(rows: Tensor, columns: Tensor, size: tuple[int, int]) -> _Near:
    """The cells within reach of others, on a map (h, w)."""
    height, width = size
    down, right = _disc().to(rows.device).T
    rows, columns = rows[:, None] + down, columns[:, None] + right
    is_within = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return _Near(rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1), is_within)


@cache
def _disc() -> Tensor:
    """Offsets (K, 2) of the cells within reach."""
    offsets = np.arange(-_REACH, _REACH + 1)
    return torch.from_numpy(np.argwhere(np.hypot(offsets[:, None], offsets) <= _REACH) - _REACH)


def _laid_on(now: LabelledView, view: LabelledView, part: _Part) -> tuple[Tensor, Tensor, Tensor]:
    """Part of a view as seen through today's window, the middles of both masks on each other.

    Returns:
        (C, h * w) of what its cells look like, (h * w,) logits, and (h * w,) whether it shows them.
    """
    here, there = (middle_of(seen.logits, seen.window) for seen in (now, view))
    offset = np.zeros(2) if here is None or there is None else there - here
    side = now.cells.shape[-1]
    windows = now.window, view.window
    grid = cells_before(part.rows, part.columns, side, windows=windows, offset=offset)
    grid = grid.to(now.logits.device)
    cells = sample_within(view.cells.float(), grid)[0].flatten(1)
    logits = view.logits.to(now.logits.device).float().clamp(-TRUST, TRUST)
    return cells, sample_within(logits, grid).flatten(), (grid.abs() <= 1).all(-1).flatten()
