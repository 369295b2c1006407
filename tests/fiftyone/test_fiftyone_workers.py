"""Several processes on one database: FiftyOne's queue and Ray, with a worker killed midway."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import fiftyone.operators as foo
import pytest
from fiftyone.operators.delegated import DelegatedOperationService
from propagation import QUICK, URI, boxed, masks_of
from video_files import moving_discs

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.database import collection
from sam2_plugins.fiftyone_plugin.operators import auto_masklets
from sam2_plugins.fiftyone_plugin.queueing import COLLECTION, alive, sweep
from sam2_plugins.fiftyone_plugin.ray_runner import start_ray
from sam2_plugins.fiftyone_plugin.records import Records

PATIENCE_S = 1200
NUM_FRAMES = 40


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)


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


@pytest.fixture
def launch(tmp_path):
    """Start `fiftyone delegated launch`; what still runs is killed at the end."""
    started = []

    def launch():
        log = (tmp_path / f"worker{len(started)}.log").open("wb")
        program = Path(sys.executable).with_name("fiftyone")
        command = [str(program), "delegated", "launch"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        worker = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        log.close()
        started.append(worker)
        return worker

    yield launch
    for worker in started:
        with suppress(ProcessLookupError):
            worker.kill()
        worker.wait()


@pytest.fixture
def three_videos(dataset, make_video, tmp_path):
    """Long enough that a worker is still at one when it is killed."""
    frames, truth = moving_discs(NUM_FRAMES)
    path = make_video(tmp_path / "clip0.mp4", frames)
    for number in range(3):
        copy = tmp_path / f"clip{number}.mp4"
        if copy != path:
            copy.write_bytes(path.read_bytes())
        sample = fo.Sample(filepath=str(copy))
        sample.frames[20] = fo.Frame(prompts=boxed(truth[19], 1))
        dataset.add_sample(sample)
    return dataset


def kill_one_at_work(dataset):
    """Kill a worker that is in the middle of a video; which video, and the worker's process."""
    for record in Records(dataset).find_all("masks"):
        if record.is_alive and record.frames_total > 0 and not record.tracks:
            pid = int(record.worker.rpartition(" ")[2])
            os.kill(pid, signal.SIGKILL)
            return record.unit_id, pid
    return None


def assert_all_is_there_once(dataset):
    for sample in dataset:
        assert list(masks_of(sample, 1)) == list(range(1, NUM_FRAMES + 1))
    assert {record.state for record in Records(dataset).find_all()} == {"done"}


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE_S)
def test_work_is_split_and_that_of_a_killed_worker_is_done_by_others(
    three_videos, queue, launch, checkpoint
):
    params = {**QUICK, "model": str(checkpoint), "engine": "delegated", "videos_per_task": 1}
    result = foo.execute_operator(URI, dataset=three_videos, params=params).result
    assert result["queued"] == 3
    assert states() == ["queued"] * 3
    workers, killed = [launch(), launch()], []

    def is_killed():
        killed[:] = [found] if (found := kill_one_at_work(three_videos)) else []
        return bool(killed)

    wait_until(is_killed, "a worker was at work")
    ((video, pid),) = killed
    assert pid in [worker.pid for worker in workers]

    def is_done():
        sweep()
        return states().count("completed") == 3

    wait_until(is_done, "the other has done all")
    assert states() == ["completed"] * 3 + ["failed"]
    assert [worker.poll() for worker in workers if worker.pid != pid] == [None]
    assert_all_is_there_once(three_videos)
    (record,) = (one for one in Records(three_videos).find_all() if one.unit_id == video)
    assert int(record.worker.rpartition(" ")[2]) != pid


@pytest.fixture
def ray(monkeypatch):
    """Ray as the plugin starts it, and ended whatever happens."""
    module = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    try:
        start_ray()
        yield module
    except OSError as error:
        # Ray itself gives its processes half a minute, which a very busy machine does not keep.
        gc.collect()
        pytest.skip(str(error))
    finally:
        module.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE_S)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ray_replaces_a_worker_that_is_killed_and_does_its_video_again(
    three_videos, ray, checkpoint
):
    killed, is_over = [], threading.Event()

    def kill_one():
        while not killed and not is_over.wait(0.02):
            if found := kill_one_at_work(three_videos):
                killed.append(found)

    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        # Larger than elsewhere, so that a video takes long enough to be interrupted.
        params = {"image_size": 128, "device": "cpu", "model": str(checkpoint)}
        counts = foo.get_operator(URI)(three_videos, engine="ray", num_workers=2, **params)
    finally:
        is_over.set()
        killer.join()
    ((video, pid),) = killed
    assert (counts["done"], counts["failed"]) == (3, 0)
    assert_all_is_there_once(three_videos)
    workers = {
        record.unit_id: int(record.worker.rpartition(" ")[2])
        for record in Records(three_videos).find_all()
    }
    assert len(workers) == 3
    assert workers[video] != pid
    assert os.getpid() not in workers.values()


def test_the_sweep_leaves_living_and_finished_operations_alone(video_dataset, queue):
    foo.execute_operator(URI, dataset=video_dataset, params=QUICK, request_delegation=True)
    (operation,) = queue.list_operations()
    queue.set_running(operation.id)
    with alive(operation.id):
        assert sweep() == []
        assert states() == ["running"]
        past = {"$set": {"heartbeat": {"$subtract": ["$$NOW", 61_000]}}}
        collection(COLLECTION).update_one({"_id": str(operation.id)}, [past])
        result = foo.execute_operator("@sam2-plugins/sam2/sweep_workers").result
        assert result == {"count": 1, "operations": [str(operation.id)]}
    assert states() == ["failed", "queued"]
    assert sweep() == []


def test_whatever_a_dead_worker_was_at_is_queued_again(video_dataset, queue, monkeypatch):
    uri = "@sam2-plugins/sam2/auto_masklets"
    foo.execute_operator(uri, dataset=video_dataset, request_delegation=True)
    (operation,) = queue.list_operations()
    queue.set_running(operation.id)
    swept = []

    def die(_):
        past = {"$set": {"heartbeat": {"$subtract": ["$$NOW", 61_000]}}}
        collection(COLLECTION).update_one({"_id": str(operation.id)}, [past])
        swept.extend(sweep())
        raise ValueError("it died")

    monkeypatch.setattr(auto_masklets, "read_options", die)
    ctx = SimpleNamespace(delegated=True, _delegated_operation_id=operation.id)
    with pytest.raises(ValueError, match="it died"):
        foo.get_operator(uri).execute(ctx)
    assert swept == [str(operation.id)]
    assert states() == ["failed", "queued"]


@pytest.mark.parametrize(
    ("is_noted", "after"), [(False, ["failed", "queued"]), (True, ["completed"])]
)
def test_an_operation_of_which_its_worker_did_not_note_the_end_is_queued_again(
    video_dataset, queue, is_noted, after
):
    foo.execute_operator(URI, dataset=video_dataset, params=QUICK, request_delegation=True)
    (operation,) = queue.list_operations()
    queue.set_running(operation.id)
    with alive(operation.id):
        pass
    if is_noted:
        queue.set_completed(operation.id)
    assert sweep() == []  # it is just now that it ended
    past = {"$set": {"heartbeat": {"$subtract": ["$$NOW", 61_000]}}}
    collection(COLLECTION).update_one({"_id": str(operation.id)}, [past])
    sweep()
    assert states() == after
    assert collection(COLLECTION).count_documents({"_id": str(operation.id)}) == 0


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
