"""What a command that trains shows and hears meanwhile: how far it is, Ctrl-C, and failures."""

from __future__ import annotations

import os
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING

from sam2_plugins.commands.console import INTERRUPTED, progress, say, stop_request

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from sam2_plugins.commands.console import StopRequest
    from sam2_plugins.core.training.watching import Position, Watch


def add_going_on(parser: argparse.ArgumentParser) -> None:
    """Add what is done where there is a run already."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    group.add_argument(
        "--overwrite", action="store_true", help="begin anew where there is a run or model"
    )


class Onlooker:
    """Shows how far a run is; at Ctrl-C it finishes its step and writes a checkpoint."""

    def __init__(self) -> None:
        self._request: StopRequest | None = None

    def wants_stop(self) -> bool:
        """Whether the user has asked to stop."""
        return self._request is not None and self._request.is_set

    def follow(self, positions: Iterator[Position]) -> None:
        """Show all positions until the run ends."""
        with stop_request("step") as self._request:
            # Under torchrun the first process speaks for all of them.
            if os.environ.get("RANK", "0") == "0":
                _show(positions)
            else:
                deque(positions, maxlen=0)


def watched(train: Callable[[Watch], int]) -> int:
    """Train with a watch on it.

    Args:
        train: Trains; gives the exit status.

    Returns:
        The exit status; `INTERRUPTED` where the run has stopped with a checkpoint.

    Raises:
        ValueError: A loss or a gradient was not finite.
    """
    from sam2_plugins.core.training.watching import TrainingStopped, Watch

    onlooker = Onlooker()
    try:
        return train(Watch(onlooker.follow, onlooker.wants_stop))
    except TrainingStopped as stopped:
        say(f"{stopped}: --resume goes on")
        return INTERRUPTED
    except FloatingPointError as error:
        raise ValueError(str(error)) from error


def _show(positions: Iterator[Position]) -> None:
    """A bar or lines: of steps, or of a budget by time."""
    first = next(positions, None)
    if first is None:
        say("the run is complete: nothing was left to train")
        return
    latest, in_all = first, first.num_in_all

    def noted() -> Iterator[Position]:
        nonlocal latest
        for position in chain([first], positions):
            latest = position
            yield position

    shown = progress(
        noted(),
        total=100 if in_all is None else in_all,
        label="training",
        unit="% of the time" if in_all is None else "steps",
        position=lambda: round(100 * latest.share) if in_all is None else latest.num_steps,
    )
    deque(shown, maxlen=0)
