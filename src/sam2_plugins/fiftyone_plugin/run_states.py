"""The sample field that says how far a run on a field of masks has come."""

from typing import Any

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.records import DONE, FAILED, RUNNING, STOPPED

_STATES = frozenset({DONE, FAILED, RUNNING, STOPPED})


def state_field(output_field: str) -> str:
    """The sample field that says how far a run on `output_field` has come."""
    return f"{output_field}_state"


def check_state(dataset: Any, output_field: str) -> None:
    """Refuse to write over a field of somebody's own that happens to have the name.

    Raises:
        ValueError: It is there and holds something else than states of runs.
    """
    name = state_field(output_field)
    known = dataset.get_field(name)
    if known is None:
        return
    others = set()
    if isinstance(known, fo.StringField):
        others = set(dataset.distinct(name)) - _STATES
        if not others:
            return
    found = repr(min(others)) if others else type(known).__name__
    raise ValueError(
        f"the state of a run on {output_field!r} is kept in {name!r}, which holds {found}; "
        "choose another field for the masks, or rename that one"
    )
