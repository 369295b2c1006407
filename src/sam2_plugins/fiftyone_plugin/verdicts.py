"""What reviewers have said of tracks, and whether it still holds.

A verdict is on the labels that were there: when a run makes any of them again, it is history. One
that was given on clips or frames is on the labels there alone.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timezone
from itertools import groupby
from typing import TYPE_CHECKING, Any

import fiftyone as fo

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

    from sam2_plugins.fiftyone_plugin.tracks import Track

__all__ = [
    "SENT_BACK",
    "VERDICTS",
    "WITHDRAW",
    "current_verdicts",
    "is_settled",
    "make_entry",
    "review_field",
]

SENT_BACK = "sam2:sent_back"
VERDICTS = {"accept": "sam2:accepted", "reject": "sam2:rejected", "send_back": SENT_BACK}
"""What a reviewer can say, and the tag that the track's labels get."""
WITHDRAW = "withdraw"
"""What a reviewer says to take back what was said: the track is open again."""


def review_field(field: str) -> str:
    """The sample field with the verdicts."""
    return f"{field}_review"


def make_entry(
    track: Track, verdict: str, *, note: str | None = None, frame_numbers: Set[int] | None = None
) -> Any:
    """A verdict as it is kept.

    Args:
        track: Of the whole video.
        verdict: A key of `VERDICTS`, or `WITHDRAW`.
        note: Why.
        frame_numbers: On the labels of these frames; None for all.
    """
    covered = _labelled(track) if frame_numbers is None else frame_numbers
    return fo.DynamicEmbeddedDocument(
        track=track.key,
        index=track.index,
        label=track.label,
        verdict=verdict,
        sam2_run=track.run_on(covered),
        frames=None if frame_numbers is None else _stretches(covered & _labelled(track)),
        note=note,
        at=datetime.now(timezone.utc),
    )


def current_verdicts(
    sample: Any, tracks: Iterable[Track], field: str, *, frame_numbers: Set[int] | None = None
) -> dict[str, str]:
    """Track key -> verdict, of tracks whose labels are still as they were when it was given.

    A track is sent back or rejected where any label is, and accepted where all are.

    Args:
        sample: Of the video, or the first of a group.
        tracks: Of the whole video.
        field: Of the masks.
        frame_numbers: Ask for the labels of these frames; None for all.
    """
    name = review_field(field)
    given: dict[str, list[Any]] = defaultdict(list)
    for entry in (sample[name] or []) if sample.has_field(name) else []:
        given[entry.track].append(entry)
    found = {
        track.key: _verdict(track, given[track.key], frame_numbers)
        for track in tracks
        if track.key in given
    }
    return {key: verdict for key, verdict in found.items() if verdict is not None}


def is_settled(verdict: str | None) -> bool:
    """Whether a track with this verdict needs no further look."""
    return verdict is not None and verdict != "send_back"


def _verdict(track: Track, entries: Iterable[Any], frame_numbers: Set[int] | None) -> str | None:
    labelled = _labelled(track)
    said: dict[int, str | None] = {}
    for entry in entries:
        frames = getattr(entry, "frames", None)
        covered = labelled
        if frames is not None:
            covered = {n for first, last in frames for n in range(first, last + 1)} & labelled
        if track.run_on(covered) == entry.sam2_run:
            said |= dict.fromkeys(covered, None if entry.verdict == WITHDRAW else entry.verdict)
    asked = labelled if frame_numbers is None else labelled & frame_numbers
    found = {said.get(number) for number in asked}
    for verdict in ("send_back", "reject"):
        if verdict in found:
            return verdict
    return "accept" if found == {"accept"} else None


def _labelled(track: Track) -> set[int]:
    return {number for number, _ in track.label_ids}


def _stretches(numbers: Iterable[int]) -> list[list[int]]:
    """First and last of each run of whole numbers."""
    counted = enumerate(sorted(numbers))
    rows = [[n for _, n in row] for _, row in groupby(counted, key=lambda pair: pair[1] - pair[0])]
    return [[row[0], row[-1]] for row in rows]
