"""How a layer lies in the world, and the levels of a pyramid in each other: pure functions."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

ORTHOGONAL_TOLERANCE = 1e-6


def layer_axes(viewer_axes: Sequence[int], viewer_ndim: int, layer_ndim: int) -> list[int]:
    """A layer's own numbers of a viewer's axes: the last axes are shared; others are negative."""
    return [int(axis) - (viewer_ndim - layer_ndim) for axis in viewer_axes]


def is_sliced_straight(linear: ArrayLike, displayed: Sequence[int]) -> bool:
    """Whether slices of the world are slices of the layer.

    Args:
        linear: (n, n), from data to world.
        displayed: The layer's axes that are displayed.
    """
    matrix = np.asarray(linear, dtype=float)
    shown = np.zeros(len(matrix), dtype=bool)
    shown[list(displayed)] = True
    mixing = (
        np.abs(matrix[np.ix_(shown, ~shown)]).sum() + np.abs(matrix[np.ix_(~shown, shown)]).sum()
    )
    return bool(mixing <= ORTHOGONAL_TOLERANCE * np.abs(matrix).sum())


def level_factors(fine: Sequence[int], coarse: Sequence[int]) -> NDArray[np.float64]:
    """Finest pixels per pixel of a coarser level, along each axis.

    Levels are made by whole factors, and the rest of a side is dropped or filled up: the ratio of
    the sides is the factor only where no such factor explains them.

    Args:
        fine: Shape of the finest level.
        coarse: Shape of the other.
    """
    found = []
    for long, short in zip(fine, coarse, strict=True):
        whole = max(round(long / short), 1)
        is_whole = short in (long // whole, -(-long // whole))
        found.append(float(whole) if is_whole else long / short)
    return np.array(found)


def level_transform(
    scale: ArrayLike, translate: ArrayLike, linear: ArrayLike, factors: ArrayLike
) -> Mapping[str, NDArray[np.float64]]:
    """Scale and translation of a coarser level of a pyramid.

    Args:
        scale: (n,) of the finest level.
        translate: (n,) of the finest level.
        linear: (n, n) of the finest level: rotation, shear and scale.
        factors: (n,) finest pixels per pixel of the level, along each axis.
    """
    step = np.asarray(factors, dtype=float)
    # The centre of the first coarse pixel is the centre of the block of fine pixels it stands for.
    shift = np.asarray(linear, dtype=float) @ ((step - 1) / 2)
    return {"scale": np.asarray(scale) * step, "translate": np.asarray(translate) + shift}
