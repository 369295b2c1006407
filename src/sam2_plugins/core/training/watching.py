"""How a run is looked on from outside: how far it is, and whether it should stop."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Position(NamedTuple):
    """How far a run is.

    Attributes:
        num_steps: Steps done since it was started or resumed.
        num_in_all: How many those will be; None where the budget is time.
        share: Of the whole run, in [0, 1].
    """

    num_steps: int
    num_in_all: int | None
    share: float


def run_through(positions: Iterator[Position]) -> None:
    """Let a run go on to its end, unseen."""
    for _ in positions:
        pass


def never() -> bool:
    """Let a run go on."""
    return False


@dataclass(frozen=True)
class Watch:
    """Who looks on.

    Attributes:
        follow: Takes all positions, one after each step or now and then; the run goes on while it
            does.
        wants_stop: Asked in every step whether it should be the last one.
    """

    follow: Callable[[Iterator[Position]], None] = run_through
    wants_stop: Callable[[], bool] = never


class TrainingStopped(Exception):
    """A run was asked to stop, and has written its checkpoint.

    Args:
        checkpoint: From which it goes on.
        step: Steps done in all.
    """

    def __init__(self, checkpoint: Path, step: int) -> None:
        super().__init__(f"stopped after step {step}; the checkpoint is {checkpoint}")
        self.checkpoint = checkpoint
        self.step = step
