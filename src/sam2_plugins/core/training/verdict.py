"""Is a model better than another, on data that neither has learnt from?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from sam2_plugins.core.training.measuring import Score

MIN_UNITS = 6
"""Fewer independent units cannot show a change, whatever it is: without one, by chance alone, all
of n units go up with a probability of 2^-n (sign test), which from six on is less than the 2.5 %
that lie above a 95 % interval."""
NUM_DRAWS = 10_000
_TAIL = 0.025
_DECIMALS = 3
"""What is shown: a change that does not show is none."""

Spread = tuple[float, float, float]
"""Mean, low and high."""


@dataclass(frozen=True)
class Comparison:
    """Before and after by one kind of prompt, means with 95 % intervals.

    Of fewer than `MIN_UNITS` units nothing is known but the mean: their intervals are everything
    that is possible.

    Attributes:
        prompt: As in `Score`, or "all".
        num_objects: How many objects were compared.
        before: Mean, low and high of the mean IoU.
        after: Likewise.
        change: Likewise, of after minus before, paired by object.
        num_units: How many independent units the intervals are drawn from.
        unit: What those are: "images", "stacks", "images and stacks" or "objects".
    """

    prompt: str
    num_objects: int
    before: Spread
    after: Spread
    change: Spread
    num_units: int
    unit: str

    @property
    def is_better(self) -> bool:
        """Whether the whole interval of the change, as it is shown, is above zero."""
        return round(self.change[1], _DECIMALS) > 0

    @property
    def is_worse(self) -> bool:
        """Whether the whole interval of the change, as it is shown, is below zero."""
        return round(self.change[2], _DECIMALS) < 0


def compare(before: Sequence[Score], after: Sequence[Score], *, seed: int = 0) -> list[Comparison]:
    """Compare the scores of the same objects; the last comparison is of all prompts together.

    Intervals come from a bootstrap over images and stacks, whose objects belong together; over
    objects where there are fewer than `MIN_UNITS` of the former, and then they say nothing about
    other images. Scores of one object by several prompts are one unit.

    Args:
        before: Of one model.
        after: Of another, in the same order.
        seed: Of the bootstrap.

    Raises:
        ValueError: The scores are of different objects, or there are none.
    """
    keys = [(s.unit, s.object_id, s.prompt) for s in before]
    if not keys or keys != [(s.unit, s.object_id, s.prompt) for s in after]:
        raise ValueError("there is nothing to compare, or not the same objects on both sides")
    pairs = np.array([[a.iou, b.iou] for a, b in zip(before, after, strict=True)])
    prompts = list(dict.fromkeys(s.prompt for s in before))
    rows = {prompt: [i for i, s in enumerate(before) if s.prompt == prompt] for prompt in prompts}
    if len(prompts) > 1:
        rows["all"] = list(range(len(before)))
    return [
        _compare(prompt, pairs[chosen], [before[i] for i in chosen], np.random.default_rng(seed))
        for prompt, chosen in rows.items()
    ]


def independent_units(scores: Sequence[Score]) -> tuple[list[int], str]:
    """Sort scores into units that do not depend on each other.

    Returns:
        The unit of each score, counted from 0, and what the units are.
    """
    names = [score.unit for score in scores]
    if len(set(names)) >= MIN_UNITS:
        kinds = {"stacks" if score.prompt == "track" else "images" for score in scores}
        return _numbered(names), " and ".join(sorted(kinds))
    return _numbered([(score.unit, score.object_id) for score in scores]), "objects"


def explain(comparisons: Sequence[Comparison]) -> str:
    """Say in words what comparisons show, where the last one decides.

    Args:
        comparisons: Of `compare`.
    """
    decides = comparisons[-1]
    if decides.num_units < MIN_UNITS:
        word = (
            f"{decides.num_units} {decides.unit} kept apart cannot show it, at least {MIN_UNITS} "
            "are needed: label more"
        )
    elif decides.is_better:
        word = "the change is more than chance"
    elif decides.is_worse:
        word = "it is worse"
    elif not any(round(value, _DECIMALS) for value in decides.change):
        word = "nothing changed"
    else:
        word = "the change may be chance"
    losses = [
        f"{row.prompt} is worse, {spread(row.change)}" for row in comparisons[:-1] if row.is_worse
    ]
    return "; ".join([word, *losses])


def spread(change: Spread) -> str:
    """A change with its interval, as it is shown."""
    # What rounds to nothing has no sign.
    mean, low, high = (round(value, _DECIMALS) + 0.0 for value in change)
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def _numbered(keys: Sequence[object]) -> list[int]:
    number_of = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return [number_of[key] for key in keys]


def _compare(
    prompt: str, pairs: NDArray[np.float64], scores: Sequence[Score], rng: np.random.Generator
) -> Comparison:
    unit_of, unit = independent_units(scores)
    num_units = max(unit_of) + 1
    before, after = (float(mean) for mean in pairs.mean(0))
    if num_units < MIN_UNITS:
        spreads = ((before, 0.0, 1.0), (after, 0.0, 1.0), (after - before, -1.0, 1.0))
    else:
        means = _drawn_means(pairs, np.array(unit_of), rng)
        tail = _expanded_tail(num_units)
        spreads = (
            _interval(before, means[:, 0], tail),
            _interval(after, means[:, 1], tail),
            _interval(after - before, means[:, 1] - means[:, 0], tail),
        )
    return Comparison(prompt, len(pairs), *spreads, num_units=num_units, unit=unit)


def _interval(mean: float, drawn: NDArray[np.float64], tail: float) -> Spread:
    low, high = np.percentile(drawn, (100 * tail, 100 - 100 * tail))
    return mean, float(low), float(high)


def _drawn_means(
    pairs: NDArray[np.float64], unit_of: NDArray[np.int_], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Means (draws, 2) of scores (N, 2), whose units are drawn with replacement."""
    num_units = int(unit_of.max()) + 1
    sums = np.zeros((num_units, 2))
    np.add.at(sums, unit_of, pairs)
    counts = np.bincount(unit_of)
    draws = rng.integers(num_units, size=(NUM_DRAWS, num_units))
    return np.asarray(sums[draws].sum(1) / counts[draws].sum(1)[:, None])


def _expanded_tail(num_units: int) -> float:
    """The share of draws beyond each end of the interval.

    The plain percentiles are too narrow where there are few units: they miss the spread of n units
    by a factor of sqrt((n - 1) / n), and the normal quantile is less than Student's. Hesterberg
    (What Teachers Should Know About the Bootstrap, The American Statistician 69, 2015) takes
    percentiles that make up for both.
    """
    student = float(stdtrit(num_units - 1, _TAIL))
    return float(ndtr(student * (num_units / (num_units - 1)) ** 0.5))
