"""The operator that tracks prompted objects through videos."""

import fiftyone.operators as foo


class PropagateMasks(foo.Operator):  # type: ignore[misc]  # FiftyOne is untyped
    """Masks through whole videos, from prompts on any of their frames."""

    @property
    def config(self) -> foo.OperatorConfig:
        """Name and label."""
        return foo.OperatorConfig(name="propagate_masks", label="SAM 2: propagate masks")
