"""Processes that train together: started, watched, and heard when one of them fails."""

import logging
import pickle
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from torch.multiprocessing.spawn import (
    ProcessContext,
    ProcessException,
    ProcessExitedException,
    start_processes,
)

from sam2_plugins.core.child_processes import (
    child_context,
    child_method,
    interrupt_with_parent,
    is_parent_alive,
)
from sam2_plugins.core.training.watching import Position, Watch

LOOK_EVERY_S = 0.2
GRACE_S = 10.0
"""The others of a process that failed mostly fail too, by themselves, and need no signal."""
NEEDED = ("sam2_plugins.core.training.launch", "torch._dynamo")
"""What every process of a run imports; the second comes with any optimiser."""


class Link:
    """What the processes of a run, and the one that started them, tell each other."""

    def __init__(self) -> None:
        context = child_context(*NEEDED)
        self._stop = context.Event()
        # steps, steps in all (below 0 where that is not known), share
        self._numbers = context.Array("d", [0.0, -1.0, 0.0])

    def inside(self) -> Watch:
        """Who looks on from inside the processes."""
        return Watch(self._note, self._stop.is_set)

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether the run was asked to stop."""
        return self._stop.is_set()

    def ask_to_stop(self) -> None:
        """Let the step that runs be the last one."""
        self._stop.set()

    def position(self) -> Position:
        """How far the first process is."""
        num_steps, in_all, share = self._numbers[:]
        return Position(int(num_steps), None if in_all < 0 else int(in_all), share)

    def _note(self, positions: Iterator[Position]) -> None:
        for position in positions:
            in_all = -1 if position.num_in_all is None else position.num_in_all
            self._numbers[:] = [position.num_steps, in_all, position.share]


def run_processes(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    *,
    num_processes: int,
    failure: Path,
    link: Link,
    wants_stop: Callable[[], bool],
) -> Generator[Position, None, None]:
    """Run a function in new processes; gives how far the first of them is, now and then.

    Args:
        function: Called with its rank, then `arguments`.
        arguments: Travel to the processes by pickle.
        num_processes: How many.
        failure: Where `failure_noted` writes in them.
        link: That they have, too.
        wants_stop: Asked now and then.

    Raises:
        Exception: What one of them raised, the first that failed.
        OSError: One died without a word.
    """
    context = start_processes(
        *(function, arguments),
        nprocs=num_processes,
        join=False,
        start_method=child_method(*NEEDED),
    )
    told = 0
    try:
        with _quiet():
            while not context.join(timeout=LOOK_EVERY_S, grace_period=GRACE_S):
                if wants_stop():
                    link.ask_to_stop()
                position = link.position()
                if position.num_steps > told:
                    told = position.num_steps
                    yield position
    except ProcessException as error:
        raise _reason(error, failure, num_processes) from error
    finally:
        _end(context)


@contextmanager
def failure_noted(path: Path) -> Iterator[None]:
    """Inside, what is raised is written for the process that started this one.

    Only the first of several processes writes: the others fail because it did.
    """
    try:
        yield
    except Exception as error:
        # What cannot travel is told by its traceback.
        with suppress(OSError, pickle.PicklingError, TypeError, AttributeError):
            content = pickle.dumps(error)
            pickle.loads(content)  # some errors cannot be made again
            with path.open("xb") as file:
                file.write(content)
        raise


def leave_ctrl_c_to_parent() -> None:
    """In a process that was started: Ctrl-C reaches it too, but the one that started it decides.

    When that one has died, which the same signal tells, this one ends as well.
    """

    def handle(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        if not is_parent_alive():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handle)
    interrupt_with_parent()


def _reason(error: ProcessException, failure: Path, num_processes: int) -> Exception:
    if failure.is_file():
        # written by a process that this one started, in a folder of their own
        reason = pickle.loads(failure.read_bytes())
        assert isinstance(reason, Exception)
        return reason
    if isinstance(error, ProcessExitedException):
        return OSError(f"one of {num_processes} processes died ({error.msg}), perhaps of no memory")
    return error


def _end(context: ProcessContext) -> None:
    for process in context.processes:
        if process.is_alive():
            process.kill()
        process.join()


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, torch does not say that it ends the processes that are left."""
    logger = logging.getLogger("torch.multiprocessing.spawn")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
