"""Carrying out an evaluation part by part: progress, several processes, going on after a stop."""

from __future__ import annotations

import pickle
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from sam2_plugins.core.child_processes import child_context, interrupt_with_parent
from sam2_plugins.core.evaluation.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sam2_plugins.core.evaluation.rows import Outcome

__all__ = ["Progress", "RunOptions", "run_parts"]

Progress: TypeAlias = "Callable[[int, int, str], None]"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is carried out; none of it changes a number.

    Attributes:
        output: Folder that gets results, and while the run lasts what is finished.
        resume: Go on with the unfinished run in `output`.
        workers: Processes that share the work, each with a model of its own.

    Raises:
        ValueError: There is nothing to resume, or less than one process.
    """

    output: str | Path | None = None
    resume: bool = False
    workers: int = 1

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers must be 1 or more, not {self.workers}")
        if self.resume and self.output is None:
            raise ValueError("resume needs the folder of the run to go on with")


def run_parts(
    measure: Callable[[Any], Outcome],
    parts: Mapping[str, Any],
    *,
    header: Mapping[str, Any],
    run: RunOptions,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Measures every part once.

    Args:
        measure: Measures one part; with several processes it travels to each by pickle.
        parts: Name -> what `measure` takes.
        header: What the run is, so that another one is not mistaken for it.
        run: How to carry it out.
        progress: Called with number, count and name as a part begins; with several processes, as it
            ends.

    Returns:
        The outcomes in the order of the parts.

    Raises:
        ValueError: A part cannot be measured, or the output holds another run.
        OSError: A process died; what was finished is kept.
    """
    journal = None
    done: dict[str, Outcome] = {}
    if run.output is not None:
        facts = {**header, "parts": list(parts)}
        journal = Journal(Path(run.output), facts, resume=run.resume)
        done.update(journal.done)
    left = {name: part for name, part in parts.items() if name not in done}
    steps = _one_by_one if run.workers == 1 or len(left) < 2 else _side_by_side

    def begin(name: str) -> None:
        if progress is not None:
            progress(len(done), len(parts), name)

    for name, outcome in steps(measure, left, run.workers, begin):
        done[name] = outcome
        if journal is not None:
            journal.add(name, outcome)
    if journal is not None:
        journal.finish()
    return [done[name] for name in parts]


def _one_by_one(
    measure: Callable[[Any], Outcome],
    parts: Mapping[str, Any],
    workers: int,
    begin: Callable[[str], None],
) -> Iterator[tuple[str, Outcome]]:
    for name, part in parts.items():
        begin(name)
        yield name, measure(part)


_measure: Callable[[Any], Outcome] | None = None


def _prepare(pickled: bytes, num_threads: int) -> None:
    """In a new process: unpack what measures, once."""
    global _measure
    # Ctrl-C reaches every process of a terminal: these then end without a word
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    interrupt_with_parent()
    torch.set_num_threads(num_threads)
    _measure = pickle.loads(pickled)  # made by this program, in the process that started this one


def _measure_here(part: Any) -> Outcome:
    assert _measure is not None
    return _measure(part)


def _side_by_side(
    measure: Callable[[Any], Outcome],
    parts: Mapping[str, Any],
    workers: int,
    begin: Callable[[str], None],
) -> Iterator[tuple[str, Outcome]]:
    workers = min(workers, len(parts))
    num_threads = max(1, torch.get_num_threads() // workers)
    with ProcessPoolExecutor(
        workers,
        mp_context=child_context("sam2_plugins.core.evaluation.runs"),
        initializer=_prepare,
        initargs=(pickle.dumps(measure), num_threads),
    ) as pool:
        futures = {pool.submit(_measure_here, part): name for name, part in parts.items()}
        try:
            for future in as_completed(futures):
                begin(futures[future])
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise OSError(
                f"one of {workers} processes died, out of memory perhaps; what is finished is kept"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
