"""Connected regions of masks: holes, specks, contours and measurements, on any device.

Pixels that touch by an edge or by a corner belong to one region (8-connectivity), for the object
and for the background alike, as SAM 2 counts them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from skimage import measure

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "contours",
    "distances_inside",
    "fill_holes",
    "fill_mask_holes",
    "largest_component",
    "region_properties",
    "remove_small_components",
]

_EIGHT_CONNECTED = np.ones((3, 3), dtype=np.bool_)
_FILLED_LOGIT = 0.1  # just inside the object, so that a later click can still undo it
_MEASURES = (
    "area",
    "centroid_x",
    "centroid_y",
    "x0",
    "y0",
    "x1",
    "y1",
    "num_components",
    "perimeter",
    "equivalent_diameter",
    "major_axis",
    "minor_axis",
    "orientation",
    "eccentricity",
    "solidity",
)


def distances_inside(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How far inside a mask each pixel is: beyond the edge of the picture is outside.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) float64, the distance in pixels to the nearest one outside, 0 where it is outside.
    """
    return np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1])


def fill_holes(logits: torch.Tensor, max_area: int) -> torch.Tensor:
    """Fills small background regions of mask logits.

    Args:
        logits: (..., h, w) float on any device, > 0 is object; each mask by itself.
        max_area: Background regions of at most this many pixels become +0.1, also at the border.

    Returns:
        Same shape, dtype and device; the very same tensor when there is nothing to fill.
    """
    if max_area < 1 or logits.numel() == 0:
        return logits
    holes = _small_background((logits > 0).cpu().numpy(), max_area)
    if holes is None:
        return logits
    filled = logits.new_tensor(_FILLED_LOGIT)
    return torch.where(torch.from_numpy(holes).to(logits.device), filled, logits)


def fill_mask_holes(masks: NDArray[np.bool_], max_area: int) -> NDArray[np.bool_]:
    """Fills background regions of at most `max_area` pixels.

    Args:
        masks: (..., H, W) bool, each mask by itself.
        max_area: In pixels; below 1 nothing is filled.

    Returns:
        Same shape; the very same array when there is nothing to fill.
    """
    holes = _small_background(masks, max_area) if max_area >= 1 else None
    return masks if holes is None else masks | holes


def _small_background(masks: NDArray[np.bool_], max_area: int) -> NDArray[np.bool_] | None:
    """Background regions of at most `max_area` pixels, (..., H, W) bool; None when none exist."""
    holes: NDArray[np.bool_] | None = None
    for index in np.ndindex(masks.shape[:-2]):
        window, ring = _hole_window(masks[index], max_area)
        regions, num_regions = ndimage.label(~masks[index][window], _EIGHT_CONNECTED)
        is_small = np.bincount(regions.ravel(), minlength=num_regions + 1) <= max_area
        is_small[0] = False
        for side in ring:
            is_small[regions[side]] = False
        if is_small.any():
            holes = np.zeros_like(masks) if holes is None else holes
            holes[index][window] = is_small[regions]
    return holes


def _hole_window(
    mask: NDArray[np.bool_], max_area: int
) -> tuple[tuple[slice, slice], list[tuple[slice | int, slice | int]]]:
    """Where small holes can be: the object's box, and the lines around it that are inside.

    Background beyond the box fills whole rows or columns of the image and is therefore no small
    region, unless the image itself is no larger than a hole: then all of it is searched.
    """
    everything = slice(None)
    if min(mask.shape) <= max_area:
        return (everything, everything), []
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return (slice(0), slice(0)), []
    window: list[slice] = []
    ring: list[tuple[slice | int, slice | int]] = []
    for axis, lines in enumerate((rows, columns)):
        start, stop = int(lines[0]), int(lines[-1]) + 1
        edges = [0] * (start > 0) + [-1] * (stop < mask.shape[axis])
        ring += [(edge, everything) if axis == 0 else (everything, edge) for edge in edges]
        window.append(slice(max(start - 1, 0), stop + 1))
    return (window[0], window[1]), ring


