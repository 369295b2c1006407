"""Many workers on FiftyOne's delegated queue: work is split, and taken from workers that died.

FiftyOne's workers (`fiftyone delegated launch`) claim queued operations one by one, but an
operation whose worker was killed, or ended by Ctrl-C, stays "running" for ever. So each of ours
says that it is alive, and every worker sweeps, when it begins and ends an operation: those of dead
workers are queued again. What a dead worker had finished is not done again.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionRunState

from sam2_plugins.fiftyone_plugin.database import collection, patiently
from sam2_plugins.fiftyone_plugin.heartbeat import (
    Heartbeat,
    is_known_dead,
    is_silent,
    process_name,
)
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.sources import Unit, root_dataset, view_of

URI = "@sam2-plugins/sam2/propagate_masks"
COLLECTION = "sam2_plugins.workers"
MOST_OPERATIONS = 256
"""Work is split into at most so many operations, unless the caller says how many videos each has:
a worker takes seconds to start one."""


def queue_units(
    view: Any, units: Sequence[Unit], options: Options, *, videos_per_task: int | None = None
) -> list[tuple[str, Sequence[Unit]]]:
    """Queue the work on videos, some in each operation.

    Args:
        view: That the units are of.
        units: The videos.
        options: How to propagate.
        videos_per_task: Of each operation; by default so many that there are not too many.

    Returns:
        Id of each operation, and its videos.
    """
    size = videos_per_task or math.ceil(len(units) / MOST_OPERATIONS)
    params = {**options.to_params(), "engine": "local"}
    queued = []
    for first in range(0, len(units), size):
        batch = units[first : first + size]
        result = foo.execute_operator(
            URI,
            dataset=root_dataset(view),
            view=view_of(view, batch),
            params=params,
            request_delegation=True,
        ).result
        queued.append((str(result["id"]), batch))
    return queued


@contextmanager
def alive(operation_id: Any) -> Iterator[None]:
    """While inside, other workers see that this operation is being worked on.

    Args:
        operation_id: Of the delegated operation; None where it is not delegated.
    """
    if operation_id is None:
        yield
        return
    workers, mine = collection(COLLECTION), {"_id": str(operation_id)}
    update = {"$set": process_name(), "$currentDate": {"heartbeat": True}}
    patiently(lambda: workers.update_one(mine, update, upsert=True))
    heartbeat = Heartbeat(workers, {**mine, **process_name()})
    try:
        sweep()
        yield
        sweep()
    finally:
        # The document stays, for a later sweep: FiftyOne's worker may end before it has noted how
        # the operation ended, as it does on Ctrl-C.
        heartbeat.close()


def sweep() -> list[str]:
    """Queue the operations of dead workers again.

    Returns:
        Ids of the operations that were given up; each has a new one in the queue.
    """
    workers = collection(COLLECTION)
    silent = {"$set": {"is_silent": is_silent()["$expr"]}}
    swept = []
    for worker in patiently(lambda: list(workers.aggregate([silent]))):
        if not (worker["is_silent"] or is_known_dead(worker)):
            continue
        # Of several that sweep at once, the one that removes the document goes on.
        same = {key: worker[key] for key in ("_id", "heartbeat", "pid")}
        if workers.find_one_and_delete(same) is not None and _queue_again(worker["_id"]):
            swept.append(worker["_id"])
    return swept


def _queue_again(operation_id: str) -> bool:
    from bson import ObjectId

    service = DelegatedOperationService()
    try:
        operation = service.get(ObjectId(operation_id))
    except ValueError:
        return False  # someone deleted it
    if operation is None or operation.run_state != ExecutionRunState.RUNNING:
        return False
    service.set_failed(ObjectId(operation_id))
    service.rerun_operation(ObjectId(operation_id))
    return True
