"""Judging the tracks of a video, and the figures that are kept of it on its sample."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import reduce
from math import gcd
from typing import TYPE_CHECKING, Any

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.labels import to_frame_index, to_frame_number
from sam2_plugins.fiftyone_plugin.quality import TrackQuality, VideoQuality, assess_video
from sam2_plugins.fiftyone_plugin.sources import flat_samples
from sam2_plugins.fiftyone_plugin.tracks import read_tracks

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sam2_plugins.fiftyone_plugin.sources import Unit
    from sam2_plugins.fiftyone_plugin.tracks import Track

__all__ = [
    "QUALITY",
    "Assessment",
    "assess",
    "last_index",
    "quality_document",
    "quality_field",
    "suggestions_field",
]

QUALITY = {
    "num_tracks": fo.IntField,
    "mean_predicted_iou": fo.FloatField,
    "lowest_predicted_iou": fo.FloatField,
    "lowest_frame": fo.IntField,
    "num_absences": fo.IntField,
    "num_jumps": fo.IntField,
    "num_twins": fo.IntField,
    "greatest_doubt": fo.FloatField,
}
"""What is known of a video's masks, and its kind."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """One video's tracks, judged.

    Attributes:
        unit: The video.
        tracks: By key.
        quality: Of them.
        last_frames: Track key -> index of the last frame that runs have reached.
    """

    unit: Unit
    tracks: dict[str, Track]
    quality: VideoQuality
    last_frames: Mapping[str, int]


def quality_field(field: str) -> str:
    """The sample field with the figures of masks in `field`."""
    return f"{field}_quality"


def suggestions_field(field: str) -> str:
    """The sample field with the numbers of frames worth correcting."""
    return f"{field}_suggestions"


def assess(
    dataset: Any,
    unit: Unit,
    field: str,
    *,
    last_frames: Mapping[str, int] | None = None,
    last_frame: int | None = None,
) -> Assessment:
    """Judges the tracks of a whole video by their scores and boxes.

    Args:
        dataset: That the video belongs to.
        unit: The video.
        field: Of the masks.
        last_frames: Track key -> index of the last frame that a run has reached now, from which it
            is told whether the track is lost. Of other tracks it is what earlier runs have
            reached, else `last_frame`.
        last_frame: Index of the last frame that is meant; that which the video has by its metadata
            if not given.
    """
    tracks = read_tracks(dataset, unit, field)
    reached = _reached(dataset, unit, field)
    for key, index in (last_frames or {}).items():
        # Where earlier runs have left no label, how far they came says nothing any more.
        is_older = key in tracks and len(set(tracks[key].runs.values())) > 1
        reached[key] = max(index, reached.get(key, index)) if is_older else index
    frames = {key: track.frames for key, track in tracks.items()}
    last = _last_frame(dataset, unit) if last_frame is None else last_frame
    ends = {key: reached.get(key, last) for key in tracks}
    known = {key: index for key, index in ends.items() if index is not None}
    quality = assess_video(frames, _looked_at(tracks, known), last_frames=known)
    kept = {key: index for key, index in reached.items() if key in tracks}
    return Assessment(unit, tracks, quality, kept)


def last_index(numbers: Collection[int] | None) -> int | None:
    """Index of the last of some frames, given by their numbers; None where all are meant."""
    return None if numbers is None else to_frame_index(max(numbers))


def _looked_at(tracks: Mapping[str, Track], ends: Mapping[str, int]) -> list[int]:
    """The frames that runs went through, as far as their labels tell: each run has its own stride.

    What lies between the frames of two runs, such as those over two clips, was not looked at.
    """
    rows: dict[str | None, set[int]] = defaultdict(set)
    lasts: dict[str | None, int] = defaultdict(int)
    for key, track in tracks.items():
        for number, _ in track.label_ids:
            rows[track.runs.get(number)].add(to_frame_index(number))
        run = track.runs[max(track.runs)] if track.runs else None
        lasts[run] = max(lasts[run], ends.get(key, 0))
    steps = {run: reduce(gcd, (i - min(row) for i in row), 0) for run, row in rows.items()}
    usual = reduce(gcd, (step for run, step in steps.items() if run is not None), 0)
    found: set[int] = set()
    for run, row in rows.items():
        found |= row
        if run is not None or len(rows) == 1:
            step = steps[run] or usual or 1
            found |= set(range(min(row), max(*row, lasts[run]) + 1, step))
    return sorted(found)


def _reached(dataset: Any, unit: Unit, field: str) -> dict[str, int]:
    """Track key -> index of the last frame that earlier runs have reached."""
    name = quality_field(field)
    if not dataset.has_sample_field(name):
        return {}
    samples = flat_samples(dataset, unit.sample_ids[:1], is_video=unit.is_video)
    kept = next(iter(samples.values(name)), None)
    return {
        entry.track: to_frame_index(entry.last_frame)
        for entry in getattr(kept, "tracks", None) or ()
        if getattr(entry, "last_frame", None)
    }


def _last_frame(dataset: Any, unit: Unit) -> int | None:
    if not unit.is_video:
        return len(unit.sample_ids) - 1
    samples = flat_samples(dataset, unit.sample_ids, is_video=True)
    counts = samples.values("metadata.total_frame_count")
    return counts[0] - 1 if counts and counts[0] else None


def quality_document(assessment: Assessment) -> Any:
    """The figures as they are kept on the sample."""
    quality, lowest = assessment.quality, assessment.quality.lowest
    return fo.DynamicEmbeddedDocument(
        num_tracks=len(quality.tracks),
        mean_predicted_iou=_known(quality.mean_predicted_iou),
        lowest_predicted_iou=None if lowest is None else lowest.lowest_predicted_iou,
        lowest_frame=_number(None if lowest is None else lowest.lowest_frame),
        num_absences=quality.num_absences,
        num_jumps=quality.num_jumps,
        num_twins=quality.num_twins,
        greatest_doubt=quality.greatest_doubt,
        tracks=[_track_document(assessment, track) for track in quality.tracks],
    )


def _track_document(assessment: Assessment, quality: TrackQuality) -> Any:
    track = assessment.tracks[quality.track]
    return fo.DynamicEmbeddedDocument(
        track=track.key,
        index=track.index,
        label=track.label,
        num_frames=quality.num_frames,
        mean_predicted_iou=_known(quality.mean_predicted_iou),
        lowest_predicted_iou=_known(quality.lowest_predicted_iou),
        lowest_frame=_number(quality.lowest_frame),
        last_frame=_number(assessment.last_frames.get(track.key)),
        absences=[
            [to_frame_number(first), to_frame_number(last)] for first, last in quality.absences
        ],
        jumps=[to_frame_number(index) for index in quality.jumps],
        twins=[to_frame_number(index) for index in quality.twins],
        flags=list(quality.flags),
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(frame_index: int | None) -> int | None:
    return None if frame_index is None else to_frame_number(frame_index)
