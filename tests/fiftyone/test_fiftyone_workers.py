"""Work on FiftyOne's delegated queue: swept from dead workers, and stopped from outside."""

import fiftyone.operators as foo
import pytest
from fiftyone.operators.delegated import DelegatedOperationService
from propagation import QUICK, URI

from sam2_plugins.fiftyone_plugin.database import collection
from sam2_plugins.fiftyone_plugin.queueing import COLLECTION, sweep


def states():
    return sorted(op.run_state for op in DelegatedOperationService().list_operations())


@pytest.fixture
def queue():
    """An empty queue; what is left in it is removed."""
    service = DelegatedOperationService()

    def clear():
        for operation in service.list_operations():
            service.delete_operation(operation.id)
        collection(COLLECTION).delete_many({})

    clear()
    yield service
    clear()


def test_the_sweep_leaves_living_and_finished_operations_alone(video_dataset, queue):
    foo.execute_operator(URI, dataset=video_dataset, params=QUICK, request_delegation=True)
    (operation,) = queue.list_operations()
    queue.set_running(operation.id)
    from sam2_plugins.fiftyone_plugin.queueing import alive

    with alive(operation.id):
        assert sweep() == []
        assert states() == ["running"]
        past = {"$set": {"heartbeat": {"$subtract": ["$$NOW", 61_000]}}}
        collection(COLLECTION).update_one({"_id": str(operation.id)}, [past])
        result = foo.execute_operator("@sam2-plugins/sam2/sweep_workers").result
        assert result == {"count": 1, "operations": [str(operation.id)]}
    assert states() == ["failed", "queued"]
    assert sweep() == []


def test_a_delegated_run_that_is_marked_as_failed_stops(video_dataset, queue, checkpoint):
    from sam2_plugins.fiftyone_plugin import progress

    params = {**QUICK, "model": str(checkpoint)}
    foo.execute_operator(URI, dataset=video_dataset, params=params, request_delegation=True)
    (operation,) = queue.list_operations()
    report = progress.Report()
    queue.set_running(operation.id)
    report.check_cancelled(operation.id)
    report._checked -= progress.CANCEL_CHECK_EVERY_S
    report.check_cancelled(operation.id)
    queue.set_failed(operation.id)
    report._checked -= progress.CANCEL_CHECK_EVERY_S
    with pytest.raises(progress.CancelledError, match="what was finished is kept"):
        report.check_cancelled(operation.id)
