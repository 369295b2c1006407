"""The operator that gives the work of dead workers to living ones."""

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from sam2_plugins.fiftyone_plugin.queueing import sweep

LABEL = "SAM 2: queue the work of dead workers again"


class SweepWorkers(foo.Operator):  # type: ignore[misc]  # FiftyOne is untyped
    """Queues delegated runs again whose worker was killed; workers also do so by themselves."""

    @property
    def config(self) -> foo.OperatorConfig:
        """Name and label."""
        return foo.OperatorConfig(name="sweep_workers", label=LABEL)

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Sweep."""
        swept = sweep()
        return {"count": len(swept), "operations": swept}

    def resolve_output(self, ctx: Any) -> types.Property:
        """How many there were."""
        outputs = types.Object()
        outputs.int("count", label="Operations queued again")
        return types.Property(outputs, view=types.View(label=LABEL))
