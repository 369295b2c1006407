"""What was measured: one row per object and method, and what one sequence or image gave."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Outcome", "ScoreRow"]


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One object, measured.

    Attributes:
        sequence: Name of the video, volume or image.
        object_id: Id in the annotation; 0 for what is measured of a whole sequence.
        method: What made the masks: `sam2`, `copy` or `flow`; for images the prompt, for
            interactive evaluation the protocol.
        metrics: Name -> value; NaN where there is nothing to measure.
        attributes: What objects are grouped by: name -> value.
    """

    sequence: str
    object_id: int
    method: str
    metrics: Mapping[str, float]
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one sequence or image gave.

    Attributes:
        rows: One per object and method.
        seconds: Method -> seconds spent in it.
        signature: Of the data: changes when pixels or truth do.
    """

    rows: tuple[ScoreRow, ...]
    seconds: Mapping[str, float]
    signature: str

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Outcome:
        """From what `to_json` gave."""
        rows = tuple(ScoreRow(**row) for row in content["rows"])
        return cls(rows, content["seconds"], content["signature"])
