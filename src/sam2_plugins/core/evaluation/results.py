"""Results of an evaluation: means with intervals, by group and by sequence, and files."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sam2_plugins import __version__
from sam2_plugins.core.evaluation.charts import draw_evaluation
from sam2_plugins.core.evaluation.intervals import NUM_SAMPLES, Interval, bootstrap
from sam2_plugins.core.evaluation.metrics import nan_mean
from sam2_plugins.core.evaluation.tables import to_csv, to_markdown

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sam2_plugins.core.evaluation.rows import ScoreRow

__all__ = ["Evaluation"]


@dataclass(frozen=True)
class Evaluation:
    """All rows of one run, with what is needed to repeat it.

    Attributes:
        protocol: `vos`, `interactive` or `image`.
        rows: One per object and method.
        headline: The metric to look at first.
        options: The protocol's options.
        model: Hash of the weights; "" when no model of ours was run.
        seconds: Method -> seconds spent in it, or what else was timed.
        version: Version of this package.
        data: Signature of the data: changes when pixels or truth do.
        seed: Of the random draws of the intervals; nothing else is random.
        by: Attributes whose groups the tables show.
    """

    protocol: str
    rows: tuple[ScoreRow, ...]
    headline: str
    options: Mapping[str, object]
    model: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    version: str = __version__
    data: str = ""
    seed: int = 0
    by: tuple[str, ...] = ()

    @property
    def methods(self) -> list[str]:
        """Methods, in the order of the rows."""
        return list(dict.fromkeys(row.method for row in self.rows))

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, the headline first."""
        names = dict.fromkeys(name for row in self.rows for name in row.metrics)
        return [self.headline, *(name for name in names if name != self.headline)]

    @property
    def sequences(self) -> list[str]:
        """Names of the sequences, in the order of the rows."""
        return list(dict.fromkeys(row.sequence for row in self.rows))

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
        self,
        method: str,
        metric: str | None = None,
        *,
        num_samples: int = NUM_SAMPLES,
        seed: int | None = None,
    ) -> Interval:
        """Mean and 95 % bootstrap interval (percentiles).

        Whole sequences are drawn when there are at least ten, because objects of one sequence
        resemble each other; else objects, and the interval then says nothing about other videos.

        Args:
            method: One of `methods`.
            metric: One of `metrics`; None for the headline.
            num_samples: Number of draws.
            seed: Of the random numbers; the run's if not given.
        """
        seed = self.seed if seed is None else seed
        return bootstrap(self._values(method, metric), num_samples=num_samples, seed=seed)

    def by_group(
        self, attribute: str, method: str, metric: str | None = None
    ) -> dict[str, Interval]:
        """Mean and interval of each group of objects; those without the attribute are in none.

        Args:
            attribute: Such as `size`.
            method: One of `methods`.
            metric: One of `metrics`; None for the headline.

        Raises:
            KeyError: No object has the attribute.
        """
        metric = self._known_metric(method, metric)
        rows = [r for r in self.rows if r.method == method and attribute in r.attributes]
        if not rows:
            raise KeyError(f"no attribute {attribute!r}; attributes are {self.attributes}")
        return {
            value: bootstrap(
                (
                    (row.sequence, row.metrics.get(metric, float("nan")))
                    for row in rows
                    if row.attributes[attribute] == value
                ),
                seed=self.seed,
            )
            for value in sorted({row.attributes[attribute] for row in rows})
        }

    @property
    def attributes(self) -> list[str]:
        """Names of the attributes that objects can be grouped by."""
        return list(dict.fromkeys(name for row in self.rows for name in row.attributes))

    def overall_g(self, method: str) -> dict[str, float]:
        """YouTube-VOS: J and F of seen and of unseen categories, and G, the mean of the four.

        All NaN where objects do not say whether their category was `seen`.
        """
        parts = {
            f"{metric}_{name}": nan_mean(
                row.metrics.get(metric, float("nan"))
                for row in self.rows
                if row.method == method and row.attributes.get("seen") == value
            )
            for name, value in (("seen", "yes"), ("unseen", "no"))
            for metric in ("j", "f")
        }
        return {"g": float(np.mean(list(parts.values()))), **parts}

    def with_seen(self, categories: Collection[str]) -> Evaluation:
        """The same with an attribute `seen`, whether an object's category is one of these.

        Raises:
            ValueError: No object has a category.
        """
        if "category" not in self.attributes:
            raise ValueError("objects have no categories; expected meta.json beside Annotations")
        rows = []
        for row in self.rows:
            own = dict(row.attributes)
            if "category" in own:
                own["seen"] = "yes" if own["category"] in categories else "no"
            rows.append(replace(row, attributes=own))
        return replace(self, rows=tuple(rows))

    def by_sequence(self, method: str, metric: str | None = None) -> dict[str, float]:
        """Mean over the objects of each sequence."""
        values = self._values(method, metric)
        return {
            name: nan_mean(value for own, value in values if own == name)
            for name in dict.fromkeys(name for name, _ in values)
        }

    def _known_metric(self, method: str, metric: str | None) -> str:
        metric = self.headline if metric is None else metric
        if method not in self.methods:
            raise KeyError(f"no method {method!r}; methods are {self.methods}")
        if metric not in self.metrics:
            raise KeyError(f"no metric {metric!r}; metrics are {self.metrics}")
        return metric

    def _values(self, method: str, metric: str | None) -> list[tuple[str, float]]:
        metric = self._known_metric(method, metric)
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
            "data": self.data,
            "seed": self.seed,
            "machine": platform.machine(),
            "torch": torch.__version__,
            "options": dict(self.options),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "headline": self.headline,
            "summary": {
                method: {name: asdict(self.interval(method, name)) for name in self.metrics}
                for method in self.methods
            },
            "groups": {
                name: {
                    method: {key: asdict(i) for key, i in self.by_group(name, method).items()}
                    for method in self.methods
                }
                for name in self.by
            },
            "rows": [
                {
                    "sequence": row.sequence,
                    "object_id": row.object_id,
                    "method": row.method,
                    **row.metrics,
                    **({"attributes": dict(row.attributes)} if row.attributes else {}),
                }
                for row in self.rows
            ],
        }
        if "seen" in self.attributes:
            content["youtube_vos"] = {method: self.overall_g(method) for method in self.methods}
        return json.dumps(_without_nan(content), indent=1, default=str)

    def to_markdown(self) -> str:
        """Tables of the means, of groups and sequences, and the options below."""
        return to_markdown(self)

    def save(self, folder: str | Path) -> Path:
        """Writes `evaluation.json`, `.md`, `.csv` and `.png` into a folder, made if missing."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for ending, data in (
            ("json", self.to_json().encode()),
            ("md", self.to_markdown().encode()),
            ("csv", to_csv(self).encode()),
            ("png", draw_evaluation(self)),
        ):
            scratch = folder / f".evaluation.{ending}.part"
            scratch.write_bytes(data)
            scratch.replace(folder / f"evaluation.{ending}")
        return folder


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
