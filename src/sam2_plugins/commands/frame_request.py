"""Which frames a run of `track` is asked for: kept with what it found when it is interrupted."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

_ENTRY = "request.json"


@dataclass(frozen=True, slots=True)
class FrameRequest:
    """Frames, which way, and when to give up.

    Attributes:
        start: First frame.
        stop: First frame that is left out.
        direction: `both`, `forward` or `backward`.
        stop_after_absent: See `VideoTracker.propagate`.
    """

    start: int
    stop: int
    direction: str
    stop_after_absent: int | None

    @classmethod
    def of(cls, arguments: argparse.Namespace, num_frames: int) -> FrameRequest:
        """What the arguments ask for."""
        return cls(
            arguments.start or 0,
            num_frames if arguments.stop is None else arguments.stop,
            arguments.direction,
            arguments.stop_after_absent,
        )

    def covers(self, other: FrameRequest) -> bool:
        """Whether nothing of the other is left when this is done."""
        patience, others = self.stop_after_absent, other.stop_after_absent
        return (
            self.start <= other.start
            and self.stop >= other.stop
            and self.direction in ("both", other.direction)
            and (patience is None or (others is not None and patience >= others))
        )

    def __str__(self) -> str:
        way = "both ways" if self.direction == "both" else self.direction
        return f"frames {self.start} to {self.stop - 1}, {way}"

    def add_to(self, session: Path) -> None:
        """Put it into the file of a session."""
        with zipfile.ZipFile(session, "a") as archive:
            archive.writestr(_ENTRY, json.dumps(asdict(self)))

    @classmethod
    def read_from(cls, session: Path) -> FrameRequest | None:
        """What a session was begun for; None where it does not say."""
        with zipfile.ZipFile(session) as archive:
            if _ENTRY not in archive.namelist():
                return None
            return cls(**json.loads(archive.read(_ENTRY)))
