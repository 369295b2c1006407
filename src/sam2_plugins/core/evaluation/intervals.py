"""A mean and how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NUM_SAMPLES", "Interval", "bootstrap"]

NUM_SAMPLES = 2000
_MIN_SEQUENCES = 10  # below, sequences are too few to be drawn at random, objects are drawn


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its bootstrap interval.

    Attributes:
        mean: Mean over objects; NaN without any.
        low: Lower end.
        high: Upper end.
        count: Number of objects that are not NaN.
        unit: What was drawn at random: `sequence` or `object`.
    """

    mean: float
    low: float
    high: float
    count: int
    unit: str


def bootstrap(
    values: Iterable[tuple[str, float]], *, num_samples: int = NUM_SAMPLES, seed: int = 0
) -> Interval:
    """Mean and 95 % interval of (sequence, value) pairs; NaN values are left out."""
    known = [(name, value) for name, value in values if value == value]
    names = sorted({name for name, _ in known})
    unit = "sequence" if len(names) >= _MIN_SEQUENCES else "object"
    if not known:
        return Interval(float("nan"), float("nan"), float("nan"), 0, unit)
    if unit == "sequence":
        grouped = [[value for name, value in known if name == own] for own in names]
    else:
        grouped = [[value] for _, value in known]
    sums, counts = np.array([sum(g) for g in grouped]), np.array([len(g) for g in grouped])
    draws = np.random.default_rng(seed).integers(len(grouped), size=(num_samples, len(grouped)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high), len(known), unit)
