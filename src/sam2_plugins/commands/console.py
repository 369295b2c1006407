"""What a command says while it runs: messages, progress, one line of results, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from types import FrameType

T = TypeVar("T")

LINE_EVERY_S = 5.0
INTERRUPTED = 130
"""Exit status of what was stopped by a person."""


def say(message: str) -> None:
    """Write one line for a person, to stderr."""
    sys.stderr.write(f"sam2-plugins: {message}\n")
    sys.stderr.flush()


def result(text: str) -> None:
    """Write one line of a command's answer, to stdout."""
    sys.stdout.write(f"{text}\n")


def json_result(**summary: Any) -> None:
    """Write the machine-readable summary, one line of JSON, to stdout."""
    result(json.dumps(summary))


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Write a warning as one line; takes the place of `warnings.showwarning`."""
    say("warning: " + " ".join(str(message).split()))


def progress(
    items: Iterable[T],
    *,
    total: int | None,
    label: str,
    unit: str = "frames",
    position: Callable[[], int] | None = None,
) -> Generator[T, None, None]:
    """Yield `items`, showing how far they are: a bar on a terminal, plain lines otherwise.

    Args:
        items: What is worked through.
        total: How many units there will be, None where that is not known.
        label: What the work is called.
        unit: What is counted.
        position: How many units are done; if not given, as many as items.
    """
    shown = _bar if sys.stderr.isatty() else _lines
    with shown(total, label, unit) as show:
        for count, item in enumerate(items, 1):
            yield item
            show(position() if position else count)
        if position:
            show(position())


@contextmanager
def _bar(total: int | None, label: str, unit: str) -> Iterator[Callable[[int], None]]:
    from tqdm import tqdm

    with tqdm(total=total, desc=label, unit=f" {unit}", dynamic_ncols=True) as bar:

        def show(done: int) -> None:
            bar.update(done - bar.n)

        yield show


@contextmanager
def _lines(total: int | None, label: str, unit: str) -> Iterator[Callable[[int], None]]:
    start, last = time.monotonic(), -LINE_EVERY_S

    def show(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_EVERY_S:
            last = now
            of = f" of {total}" if total else ""
            rate = f", {done / (now - start):.1f} per second" if now - start > 1 else ""
            say(f"{label}: {done}{of} {unit}{rate}")

    yield show


class StopRequest:
    """Whether the user has asked to stop.

    Args:
        unit: What is finished first.
    """

    def __init__(self, unit: str = "frame") -> None:
        self.is_set = False
        self._unit = unit

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Note the first signal; at the second, leave at once."""
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True
        _say_at_once(f"stopping after this {self._unit}; once more to leave at once")


def _say_at_once(message: str) -> None:
    """Like `say`, but from where a signal came in: what it cut short may have been writing."""
    try:
        os.write(sys.stderr.fileno(), f"sam2-plugins: {message}\n".encode())
    except (OSError, ValueError):
        # Somebody took stderr over, and cannot be written past.
        with suppress(RuntimeError):
            say(message)


@contextmanager
def stop_request(unit: str = "frame") -> Iterator[StopRequest]:
    """Inside, Ctrl-C and SIGTERM are noted instead of cutting a frame, or another unit, in two."""
    request = StopRequest(unit)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, request.handle) for number in signals]
    try:
        yield request
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
