"""Results of an evaluation: one row per object and method, means with intervals, files."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sam2_plugins import __version__
from sam2_plugins.core.evaluation.metrics import nan_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Evaluation", "Interval", "ScoreRow"]

_MIN_SEQUENCES = 10  # below, sequences are too few to be drawn at random, objects are drawn


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One object, measured.

    Attributes:
        sequence: Name of the video, volume or image.
        object_id: Id in the annotation.
        method: What made the masks: `sam2`, `copy` or `flow`; for images the prompt.
        metrics: Name -> value; NaN where there is nothing to measure.
    """

    sequence: str
    object_id: int
    method: str
    metrics: Mapping[str, float]


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


@dataclass(frozen=True)
class Evaluation:
    """All rows of one run, with what is needed to repeat it.

    Attributes:
        protocol: `vos` or `image`.
        rows: One per object and method.
        headline: The metric to look at first.
        options: The protocol's options.
        model: Hash of the weights; "" when no model of ours was run.
        seconds: Method -> seconds spent in it, or what else was timed.
        version: Version of this package.
    """

    protocol: str
    rows: tuple[ScoreRow, ...]
    headline: str
    options: Mapping[str, object]
    model: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    version: str = __version__

    @property
    def methods(self) -> list[str]:
        """Methods, in the order of the rows."""
        return list(dict.fromkeys(row.method for row in self.rows))

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, the headline first."""
        names = dict.fromkeys(name for row in self.rows for name in row.metrics)
        return [self.headline, *(name for name in names if name != self.headline)]

    def mean(self, method: str, metric: str | None = None) -> float:
        """Mean over all objects that are not NaN; NaN without any.

        Args:
            method: One of `methods`.
            metric: One of `metrics`; None for the headline.

        Raises:
            KeyError: There is no such method or metric.
        """
        return nan_mean(value for _, value in self._values(method, metric))

    def interval(
        self, method: str, metric: str | None = None, *, num_samples: int = 2000, seed: int = 0
    ) -> Interval:
        """Mean and 95 % bootstrap interval (percentiles).

        Whole sequences are drawn when there are at least ten, because objects of one sequence
        resemble each other; else objects, and the interval then says nothing about other videos.

        Args:
            method: One of `methods`.
            metric: One of `metrics`; None for the headline.
            num_samples: Number of draws.
            seed: Of the random numbers.
        """
        values = [(name, value) for name, value in self._values(method, metric) if value == value]
        names = sorted({name for name, _ in values})
        unit = "sequence" if len(names) >= _MIN_SEQUENCES else "object"
        if not values:
            return Interval(float("nan"), float("nan"), float("nan"), 0, unit)
        if unit == "sequence":
            grouped = [[value for name, value in values if name == own] for own in names]
        else:
            grouped = [[value] for _, value in values]
        sums, counts = np.array([sum(g) for g in grouped]), np.array([len(g) for g in grouped])
        draws = np.random.default_rng(seed).integers(len(grouped), size=(num_samples, len(grouped)))
        means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
        low, high = np.percentile(means, [2.5, 97.5])
        mean = float(sums.sum() / counts.sum())
        return Interval(mean, float(low), float(high), len(values), unit)

    def by_sequence(self, method: str, metric: str | None = None) -> dict[str, float]:
        """Mean over the objects of each sequence."""
        values = self._values(method, metric)
        return {
            name: nan_mean(value for own, value in values if own == name)
            for name in dict.fromkeys(name for name, _ in values)
        }

    def _values(self, method: str, metric: str | None) -> list[tuple[str, float]]:
        metric = self.headline if metric is None else metric
        if method not in self.methods:
            raise KeyError(f"no method {method!r}; methods are {self.methods}")
        if metric not in self.metrics:
            raise KeyError(f"no metric {metric!r}; metrics are {self.metrics}")
        return [
            (row.sequence, row.metrics.get(metric, float("nan")))
            for row in self.rows
            if row.method == method
        ]

    def to_json(self) -> str:
        """Everything as JSON; NaN becomes null."""
        content = {
            "protocol": self.protocol,
            "version": self.version,
            "model": self.model,
            "machine": platform.machine(),
            "torch": torch.__version__,
            "options": dict(self.options),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "headline": self.headline,
            "summary": {
                method: {name: asdict(self.interval(method, name)) for name in self.metrics}
                for method in self.methods
            },
            "rows": [
                {
                    "sequence": row.sequence,
                    "object_id": row.object_id,
                    "method": row.method,
                    **row.metrics,
                }
                for row in self.rows
            ],
        }
        return json.dumps(_without_nan(content), indent=1, default=str)

    def to_markdown(self) -> str:
        """Tables of the means, of the headline by sequence, and the options below."""
        metrics = [name for name in self.metrics if name not in ("num_frames", "area")]
        head = f"{self.headline} (95 % interval)"
        has_seconds = self.seconds.keys() >= set(self.methods)
        lines = _table_head(["method", head, *metrics[1:], "objects", *["seconds"] * has_seconds])
        for method in self.methods:
            interval = self.interval(method)
            ends = f" ({interval.low:.3f}-{interval.high:.3f})" if interval.count else ""
            cells = [_number(interval.mean) + ends]
            cells += [_number(self.mean(method, name)) for name in metrics[1:]]
            cells.append(str(interval.count))
            cells += [f"{self.seconds[method]:.1f}"] if has_seconds else []
            lines.append(f"| {method} | {' | '.join(cells)} |")
        by_method = {method: self.by_sequence(method) for method in self.methods}
        names = list(dict.fromkeys(row.sequence for row in self.rows))
        if 1 < len(names) <= 100:
            lines += ["", *_table_head(["sequence", *self.methods])]
            for name in names:
                cells = [_number(by_method[m].get(name, float("nan"))) for m in self.methods]
                lines.append(f"| {name} | {' | '.join(cells)} |")
        options = ", ".join(f"{name} {value}" for name, value in self.options.items())
        model = f"model {self.model or 'none'}"
        lines += ["", f"Protocol {self.protocol}: {options}; {model}; sam2-plugins {self.version}."]
        return "\n".join(lines) + "\n"

    def save(self, folder: str | Path) -> Path:
        """Writes `evaluation.json` and `evaluation.md` into a folder, made if missing."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (
            ("evaluation.json", self.to_json()),
            ("evaluation.md", self.to_markdown()),
        ):
            scratch = folder / f".{name}.part"
            scratch.write_text(text, encoding="utf-8")
            scratch.replace(folder / name)
        return folder


def _number(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:.3f}"


def _table_head(names: list[str]) -> list[str]:
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
