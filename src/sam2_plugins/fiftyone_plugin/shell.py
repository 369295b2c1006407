"""Propagation started from the shell, with progress in plain lines."""

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from sam2_plugins.fiftyone_plugin.engines import run_engine
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.progress import Report

LINE_EVERY_S = 5.0


def propagate_in_shell(
    view: Any, params: Mapping[str, Any], *, engine: str, say: Callable[[str], None]
) -> dict[str, int]:
    """Propagate through a dataset or view.

    Args:
        view: Of FiftyOne.
        params: Of the operator.
        engine: "local", "delegated" or "ray".
        say: Takes a line of progress every few seconds.

    Returns:
        How many videos ended how.

    Raises:
        ValueError: Something is wrong with the parameters or with videos; the others are done.
    """
    report = Report(every_s=LINE_EVERY_S)
    options = Options.from_params(params)
    with closing(run_engine(view, options, {**params, "engine": engine})) as events:
        for event in events:
            if report.add(event) and report.is_due():
                say(report.label)
    for note in report.notes:
        say(note)
    report.raise_failures()
    return report.counts
