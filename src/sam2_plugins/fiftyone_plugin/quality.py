"""How far a track can be trusted, told from its scores and boxes alone.

A track is judged against itself: a jump is a step that is unlike the track's other steps, so an
object that is fast throughout does not jump. Only of one thing that several tracks are on do others
tell: one of them has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from statistics import median
from typing import TYPE_CHECKING

from sam2_plugins.fiftyone_plugin.track_quality import (
    FLAGS,
    JUMP,
    LOST,
    LOW_IOU,
    TWIN,
    TrackFrame,
    TrackQuality,
    VideoQuality,
    box_iou,
)
from sam2_plugins.fiftyone_plugin.twins import find_twins

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

__all__ = [
    "FLAGS",
    "JUMP",
    "LOST",
    "LOW_IOU",
    "SUSPECT",
    "TWIN",
    "Suggestion",
    "TrackFrame",
    "TrackQuality",
    "VideoQuality",
    "assess_track",
    "assess_video",
    "box_iou",
    "suggest_frames",
]

SUSPECT = 0.6
"""A predicted IoU below this flags the track."""

_JUMP_IOU = 0.3
"""Boxes of neighbouring frames that overlap less are a jump, unless the track is always so."""
_CLEAR_PRESENCE = 4.0
"""Object scores this far from 0 leave no doubt whether the object is there."""
_TWIN_DOUBT = 0.5
"""What being on another track's thing adds to a frame's doubt."""
_SPACING = 10
"""Suggested frames of one track lie at least this part of its length apart,"""
_LEAST_APART, _MOST_APART = 3, 30
"""but no fewer frames than the first, and no more than the second need be between two faults."""
_NEIGHBOURS = 2
"""Frames less far apart look the same: of different tracks, they are named as one frame."""


@dataclass(frozen=True, order=True, slots=True)
class Suggestion:
    """A frame worth correcting; the greatest doubt sorts first.

    Attributes:
        rank: Minus the doubt.
        frame_index: 0-based.
        track: Key of the track.
        reason: What is wrong there, in words.
    """

    rank: float
    frame_index: int
    track: str
    reason: str = field(compare=False, default="")

    @property
    def doubt(self) -> float:
        """How much the frame is worth a look; 0 is none."""
        return -self.rank


def assess_video(
    tracks: Mapping[str, Iterable[TrackFrame]],
    frame_indices: Sequence[int] | None = None,
    *,
    last_frames: Mapping[str, int] | None = None,
) -> VideoQuality:
    """Judges every track of a video.

    Args:
        tracks: Key -> the frames of one object, in any order.
        frame_indices: Frames that were looked at, ascending; None for all on which any track has a
            label. Of a track those count from its first label on: before, it was not looked for.
        last_frames: Key -> index of the last frame on which the track was looked for, unless it
            has labels after that; of tracks that are not named, the last of `frame_indices`.
    """
    rows = {key: list(frames) for key, frames in tracks.items()}
    if frame_indices is None:
        frame_indices = sorted({frame.frame_index for row in rows.values() for frame in row})
    twins, ends = find_twins(rows), dict(last_frames or {})
    for key, row in rows.items():
        ends[key] = max(ends.get(key, frame_indices[-1] if frame_indices else 0), _last(row))
    qualities = tuple(
        assess_track(
            *(key, row, [index for index in frame_indices if _first(row) <= index <= ends[key]]),
            twins=twins[key],
        )
        for key, row in rows.items()
    )
    means = [quality.mean_predicted_iou for quality in qualities]
    return VideoQuality(qualities, _mean(means))


def _first(frames: Iterable[TrackFrame]) -> int:
    return min((frame.frame_index for frame in frames if frame.is_visible), default=0)


def _last(frames: Iterable[TrackFrame]) -> int:
    return max((frame.frame_index for frame in frames), default=0)


def assess_track(
    track: str,
    frames: Iterable[TrackFrame],
    frame_indices: Sequence[int],
    *,
    twins: Sequence[int] = (),
) -> TrackQuality:
    """Judges one track.

    Args:
        track: Its key.
        frames: In any order; frames without a label need not be there.
        frame_indices: Frames that were looked at, ascending: those without a visible label among
            them are absences.
        twins: Those on which a track with more right is on the same thing.
    """
    rows = {frame.frame_index: frame for frame in frames}
    seen = {index: frame for index, frame in rows.items() if frame.is_visible}
    scored = {
        index: frame.predicted_iou
        for index, frame in sorted(seen.items())
        if not math.isnan(frame.predicted_iou)
    }
    lowest_frame = min(scored, key=lambda index: scored[index], default=None)
    overlaps = _overlaps(seen, frame_indices)
    usual = median(overlaps.values()) if overlaps else 1.0
    jumps = tuple(index for index, iou in overlaps.items() if iou < min(_JUMP_IOU, usual / 2))
    absences = _absences(seen, frame_indices)
    lowest = math.nan if lowest_frame is None else scored[lowest_frame]
    is_lost = bool(seen) and any(frame_indices[-1] == last for _, last in absences)
    doubts = _doubts(seen, overlaps, usual=usual)
    doubts |= {index: doubts.get(index, 0.0) + _TWIN_DOUBT for index in twins}
    faults = (lowest < SUSPECT, is_lost, bool(jumps), bool(twins))
    return TrackQuality(
        track,
        len(seen),
        _mean(scored.values()),
        lowest,
        lowest_frame,
        absences,
        jumps,
        tuple(twins),
        doubts | dict.fromkeys(_vanishing(rows, absences), 0.5),
        tuple(flag for flag, holds in zip(FLAGS, faults, strict=True) if holds),
    )


def _overlaps(seen: Mapping[int, TrackFrame], frame_indices: Sequence[int]) -> dict[int, float]:
    """Frame index -> IoU of its box and that of the frame before, where both show the object.

    Not across frames that were not looked at, as between two clips.
    """
    pairs = list(pairwise(frame_indices))
    usual = median(index - before for before, index in pairs) if pairs else 0
    return {
        index: box_iou(seen[before].box, seen[index].box)
        for before, index in pairs
        if before in seen and index in seen and index - before <= 2 * usual
    }


def _absences(
    seen: Mapping[int, TrackFrame], frame_indices: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    stretches = groupby(frame_indices, key=lambda index: index in seen)
    missing = [list(stretch) for is_seen, stretch in stretches if not is_seen]
    return tuple((stretch[0], stretch[-1]) for stretch in missing)


def _doubts(
    seen: Mapping[int, TrackFrame],
    overlaps: Mapping[int, float],
    *,
    usual: float,
) -> dict[int, float]:
    """Expected error, plus how unusual the step was, plus how undecided the presence is."""
    doubts = {}
    for index, frame in seen.items():
        if frame.is_given:
            continue
        value = 0.0 if math.isnan(frame.predicted_iou) else 1 - frame.predicted_iou
        value += max(0.0, usual - overlaps.get(index, usual)) / 2
        if not math.isnan(frame.object_score_logit):
            value += max(0.0, 1 - abs(frame.object_score_logit) / _CLEAR_PRESENCE) / 2
        doubts[index] = value
    return doubts


def _vanishing(
    rows: Mapping[int, TrackFrame], absences: Sequence[tuple[int, int]]
) -> Iterator[int]:
    """Where a look is worth while for an absence: its first frame, unless a person said so."""
    for first, _ in absences:
        if first not in rows or not rows[first].is_given:
            yield first


def suggest_frames(
    quality: VideoQuality,
    count: int,
    *,
    min_distance: int | None = None,
    frame_indices: Container[int] | None = None,
) -> list[Suggestion]:
    """The frames most worth correcting, those with the greatest doubt first.

    Neighbouring frames are wrong together and one correction mends them all, so of frames of a
    track that lie close only the worst is named. Different tracks may share a frame, but are not
    named on neighbouring ones: whoever looks at the one sees what is wrong on the other.

    Args:
        quality: Of `assess_video`.
        count: At most so many.
        min_distance: Frames of one track lie at least so far apart; None for a part of its length.
        frame_indices: Only of these; None for all.

    Raises:
        ValueError: `count` is not 1 or more.
    """
    if count < 1:
        raise ValueError(f"the number of frames to suggest must be 1 or more, not {count}")
    distances = {track.track: min_distance or _distance(track) for track in quality.tracks}
    tracks = {track.track: track for track in quality.tracks}
    candidates = sorted(
        Suggestion(-doubt, index, track.track)
        for track in quality.tracks
        for index, doubt in track.doubts.items()
        if doubt > 0 and (frame_indices is None or index in frame_indices)
    )
    chosen: list[Suggestion] = []
    for entry in candidates:
        if len(chosen) == count:
            break
        if all(_is_apart(entry, other, distances[entry.track]) for other in chosen):
            reason = _reason(tracks[entry.track], entry.frame_index)
            chosen.append(replace(entry, reason=reason))
    return chosen


def _distance(track: TrackQuality) -> int:
    return min(max(_LEAST_APART, len(track.doubts) // _SPACING), _MOST_APART)


def _is_apart(entry: Suggestion, other: Suggestion, distance: int) -> bool:
    gap = abs(entry.frame_index - other.frame_index)
    if entry.track == other.track:
        return gap >= distance
    return gap == 0 or gap >= _NEIGHBOURS


def _reason(track: TrackQuality, frame_index: int) -> str:
    for first, last in track.absences:
        if first == frame_index:
            return f"absent on {last - first + 1} frames" if last > first else "absent"
    if frame_index in track.twins:
        return "on what another track is on"
    if frame_index in track.jumps:
        return "jumps"
    if frame_index == track.lowest_frame:
        return f"lowest predicted IoU, {track.lowest_predicted_iou:.2f}"
    return "low scores"


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
