"""Judging the tracks of a video, and the figures that are kept of it on its sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from math import gcd
from typing import TYPE_CHECKING, Any

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.labels import to_frame_number
from sam2_plugins.fiftyone_plugin.quality import TrackQuality, VideoQuality, assess_video
from sam2_plugins.fiftyone_plugin.sources import flat_samples
from sam2_plugins.fiftyone_plugin.tracks import Track, read_tracks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sam2_plugins.fiftyone_plugin.sources import Unit

__all__ = [
    "QUALITY",
    "Assessment",
    "assess",
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
    """

    unit: Unit
    tracks: dict[str, Track]
    quality: VideoQuality


def quality_field(field: str) -> str:
    """The sample field with the figures of masks in `field`."""
    return f"{field}_quality"


def suggestions_field(field: str) -> str:
    """The sample field with the numbers of frames worth correcting."""
    return f"{field}_suggestions"


def assess(dataset: Any, unit: Unit, field: str, *, last_frame: int | None = None) -> Assessment:
    """Judges the tracks of a video by their scores and boxes.

    Args:
        dataset: That the video belongs to.
        unit: The video.
        field: Of the masks.
        last_frame: Index of the last that was looked at, from which it is told whether a track is
            lost; if not given, the last that the video has by its metadata.
    """
    tracks = read_tracks(dataset, unit, field)
    frames = {key: track.frames for key, track in tracks.items()}
    labelled = sorted({frame.frame_index for row in frames.values() for frame in row})
    last = _last_frame(dataset, unit) if last_frame is None else last_frame
    return Assessment(unit, tracks, assess_video(frames, _looked_at(labelled, last)))


def _looked_at(labelled: Sequence[int], last: int | None) -> list[int]:
    """The frames that a run went through, as far as its labels tell: its stride is theirs."""
    if not labelled:
        return []
    step = reduce(gcd, (index - labelled[0] for index in labelled), 0) or 1
    return list(range(labelled[0], max(labelled[-1], last or 0) + 1, step))


def _last_frame(dataset: Any, unit: Unit) -> int | None:
    if unit.frame_numbers is not None:
        return max(unit.frame_numbers) - 1
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
        tracks=[_track_document(assessment.tracks[t.track], t) for t in quality.tracks],
    )


def _track_document(track: Track, quality: TrackQuality) -> Any:
    return fo.DynamicEmbeddedDocument(
        track=track.key,
        index=track.index,
        label=track.label,
        num_frames=quality.num_frames,
        mean_predicted_iou=_known(quality.mean_predicted_iou),
        lowest_predicted_iou=_known(quality.lowest_predicted_iou),
        lowest_frame=_number(quality.lowest_frame),
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
