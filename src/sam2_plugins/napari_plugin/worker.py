"""One thread that owns the model: short jobs go between the steps of long ones."""

import atexit
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator

_LOGGER = logging.getLogger(__name__)

Job = Callable[[], None]
_OVER = object()
_BEGUN: "weakref.WeakSet[SerialWorker]" = weakref.WeakSet()
AT_EXIT_S = 60.0
"""So long at most the end of Python waits for a step that is being computed, and for saving."""


class SerialWorker:
    """Runs jobs one at a time, in a thread that starts with the first and ends with `stop`.

    A long job is an iterator; after each step, short jobs that have come meanwhile are run, so a
    click is answered while a run goes on. Jobs report their own errors; one that raises anyway is
    logged and does not end the thread.

    Args:
        name: Of the thread.

    Attributes:
        close: Called when Python ends, to stop this; what it belongs to is kept weakly.
    """

    def __init__(self, name: str = "sam2") -> None:
        self.close: weakref.WeakMethod[Callable[[], None]] | None = None
        self._name = name
        self._short: deque[Job] = deque()
        self._long: deque[Iterator[None]] = deque()
        self._idle: dict[str, Job] = {}
        self._current: Iterator[None] | None = None
        self._is_cancelled = False
        self._is_working = False
        self._is_stopping = False
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._last: Job | None = None

    @property
    def is_busy(self) -> bool:
        """Whether anything is being done or waits to be; what is done when idle does not count."""
        with self._condition:
            return bool(self._short or self._long or self._current) or self._is_working

    @property
    def is_running_long(self) -> bool:
        """Whether a long job is being run or waits."""
        with self._condition:
            return bool(self._long or self._current)

    def submit(self, job: Job) -> None:
        """Run a short job as soon as the present step is done."""
        with self._condition:
            self._short.append(job)
            self._wake()

    def start(self, job: Iterator[None]) -> None:
        """Run a long job, after the long jobs before it."""
        with self._condition:
            self._long.append(job)
            self._wake()

    def when_idle(self, job: Job, name: str = "") -> None:
        """Run a job when there is nothing else; it replaces one of that name that waits."""
        with self._condition:
            self._idle[name] = job
            if self._thread is not None:
                self._condition.notify()

    def cancel(self) -> None:
        """Close every long job after its present step."""
        with self._condition:
            self._is_cancelled = bool(self._current)
            if self._is_cancelled:
                # Jobs from before come first, those that are submitted from now on come later.
                self._short.append(self._close_current)
                self._condition.notify()
            waiting = list(self._long)
            self._long.clear()
        for job in waiting:
            _close(job)

    def stop(self, timeout_s: float | None = None, *, last: Job | None = None) -> None:
        """End the thread after its present step; jobs that wait are dropped.

        Args:
            timeout_s: Wait so long for the end; not at all if not given.
            last: Run before the end, if there ever was anything to do.
        """
        with self._condition:
            self._is_stopping = True
            self._last = last
            self._short.clear()
            self._long.clear()
            self._idle.clear()
            self._condition.notify()
        if timeout_s is not None:
            self.join(timeout_s)

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def end(self) -> None:
        """Have this stopped, if it was not, and wait for what is still to be done."""
        close = None if self.close is None else self.close()
        if close is not None:
            close()
        if not self._is_stopping:
            self.stop()
        self.join(AT_EXIT_S)

    def _wake(self) -> None:
        if self._is_stopping:
            raise RuntimeError("this worker has been stopped; open the widget again")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
            _BEGUN.add(self)
        self._condition.notify()

    def _run(self) -> None:
        self._work()
        if self._current is not None:
            _close(self._current)
            self._current = None
        if self._last is not None:
            try:
                self._last()
            except Exception:
                _LOGGER.exception("the last job failed")

    def _work(self) -> None:
        while True:
            with self._condition:
                self._is_working = False
                while not self._has_work() and not self._is_stopping:
                    self._condition.wait()
                if self._is_stopping:
                    return
                work, is_idle = self._next()
                self._is_working = not is_idle
            try:
                work()
            except Exception:
                _LOGGER.exception("a job failed")
            # What it was made of is not held until there is another.
            del work

    def _has_work(self) -> bool:
        return bool(self._short or self._long or self._current or self._idle)

    def _next(self) -> tuple[Job, bool]:
        if self._short:
            return self._short.popleft(), False
        if self._current is None and self._long:
            self._current = self._long.popleft()
            self._is_cancelled = False
        if self._current is not None:
            return self._step, False
        return self._idle.pop(next(iter(self._idle))), True

    def _close_current(self) -> None:
        if self._current is not None and self._is_cancelled:
            self._step()

    def _step(self) -> None:
        job = self._current
        assert job is not None
        is_over = True  # also where a step fails
        try:
            if self._is_cancelled:
                _close(job)
            else:
                is_over = next(job, _OVER) is _OVER
        finally:
            if is_over:
                with self._condition:
                    self._current, self._is_cancelled = None, False


def _close(job: Iterator[None]) -> None:
    close = getattr(job, "close", None)
    if close is not None:
        close()


@atexit.register
def _end_all() -> None:
    """A thread that Python ends in the middle of a computation takes the process down with it."""
    for worker in list(_BEGUN):
        worker.end()
