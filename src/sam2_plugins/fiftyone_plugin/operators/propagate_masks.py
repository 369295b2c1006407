"""The operator that tracks prompted objects through videos. It only wires."""

import logging
from collections.abc import Generator
from contextlib import closing
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from sam2_plugins.fiftyone_plugin.engines import start_engine
from sam2_plugins.fiftyone_plugin.operators.propagate_form import make_form
from sam2_plugins.fiftyone_plugin.options import ENGINES, Options
from sam2_plugins.fiftyone_plugin.progress import Report, in_one_line
from sam2_plugins.fiftyone_plugin.queueing import alive
from sam2_plugins.fiftyone_plugin.records import describe_error
from sam2_plugins.fiftyone_plugin.shell import propagate_in_shell

LABEL = "SAM 2: propagate masks"

logger = logging.getLogger(__name__)


class PropagateMasks(foo.Operator):  # type: ignore[misc]  # FiftyOne is untyped
    """Masks through whole videos, from prompts on any of their frames."""

    @property
    def config(self) -> foo.OperatorConfig:
        """Name, and how it may be run."""
        return foo.OperatorConfig(
            name="propagate_masks",
            label=LABEL,
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
        )

    def resolve_placement(self, ctx: Any) -> types.Placement:
        """A button above the grid."""
        button = types.Button(label=LABEL, icon="auto_awesome_motion", prompt=True)
        return types.Placement(types.Places.SAMPLES_GRID_ACTIONS, button)

    def resolve_input(self, ctx: Any) -> types.Property:
        """The form."""
        return types.Property(make_form(ctx), view=types.View(label=LABEL))

    def execute(self, ctx: Any) -> Any:
        """Run: with a progress bar in the App, else to the end."""
        messages = run(ctx)
        if is_streamed(ctx):
            return shown(ctx, messages)
        return exhaust(messages)

    def resolve_output(self, ctx: Any) -> types.Property:
        """What was done."""
        outputs = types.Object()
        for name in ("done", "skipped", "busy", "failed", "queued"):
            outputs.int(name, label=name.capitalize())
        outputs.str("notes", label="Notes")
        return types.Property(outputs, view=types.View(label=LABEL))

    def __call__(self, view: Any, **params: Any) -> Any:
        """Run from Python: `foo.get_operator(URI)(view, model=…)`.

        Unlike `foo.execute_operator`, which gives up after FiftyOne's `operator_timeout` of ten
        minutes, this takes as long as it takes.

        Args:
            view: A dataset or view.
            params: Of the operator.

        Returns:
            How many videos were done, skipped, busy, failed and queued.

        Raises:
            ValueError: Something is wrong with the parameters, or with videos; the others are done.
        """
        engine = params.get("engine") or ENGINES[0]
        return propagate_in_shell(view, params, engine=engine, say=logger.info)


def run(ctx: Any) -> Generator[Any, None, dict[str, Any]]:
    """Start the engine and report on it.

    Yields:
        Messages for the App.

    Returns:
        How many videos were done, skipped, busy, failed and queued; and, where there is something
        else to know of videos that are done, that as `notes`.

    Raises:
        ValueError: Something is wrong with the parameters, or with videos; the others are done.
    """
    options = Options.from_params(ctx.params)
    report = Report()
    operation = getattr(ctx, "_delegated_operation_id", None)
    with alive(operation), closing(start_engine(ctx, options)) as events:
        for event in events:
            if report.add(event):
                if ctx.delegated and report.is_due():
                    ctx.set_progress(progress=report.share, label=report.label)
                yield ctx.ops.set_progress(progress=report.share, label=report.label)
            report.check_cancelled(operation)
    # What is done is shown also where something failed.
    yield ctx.ops.reload_dataset()
    said = ", ".join(f"{count} {name}" for name, count in report.counts.items() if count)
    ended = {"progress": 1.0, "label": f"videos: {said}"}
    if ctx.delegated:
        ctx.set_progress(**ended)
    yield ctx.ops.set_progress(**ended)
    report.raise_failures()
    return report.counts | ({"notes": in_one_line(report.notes)} if report.notes else {})


def shown(ctx: Any, messages: Generator[Any, None, dict[str, Any]]) -> Generator[Any, None, None]:
    """Messages for the App, and at the end what was done or what went wrong.

    The App tells nothing of what a generator raises or returns: it has to be told in messages.
    """
    try:
        counts = yield from messages
    except Exception as error:
        logger.exception("%s", LABEL)
        yield ctx.ops.notify(describe_error(error), variant="error")
        return
    if "notes" in counts:
        yield ctx.ops.notify(counts["notes"], variant="info")


def is_streamed(ctx: Any) -> bool:
    """Whether the App waits for messages; else the caller waits for the result."""
    return not ctx.delegated and any(
        name in ctx.request_params for name in ("extended", "filters", "prompt_id")
    )


def exhaust(messages: Any) -> Any:
    """Run a generator to its end and return its value."""
    while True:
        try:
            next(messages)
        except StopIteration as end:
            return end.value
