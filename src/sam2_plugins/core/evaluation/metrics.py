"""How alike two masks are: region similarity J, boundary accuracy F, and their means.

J is the intersection over union. F is the harmonic mean of the shares of each mask's boundary that
lie near the other's, as DAVIS defines them. What is empty on both sides is right: J, F and Dice
are 1. Where there is nothing to average the result is NaN, and NaN never enters another mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from sam2_plugins.core.masks import FrameMasks

__all__ = [
    "FrameScore",
    "MaskletScore",
    "boundary_f",
    "boundary_map",
    "boundary_tolerance",
    "dice",
    "jaccard",
    "mask_of",
    "nan_mean",
    "score_frame",
    "summarise",
]

BOUNDARY_TOLERANCE = 0.008  # of the image diagonal


def mask_of(frame: FrameMasks, object_id: int) -> NDArray[np.bool_]:
    """The object's mask, (H, W) bool, empty when it has none on that frame."""
    rows = np.flatnonzero(frame.object_ids == object_id)
    if len(rows) == 0:
        return np.zeros(frame.masks.shape[1:], np.bool_)
    mask: NDArray[np.bool_] = frame.masks[rows[0]]
    return mask


def jaccard(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """J, the intersection over union of two bool arrays of one shape; 1 when both are empty."""
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


def dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Twice the intersection over the sum of areas, any shape; 1 when both are empty."""
    total = np.count_nonzero(mask) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(mask & truth) / total if total else 1.0


def boundary_map(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels whose right, lower or lower right neighbour is on the other side of the outline.

    This is the one pixel wide boundary of the Berkeley benchmark, half a pixel towards the origin.
    The image border is no boundary.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool.
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return (mask != right) | (mask != below) | (mask != diagonal)


def boundary_tolerance(frame_size: tuple[int, int], fraction: float = BOUNDARY_TOLERANCE) -> int:
    """Distance in pixels up to which two boundary pixels match: a share of the diagonal."""
    return int(np.ceil(fraction * np.hypot(*frame_size)))


def boundary_f(
    mask: NDArray[np.bool_], truth: NDArray[np.bool_], *, tolerance: int | None = None
) -> float:
    """F, the boundary accuracy of DAVIS.

    Precision is the share of the mask's boundary pixels that have one of the truth's within the
    tolerance (a disk around it), recall the reverse; F is their harmonic mean.

    Args:
        mask: (H, W) bool.
        truth: (H, W) bool.
        tolerance: In pixels; None for 0.8 % of the diagonal, rounded up.

    Returns:
        0 to 1; 1 when both have no boundary, 0 when only one has.
    """
    if tolerance is None:
        tolerance = boundary_tolerance((mask.shape[0], mask.shape[1]))
    mask_points = np.argwhere(boundary_map(mask))
    truth_points = np.argwhere(boundary_map(truth))
    if len(mask_points) == 0 or len(truth_points) == 0:
        return float(len(mask_points) == len(truth_points))
    precision = _share_near(mask_points, truth_points, tolerance)
    recall = _share_near(truth_points, mask_points, tolerance)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _share_near(points: NDArray[np.int64], others: NDArray[np.int64], tolerance: int) -> float:
    # the bound ends the search early; it is open, so it lies above the tolerance
    distances, _ = KDTree(others).query(points, distance_upper_bound=tolerance + 0.5)
    return float(np.mean(distances <= tolerance))


@dataclass(frozen=True, slots=True)
class FrameScore:
    """One object on one frame.

    Attributes:
        j: Region similarity.
        f: Boundary accuracy.
        intersection: Pixels in both masks.
        mask_area: Pixels of the prediction.
        truth_area: Pixels of the truth.
    """

    j: float
    f: float
    intersection: int
    mask_area: int
    truth_area: int

    @property
    def is_visible(self) -> bool:
        """Whether the prediction or the truth has a pixel on this frame."""
        return self.mask_area + self.truth_area > 0


def score_frame(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> FrameScore:
    """Scores one object on one frame; both masks (H, W) bool."""
    return FrameScore(
        jaccard(mask, truth),
        boundary_f(mask, truth),
        int(np.count_nonzero(mask & truth)),
        int(np.count_nonzero(mask)),
        int(np.count_nonzero(truth)),
    )


@dataclass(frozen=True, slots=True)
class MaskletScore:
    """One object over its scored frames.

    Attributes:
        num_frames: Number of scored frames.
        j: Mean J over all of them, frames without the object included (1 when rightly empty).
        f: Mean F, likewise.
        j_and_f: Mean of j and f, the number of the DAVIS and SA-V tables.
        visible_j_and_f: The same over frames on which the object is in the truth or in the
            prediction: the stricter number for objects that are absent most of the time, as in
            volumes. NaN when there is no such frame.
        iou: Intersection over union of all frames together, the IoU of a volume.
        dice: Dice of all frames together.
    """

    num_frames: int
    j: float
    f: float
    j_and_f: float
    visible_j_and_f: float
    iou: float
    dice: float


def summarise(scores: Iterable[FrameScore]) -> MaskletScore:
    """Brings an object's frames together; without frames every number is NaN."""
    rows = list(scores)
    if not rows:
        return MaskletScore(0, *[float("nan")] * 6)
    j, f = nan_mean(row.j for row in rows), nan_mean(row.f for row in rows)
    visible = [row for row in rows if row.is_visible]
    intersection = sum(row.intersection for row in rows)
    total = sum(row.mask_area + row.truth_area for row in rows)
    return MaskletScore(
        len(rows),
        j,
        f,
        (j + f) / 2,
        nan_mean((row.j + row.f) / 2 for row in visible),
        intersection / (total - intersection) if total else 1.0,
        2 * intersection / total if total else 1.0,
    )


def nan_mean(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN when there are none."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
