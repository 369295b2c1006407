"""Results as text: Markdown tables for people, CSV for other programs."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sam2_plugins.core.evaluation.intervals import Interval
    from sam2_plugins.core.evaluation.results import Evaluation

__all__ = ["to_csv", "to_markdown"]

_MAX_SEQUENCES = 100
_NOT_MEANS = ("num_frames", "area")


def to_markdown(evaluation: Evaluation) -> str:
    """Tables of the means, of groups and sequences, and below them what was run."""
    lines = _means(evaluation)
    if evaluation.protocol == "interactive":
        lines += ["", *_rounds(evaluation)]
    if "seen" in evaluation.attributes:
        lines += ["", *_youtube(evaluation)]
    for attribute in evaluation.by:
        lines += ["", *_groups(evaluation, attribute)]
    if 1 < len(evaluation.sequences) <= _MAX_SEQUENCES:
        lines += ["", *_by_sequence(evaluation)]
    options = ", ".join(f"{name} {value}" for name, value in evaluation.options.items())
    lines += [
        "",
        f"Protocol {evaluation.protocol}: {options}; model {evaluation.model or 'none'}; data "
        f"{evaluation.data or 'unknown'}; seed {evaluation.seed}; sam2-plugins "
        f"{evaluation.version}.",
    ]
    return "\n".join(lines) + "\n"


def to_csv(evaluation: Evaluation) -> str:
    """One line per object and method: attributes, then metrics."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    attributes, metrics = evaluation.attributes, evaluation.metrics
    writer.writerow(["sequence", "object", "method", *attributes, *metrics])
    for row in evaluation.rows:
        values = [row.metrics.get(name, float("nan")) for name in metrics]
        writer.writerow(
            [
                *(row.sequence, row.object_id, row.method),
                *(row.attributes.get(name, "") for name in attributes),
                *("" if np.isnan(value) else f"{value:.6g}" for value in values),
            ]
        )
    return text.getvalue()


def _means(evaluation: Evaluation) -> list[str]:
    # the points of curves (`j_and_f@3`) are in the CSV file and in the picture
    metrics = [n for n in evaluation.metrics if n not in _NOT_MEANS and not re.search(r"@\d", n)]
    has_seconds = evaluation.seconds.keys() >= set(evaluation.methods)
    head = f"{evaluation.headline} (95 % interval)"
    lines = _head(["method", head, *metrics[1:], "objects", *["seconds"] * has_seconds])
    for method in evaluation.methods:
        interval = evaluation.interval(method)
        cells = [method, _with_ends(interval)]
        cells += [_number(evaluation.mean(method, name)) for name in metrics[1:]]
        cells.append(str(interval.count))
        cells += [f"{evaluation.seconds[method]:.1f}"] if has_seconds else []
        lines.append(_line(cells))
    return lines


def _rounds(evaluation: Evaluation) -> list[str]:
    """J&F after each frame with clicks, and how long that took."""
    rounds = [n.partition("@")[2] for n in evaluation.metrics if n.startswith("j_and_f@")]
    lines = _head(["frames with clicks", *rounds])
    for method in evaluation.methods:
        values = [evaluation.mean(method, f"j_and_f@{number}") for number in rounds]
        lines.append(_line([f"{method}: J&F", *map(_number, values)]))
        times = [evaluation.mean(method, f"seconds@{number}") for number in rounds]
        lines.append(_line([f"{method}: seconds", *(f"{seconds:.0f}" for seconds in times)]))
    return lines


def _youtube(evaluation: Evaluation) -> list[str]:
    names = ("g", "j_seen", "f_seen", "j_unseen", "f_unseen")
    lines = _head(["method", *names])
    for method in evaluation.methods:
        found = evaluation.overall_g(method)
        lines.append(_line([method, *(_number(found[name]) for name in names)]))
    return lines


def _groups(evaluation: Evaluation, attribute: str) -> list[str]:
    lines = _head([attribute, "method", f"{evaluation.headline} (95 % interval)", "objects"])
    for method in evaluation.methods:
        for value, interval in evaluation.by_group(attribute, method).items():
            lines.append(_line([value, method, _with_ends(interval), str(interval.count)]))
    return lines


def _by_sequence(evaluation: Evaluation) -> list[str]:
    # of volumes the Dice of the whole volume too, the number of medical tables
    metrics = [evaluation.headline]
    if evaluation.headline == "visible_j_and_f":
        metrics.append("dice")
    shown = [(method, metric) for metric in metrics for method in evaluation.methods]
    means = {key: evaluation.by_sequence(*key) for key in shown}
    names = [method if metric == metrics[0] else f"{method} {metric}" for method, metric in shown]
    lines = _head(["sequence", *names])
    for sequence in evaluation.sequences:
        cells = [_number(means[key].get(sequence, float("nan"))) for key in shown]
        lines.append(_line([sequence, *cells]))
    return lines


def _with_ends(interval: Interval) -> str:
    ends = f" ({interval.low:.3f}-{interval.high:.3f})" if interval.count else ""
    return _number(interval.mean) + ends


def _number(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:.3f}"


def _head(names: Sequence[str]) -> list[str]:
    return [_line(names), "|---" * len(names) + "|"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
