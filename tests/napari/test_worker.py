import subprocess
import sys
import textwrap
import threading

import pytest

from sam2_plugins.napari_plugin.worker import SerialWorker

TIMEOUT_S = 20


@pytest.fixture
def worker():
    made = SerialWorker()
    yield made
    made.stop(TIMEOUT_S)


def wait_until_idle(worker):
    done = threading.Event()
    worker.submit(done.set)
    assert done.wait(TIMEOUT_S)


def test_short_jobs_go_between_the_steps_of_long_ones(worker):
    said, begun, told = [], threading.Event(), threading.Event()

    def run():
        said.append("first")
        begun.set()
        assert told.wait(TIMEOUT_S)
        yield
        said.append("last")

    worker.start(run())
    assert begun.wait(TIMEOUT_S)
    worker.submit(lambda: said.append("between"))
    told.set()
    ended = threading.Event()

    def end():
        ended.set()
        yield

    worker.start(end())
    assert ended.wait(TIMEOUT_S)
    assert said == ["first", "between", "last"]


def test_a_cancelled_run_is_closed_after_its_step(worker):
    closed, steps = threading.Event(), []

    def run():
        try:
            while True:
                steps.append(1)
                if len(steps) == 3:
                    worker.cancel()
                yield
        finally:
            closed.set()

    worker.start(run())
    assert closed.wait(TIMEOUT_S)
    wait_until_idle(worker)
    assert len(steps) == 3
    assert not worker.is_running_long


def test_a_job_that_fails_is_logged_and_the_next_one_runs(worker, caplog):
    def fail():
        raise ValueError("no good")

    def fail_long():
        raise ValueError("no good either")
        yield

    worker.submit(fail)
    worker.start(fail_long())
    wait_until_idle(worker)
    assert "a job failed" in caplog.text


def test_only_the_last_idle_job_runs_and_it_is_not_busy(worker):
    said, hold, done = [], threading.Event(), threading.Event()
    worker.submit(lambda: hold.wait(TIMEOUT_S))
    worker.when_idle(lambda: said.append("old"))
    worker.when_idle(lambda: (said.append(worker.is_busy), done.set()))
    hold.set()
    assert done.wait(TIMEOUT_S)
    assert said == [False]


def test_a_stopped_worker_closes_its_run_and_takes_no_more(worker):
    closed, begun = threading.Event(), threading.Event()

    def run():
        try:
            while True:
                begun.set()
                yield
        finally:
            closed.set()

    worker.start(run())
    assert begun.wait(TIMEOUT_S)
    worker.stop(TIMEOUT_S)
    assert closed.is_set()
    with pytest.raises(RuntimeError, match="stopped"):
        worker.submit(lambda: None)


def test_when_python_ends_the_thread_is_stopped_and_waited_for(tmp_path):
    """Otherwise it ends in the middle of a computation: the process aborts, nothing is saved."""
    script = """
        import sys, time
        from pathlib import Path
        from sam2_plugins.napari_plugin.worker import SerialWorker
        import threading, weakref

        begun = threading.Event()

        def run():
            while True:
                begun.set()
                time.sleep(0.2)
                yield

        class Owner:
            def __init__(self):
                self.worker = SerialWorker()
                self.worker.close = weakref.WeakMethod(self.close)

            def close(self):
                self.worker.stop(last=self.save)

            def save(self):
                time.sleep(0.2)
                Path(sys.argv[1]).write_text("saved")

        owner = Owner()
        owner.worker.start(run())
        assert begun.wait(60)
    """
    found = tmp_path / "found.txt"
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), found], check=True)
    assert found.read_text() == "saved"