def remove_small_components(masks: NDArray[np.bool_], min_area: int) -> NDArray[np.bool_]:
    """Removes specks: regions of an object with fewer than `min_area` pixels.

    Args:
        masks: (..., H, W) bool, each mask by itself.
        min_area: In pixels; a mask whose regions are all smaller becomes empty.

    Returns:
        Same shape; the very same array when `min_area` is at most 1.
    """
    if min_area <= 1:
        return masks
    kept = np.zeros_like(masks)
    for index in np.ndindex(masks.shape[:-2]):
        regions, num_regions = ndimage.label(masks[index], _EIGHT_CONNECTED)
        is_kept = np.bincount(regions.ravel(), minlength=num_regions + 1) >= min_area
        is_kept[0] = False
        kept[index] = is_kept[regions]
    return kept


def largest_component(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keeps the largest region of each mask; of equal ones the first in reading order.

    Args:
        masks: (..., H, W) bool, each mask by itself.

    Returns:
        Same shape; an empty mask stays empty.
    """
    kept = np.zeros_like(masks)
    for index in np.ndindex(masks.shape[:-2]):
        regions, num_regions = ndimage.label(masks[index], _EIGHT_CONNECTED)
        if num_regions:
            kept[index] = regions == 1 + np.bincount(regions.ravel())[1:].argmax()
    return kept


def contours(mask: NDArray[np.bool_]) -> list[NDArray[np.float32]]:
    """Closed outlines of a mask, outer ones and those of its holes.

    Args:
        mask: (H, W) bool. Objects that reach the border are closed along it.

    Returns:
        One (N, 2) float32 array of (x, y) per outline, first point = last point, in pixels with
        whole numbers at pixel centres: the outline of pixel (3, 5) runs from 2.5 to 3.5 in x.
    """
    outlines = measure.find_contours(  # type: ignore[no-untyped-call]
        np.pad(mask, 1).astype(np.float32), 0.5
    )
    return [(outline[:, ::-1] - 1).astype(np.float32) for outline in outlines]


def region_properties(
    masks: NDArray[np.bool_], *, intensity: NDArray[np.generic] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Measures masks, one row per mask.

    Args:
        masks: (B, H, W) bool. A mask of several parts is measured as one object.
        intensity: (H, W) image; adds mean_, min_ and max_intensity.

    Returns:
        Column name -> (B,) float64. Lengths in pixels; x0, y0, x1, y1 half-open; orientation in
        radians from the row axis, counter-clockwise. An empty mask has area and num_components 0
        and NaN elsewhere.
    """
    names = list(_MEASURES)
    if intensity is not None:
        names += ["mean_intensity", "min_intensity", "max_intensity"]
    table = {name: np.full(len(masks), np.nan) for name in names}
    for row, mask in enumerate(masks):
        measured = _measure(mask, intensity) if mask.any() else {"area": 0.0, "num_components": 0.0}
        for name, value in measured.items():
            table[name][row] = value
    return table


def _measure(mask: NDArray[np.bool_], intensity: NDArray[np.generic] | None) -> dict[str, float]:
    region = measure.regionprops(  # type: ignore[no-untyped-call]
        mask.astype(np.uint8), intensity_image=intensity
    )[0]
    y0, x0, y1, x1 = region.bbox
    values = {
        "area": region.area,
        "centroid_x": region.centroid[1],
        "centroid_y": region.centroid[0],
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "num_components": ndimage.label(region.image, _EIGHT_CONNECTED)[1],
        "perimeter": region.perimeter,
        "equivalent_diameter": region.equivalent_diameter_area,
        "major_axis": region.axis_major_length,
        "minor_axis": region.axis_minor_length,
        "orientation": region.orientation,
        "eccentricity": region.eccentricity,
        "solidity": region.solidity,
    }
    if intensity is not None:
        values |= {
            "mean_intensity": region.intensity_mean,
            "min_intensity": region.intensity_min,
            "max_intensity": region.intensity_max,
        }
    return {name: float(value) for name, value in values.items()}
