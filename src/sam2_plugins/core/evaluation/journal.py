"""What a run has finished, line by line on disk, so that it can go on after it was stopped."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from sam2_plugins.core.evaluation.left_out import first_few
from sam2_plugins.core.evaluation.rows import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["JOURNAL_NAME", "Journal"]

JOURNAL_NAME = "progress.jsonl"


class Journal:
    """Finished parts of a run, in `progress.jsonl` of its folder.

    The first line says what the run is; each further one holds a finished part; the last says that
    the run is complete. A line that was cut short, as by a kill, is dropped when the run goes on.

    Args:
        folder: Of the run; made if missing.
        header: What the run is: a run goes on only with the same.
        resume: Keep what is finished; else begin anew.

    Raises:
        ValueError: `folder` holds an unfinished run and `resume` is not set, or it is set and the
            run there is another one.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any], *, resume: bool) -> None:
        self.done: dict[str, Outcome] = {}
        self._path = folder / JOURNAL_NAME
        facts: dict[str, Any] = json.loads(json.dumps(header, default=str))
        folder.mkdir(parents=True, exist_ok=True)
        lines = self._complete_lines()
        if lines and resume:
            self._adopt(lines, facts)
        elif lines and not _is_finished(lines):
            raise ValueError(
                f"{folder} holds an unfinished run of {len(lines) - 1} parts: --resume goes on with"
                f" it; to begin anew, delete {self._path}"
            )
        else:
            self._path.write_text("", encoding="utf-8")
            self._write(facts)

    def add(self, name: str, outcome: Outcome) -> None:
        """Notes a finished part; it is on disk when this returns."""
        self.done[name] = outcome
        self._write({"part": name, "outcome": outcome.to_json()})

    def finish(self) -> None:
        """Notes that the run is complete."""
        self._write({"is_complete": True})

    def _complete_lines(self) -> list[dict[str, Any]]:
        """The lines so far; one that was cut short is removed from the file."""
        if not self._path.is_file():
            return []
        data = self._path.read_bytes()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            with self._path.open("r+b") as file:
                file.truncate(end)
        try:
            return [json.loads(line) for line in data[:end].splitlines()]
        except ValueError as error:
            raise ValueError(f"{self._path} is damaged: {error}; delete it to begin anew") from None

    def _adopt(self, lines: list[dict[str, Any]], header: dict[str, Any]) -> None:
        differing = list(dict.fromkeys(_differences(lines[0], header)))
        if differing:
            raise ValueError(
                f"{self._path.parent} holds another run: {'; '.join(differing)}. "
                f"Take another folder or delete {self._path}"
            )
        for line in lines[1:]:
            if "part" in line:
                self.done[line["part"]] = Outcome.from_json(line["outcome"])

    def _write(self, content: Mapping[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(content, default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """What differs between the facts of two runs, one by one."""
    for name in {**there, **here}:
        old, new = there.get(name), here.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new)
        elif isinstance(old, list) and isinstance(new, list):
            sides = {
                "there": [str(item) for item in old if item not in new],
                "here": [str(item) for item in new if item not in old],
            }
            told = [f"{side} also {first_few(items)}" for side, items in sides.items() if items]
            yield f"{name}: {', '.join(told) or 'in another order'}"
        else:
            yield f"there {name} is {old!r}, here {new!r}"


def _is_finished(lines: list[dict[str, Any]]) -> bool:
    return len(lines) == 1 or bool(lines[-1].get("is_complete"))
