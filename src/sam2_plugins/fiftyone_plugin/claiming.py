"""Having a video to oneself for a run, and noting how the run ended, whatever ends it."""

from collections.abc import Iterator
from contextlib import contextmanager

from sam2_plugins.fiftyone_plugin.database import patiently
from sam2_plugins.fiftyone_plugin.records import (
    FAILED,
    RUNNING,
    STOPPED,
    Claim,
    ClaimLostError,
    Records,
    describe_error,
)
from sam2_plugins.fiftyone_plugin.store import UnitLabels


@contextmanager
def claimed(labels: UnitLabels, field: str) -> Iterator[Claim]:
    """Have a video; its record and its sample say how it ends.

    That it is done, whoever has it says. Where an error ends it, it failed; where a person does,
    or whoever takes what it yields, it was stopped.

    Args:
        labels: Of the video.
        field: Where the masks go, with its state declared.

    Raises:
        BusyError: Another worker has it.
        ClaimLostError: Another worker took it.
        ValueError: Its samples were deleted meanwhile.
    """
    unit = labels.unit
    claim = Records(labels.dataset).claim(unit.unit_id, field, sample_id=unit.sample_ids[0])
    state, message = STOPPED, ""
    try:
        patiently(lambda: labels.set_state(field, RUNNING))
        yield claim
        state = ""
    except ClaimLostError:
        state = ""
        raise
    except Exception as error:
        if not isinstance(error, ConnectionError) and patiently(labels.are_gone):
            # Whatever else went wrong; and there is no sample to write a state on.
            state, message = "", f"{unit.name}: was deleted from the dataset meanwhile"
            claim.stop(FAILED, message)
            raise ValueError(message) from error
        state, message = FAILED, describe_error(error)
        raise
    finally:
        if state:
            patiently(lambda: labels.set_state(field, state))
            claim.stop(state, message)
        claim.close()
