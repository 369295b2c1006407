"""Progress of a run in words, to the App, the delegated queue or the log."""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionRunState

from sam2_plugins.fiftyone_plugin.propagating import DONE, SKIPPED, TRACKING, Progress
from sam2_plugins.fiftyone_plugin.records import FAILED, FORESEEN, describe_error

EVERY_S, CANCEL_CHECK_EVERY_S = 1.0, 2.0
OUTCOMES = ("done", "skipped", "busy", "failed", "queued")
_MESSAGES_SHOWN = 3

logger = logging.getLogger(__name__)


class CancelledError(RuntimeError):
    """The operation was marked as failed from outside: what was finished is kept."""


class Report:
    """Follows a run.

    Args:
        every_s: How often something is said.
    """

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._outcomes: Counter[str] = Counter()
        self._failures: list[str] = []
        self._skipped: dict[str, list[str]] = defaultdict(list)
        self._notes: list[str] = []
        self._num_units = 0
        self._current: Progress | None = None
        self._at_work: dict[str, float] = {}
        self._first: tuple[float, float] | None = None
        self._sent = self._checked = time.monotonic()
        self._sent -= every_s

    @property
    def counts(self) -> dict[str, int]:
        """How many videos ended how."""
        return {name: self._outcomes[name] for name in OUTCOMES}

    @property
    def share(self) -> float:
        """How much is done, 0 to 1; every video counts the same."""
        if not self._num_units:
            return 0.0
        within = sum(self._at_work.values())
        return min((sum(self._outcomes.values()) + within) / self._num_units, 1.0)

    @property
    def label(self) -> str:
        """Where it is, and how long it will take."""
        ended = sum(self._outcomes.values())
        words = f"video {min(ended + 1, self._num_units)} of {self._num_units}"
        current = self._current
        if current and current.frames_total:
            words += f", step {current.frames_done} of {current.frames_total}"
        since, before = self._first or (0.0, 1.0)
        if self.share > before:
            pace = (time.monotonic() - since) / (self.share - before)
            words += f", {in_words(pace * (1 - self.share))} left"
        return words

    def add(self, event: "Progress | int") -> bool:
        """Take note.

        Args:
            event: Progress of a video, or first of all the number of videos.

        Returns:
            Whether it is time to say so.
        """
        if isinstance(event, int):
            self._num_units = event
            return False
        if event.state == TRACKING:
            self._current = event
            self._at_work[event.unit.unit_id] = event.frames_done / max(event.frames_total, 1)
            # What was skipped before took no time, and starting workers takes some.
            self._first = self._first or (time.monotonic(), self.share)
        else:
            self._current = None
            self._at_work.pop(event.unit.unit_id, None)
            self._outcomes[event.state] += 1
            if event.message:
                self._note(event)
        return event.state != TRACKING or time.monotonic() - self._sent >= self._every_s

    def _note(self, event: Progress) -> None:
        if event.state == SKIPPED:
            self._skipped[event.message].append(Path(event.unit.paths[0]).name)
        elif event.state == DONE:
            self._notes.append(event.message)
        elif event.state == FAILED:
            self._failures.append(event.message)

    @property
    def notes(self) -> list[str]:
        """What there is to know of videos that are done or were skipped."""
        skipped = [
            f"{len(names)} of {self._num_units} videos have {reason}: {in_one_line(names)}"
            for reason, names in self._skipped.items()
        ]
        return [*self._notes, *skipped]

    def is_due(self) -> bool:
        """Whether the last time is long enough ago; then now is the last time."""
        now = time.monotonic()
        if now - self._sent < self._every_s:
            return False
        self._sent = now
        return True

    def check_cancelled(self, operation_id: Any) -> None:
        """End a delegated run that was marked as failed meanwhile.

        Args:
            operation_id: Of the delegated operation, or None.

        Raises:
            CancelledError: It was.
        """
        if operation_id is None or time.monotonic() - self._checked < CANCEL_CHECK_EVERY_S:
            return
        self._checked = time.monotonic()
        if DelegatedOperationService().get(operation_id).run_state == ExecutionRunState.FAILED:
            raise CancelledError("cancelled; what was finished is kept, and a new run continues")

    def raise_failures(self) -> None:
        """Say what failed, in one line.

        Raises:
            ValueError: Something did.
        """
        raise_failures(self._failures, self._num_units)


@contextmanager
def noting_failure(failures: list[str]) -> Iterator[None]:
    """What goes wrong with one video is noted, so that the others are done.

    Args:
        failures: One line more is put here.
    """
    try:
        yield
    except ConnectionError:
        raise  # without the database nothing more can be done
    except FORESEEN as error:
        failures.append(describe_error(error))
    except Exception as error:
        logger.exception("a video failed")
        failures.append(describe_error(error))


def raise_failures(failures: Sequence[str], num_units: int) -> None:
    """Say what failed of so many videos or images, in one line.

    Raises:
        ValueError: Something did.
    """
    if not failures:
        return
    count = f"{len(failures)} of {num_units} videos failed: "
    raise ValueError((count if num_units > 1 else "") + in_one_line(failures))


def in_one_line(messages: Sequence[str]) -> str:
    """The first few messages, and how many more there are."""
    more = len(messages) - _MESSAGES_SHOWN
    rest = f"; and {more} more" if more > 0 else ""
    return "; ".join(messages[:_MESSAGES_SHOWN]) + rest


def in_words(seconds: float) -> str:
    """A duration as a person says it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
