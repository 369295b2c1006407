"""Objects by group: attributes from a table, and means of a metric group by group."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sam2_plugins.core.evaluation.rows import ScoreRow

__all__ = ["AttributeTable", "read_attributes"]

_SEQUENCE, _OBJECTS = "sequence", ("object", "object_id")


@dataclass(frozen=True, slots=True)
class AttributeTable:
    """What is known of sequences and objects beyond their masks.

    Attributes:
        path: Where it was read.
        names: Of the attributes.
        of_object: (sequence, object id) -> name -> value; id 0 for all objects of a sequence.
    """

    path: Path
    names: tuple[str, ...]
    of_object: Mapping[tuple[str, int], Mapping[str, str]]

    def add_to(self, rows: Sequence[ScoreRow]) -> tuple[ScoreRow, ...]:
        """The rows with their attributes.

        Raises:
            ValueError: No row is in the table.
        """
        found = [self._of(row) for row in rows]
        if not any(found):
            named = sorted({sequence for sequence, _ in self.of_object})[:3]
            own = sorted({row.sequence for row in rows})[:3]
            raise ValueError(f"{self.path} names {named}, but the evaluation has {own}")
        return tuple(
            replace(row, attributes={**row.attributes, **own})
            for row, own in zip(rows, found, strict=True)
        )

    def _of(self, row: ScoreRow) -> dict[str, str]:
        whole = self.of_object.get((row.sequence, 0), {})
        return {**whole, **self.of_object.get((row.sequence, row.object_id), {})}


def read_attributes(path: str | Path) -> AttributeTable:
    """Reads a CSV file with a column `sequence`, perhaps `object`, and one per attribute.

    A line without an object is about all objects of its sequence. Empty cells say nothing.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is missing, or a line is malformed; the message names it.
    """
    path = Path(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        object_column = next((name for name in _OBJECTS if name in columns), None)
        names = tuple(name for name in columns if name not in (_SEQUENCE, *_OBJECTS))
        if _SEQUENCE not in columns or not names:
            raise ValueError(
                f"{path} has columns {columns}; it needs `sequence`, attributes, and for objects "
                "`object`"
            )
        found: dict[tuple[str, int], dict[str, str]] = {}
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"{path}, line {reader.line_num}: not {len(columns)} cells")
            number = row[object_column].strip() if object_column else ""
            if number and not number.isdecimal():
                raise ValueError(f"{path}, line {reader.line_num}: no object id: {number!r}")
            key = row[_SEQUENCE].strip(), int(number or 0)
            values = {name: row[name].strip() for name in names if row[name].strip()}
            found.setdefault(key, {}).update(values)
    return AttributeTable(path, names, found)
