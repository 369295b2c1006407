"""What napari's history says of strokes by hand: pixels, and labels that were there and are."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.napari_plugin.layers import Plane

Place = tuple[Plane, int]


def labels_by_frame(strokes: Iterable[Sequence[Any]], plane: Plane) -> dict[Place, set[int]]:
    """Labels that strokes took away and put down, by the frame where they did.

    A brush of more than two dimensions draws on several frames.

    Args:
        strokes: Of napari's history.
        plane: On show; where other axes are painted across, others like it are told of too.
    """
    found: dict[Place, set[int]] = {}
    for stroke in strokes:
        indices, old, new = _pixels(stroke, plane.shape)
        walked = np.zeros_like(old, int) if plane.frame_axis is None else indices[plane.frame_axis]
        held = np.stack([*(indices[axis] for axis, _ in plane.fixed), walked], axis=1)
        frames, numbers = np.unique(held, axis=0, return_inverse=True)
        for number, (*fixed, frame_index) in enumerate(frames.tolist()):
            axes = (axis for axis, _ in plane.fixed)
            here = replace(plane, fixed=tuple(zip(axes, fixed, strict=True)))
            is_here = numbers.reshape(-1) == number
            labels = found.setdefault((here, frame_index), set())
            labels |= {int(i) for i in (*np.unique(old[is_here]), *np.unique(new[is_here]))}
    return found


def is_drawn(data: Any, stroke: Sequence[Any]) -> bool:
    """Whether the pixels are what a stroke of napari's history made them."""
    where, *mask, _, new = stroke
    pixels = np.asarray(data[where])
    if mask and mask[0] is not None:
        pixels = pixels[mask[0]]
    return bool(np.all(pixels == new))


def _pixels(
    stroke: Sequence[Any], shape: Sequence[int]
) -> tuple[list[NDArray[Any]], NDArray[Any], NDArray[Any]]:
    """Where a stroke changed pixels, (n,) per axis, and their labels (n,) before and after.

    napari notes indices, or since 0.9 a box, with a mask where not all of it was changed.
    """
    where, *mask, old, new = stroke
    old = np.ravel(old)
    if any(isinstance(part, slice) for part in where):
        ranges = [
            np.arange(side)[part] if isinstance(part, slice) else np.atleast_1d(part)
            for part, side in zip(where, shape, strict=True)
        ]
        lengths = [len(part) for part in ranges]
        is_changed = np.ones(math.prod(lengths), bool)
        if mask and mask[0] is not None:
            is_changed = np.ravel(mask[0])
        inside = np.unravel_index(np.flatnonzero(is_changed), lengths)
        indices = [part[i] for part, i in zip(ranges, inside, strict=True)]
    else:
        indices = [np.ravel(part) for part in where]
    return indices, old, np.broadcast_to(np.ravel(new), old.shape)
