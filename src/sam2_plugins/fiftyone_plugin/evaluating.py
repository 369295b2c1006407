"""Compares the masks of two fields, track by track: J, F and their mean.

Counted are the frames on which the truth's field is set, also to no labels. A frame that was
prompted for a track is left out for it, since its mask is what was asked for.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from sam2_plugins.core import FrameScore, score_frame, summarise
from sam2_plugins.fiftyone_plugin.prompts import group_tracks
from sam2_plugins.fiftyone_plugin.sources import flat_samples
from sam2_plugins.fiftyone_plugin.store import UnitLabels
from sam2_plugins.fiftyone_plugin.tracks import Track, masks_by_track, media_size, read_tracks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from sam2_plugins.fiftyone_plugin.sources import Unit

__all__ = ["MATCHES", "Comparison", "TrackScore", "VideoScore", "evaluate_video", "mean_score"]

MATCHES = ("identity", "overlap")
"""How tracks of two fields are paired: by instance or index, or where they overlap most."""

_CHUNK = 32
"""Frames whose masks are held at once."""

Masks = dict[str, "NDArray[np.bool_]"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared with what.

    Attributes:
        field: Of the masks.
        truth_field: Of the true masks.
        prompt_field: Of the prompts; None to count every frame.
        match: One of `MATCHES`.
    """

    field: str
    truth_field: str
    prompt_field: str | None = None
    match: str = MATCHES[0]

    def __post_init__(self) -> None:
        if self.match not in MATCHES:
            raise ValueError(f"match must be {' or '.join(MATCHES)}, not {self.match!r}")


@dataclass(frozen=True, slots=True)
class TrackScore:
    """One true track.

    Attributes:
        truth: The true track.
        found: Key of the track it was compared with; None where there is none.
        num_frames: Counted frames.
        j: Mean region similarity, NaN without frames.
        f: Mean boundary accuracy, likewise.
        j_and_f: Mean of both.
    """

    truth: Track
    found: str | None
    num_frames: int
    j: float
    f: float
    j_and_f: float


@dataclass(frozen=True, slots=True)
class VideoScore:
    """One video.

    Attributes:
        tracks: Of the truth.
        frames: J&F by 1-based frame number, mean of the tracks counted there.
        num_extra: Tracks that were found and are not in the truth.
    """

    tracks: tuple[TrackScore, ...] = ()
    frames: Mapping[int, float] = field(default_factory=dict)
    num_extra: int = 0


def mean_score(scores: Sequence[TrackScore]) -> dict[str, float | None]:
    """`j`, `f` and `j_and_f` over all tracks alike; None where there are none."""
    counted = [score for score in scores if score.num_frames]
    return {
        name: float(np.mean([getattr(score, name) for score in counted])) if counted else None
        for name in ("j", "f", "j_and_f")
    }


def evaluate_video(dataset: Any, unit: Unit, comparison: Comparison) -> VideoScore:
    """Compares one video's, group's or image's masks with the truth.

    Raises:
        ValueError: No track of the two fields is the same, though both have some, or those that
            were found have no masks.
        FileNotFoundError: The media file is missing: its size is needed.
    """
    truth = read_tracks(dataset, unit, comparison.truth_field)
    found = read_tracks(dataset, unit, comparison.field)
    numbers = _annotated_frames(dataset, unit, comparison.truth_field)
    labels = UnitLabels(dataset, unit)
    if not truth or not numbers or not labels.has_masks(comparison.truth_field):
        return VideoScore(num_extra=len(found))
    if found and not labels.has_masks(comparison.field):
        raise ValueError(f"{unit.name}: the labels in {comparison.field!r} have no masks")
    reader = _PairReader(dataset, unit, comparison, numbers)
    if comparison.match == "overlap":
        pairs = _pair_by_overlap(reader, list(truth), list(found))
    else:
        pairs = _pair_by_identity(truth, found)
        if found and not pairs:
            raise ValueError(
                f"{unit.name}: no track of {comparison.field!r} has an instance or index of "
                f"{comparison.truth_field!r}; choose match=overlap"
            )
    return _score(reader, truth, pairs, num_extra=len(found) - len(pairs))


def _annotated_frames(dataset: Any, unit: Unit, truth_field: str) -> list[int]:
    """Numbers of the frames whose field is set."""
    samples = flat_samples(dataset, unit.sample_ids, is_video=unit.is_video)
    if not unit.is_video:
        rows = samples.values(f"{truth_field}.detections.id")
        return [number for number, ids in enumerate(rows, 1) if ids is not None]
    numbers, rows = samples.values(["frames.frame_number", f"frames.{truth_field}.detections.id"])
    pairs = zip(numbers[0] or (), rows[0] or (), strict=True)
    return sorted(
        number
        for number, ids in pairs
        if ids is not None and (unit.frame_numbers is None or number in unit.frame_numbers)
    )


class _PairReader:
    """Masks of both fields, some frames at a time, as often as wanted."""

    def __init__(
        self, dataset: Any, unit: Unit, comparison: Comparison, numbers: Sequence[int]
    ) -> None:
        self._labels = UnitLabels(dataset, unit)
        self._comparison = comparison
        self._numbers = numbers
        self._size, _ = media_size(unit)
        # Of an image nothing would be left to count.
        is_image = not unit.is_video and len(unit.sample_ids) == 1
        self.prompted = _prompted_frames(
            self._labels, None if is_image else comparison.prompt_field
        )

    def __iter__(self) -> Iterator[tuple[int, Masks, Masks]]:
        """(frame number, true masks, found masks), by track key."""
        for first in range(0, len(self._numbers), _CHUNK):
            chunk = self._numbers[first : first + _CHUNK]
            truth = self._labels.read(self._comparison.truth_field, chunk)
            found = self._labels.read(self._comparison.field, chunk)
            for number in chunk:
                yield (
                    number,
                    masks_by_track(truth.get(number, ()), self._size),
                    masks_by_track(found.get(number, ()), self._size),
                )

    @property
    def nothing(self) -> NDArray[np.bool_]:
        """An empty mask of the video's size."""
        return np.zeros(self._size, np.bool_)


def _prompted_frames(labels: UnitLabels, prompt_field: str | None) -> dict[str | int, set[int]]:
    """Frame numbers with prompts, by instance and by index of the track."""
    prompted: dict[str | int, set[int]] = defaultdict(set)
    if prompt_field is not None:
        for track in group_tracks(labels.unit, [labels.read(prompt_field)]):
            for key in (track.identity.instance_id, track.identity.index):
                prompted[key] |= set(track.labels)
    return prompted


def _pair_by_identity(truth: Mapping[str, Track], found: Mapping[str, Track]) -> dict[str, str]:
    by_index = {track.index: key for key, track in found.items() if track.index is not None}
    pairs = {key: key for key in truth if key in found}
    taken = set(pairs.values())
    for key, track in truth.items():
        match = None if track.index is None else by_index.get(track.index)
        if key not in pairs and match is not None and match not in taken:
            pairs[key] = match
    return pairs


def _pair_by_overlap(
    reader: _PairReader, truth: Sequence[str], found: Sequence[str]
) -> dict[str, str]:
    """The pairs with the greatest sum of IoU over the whole video; those that overlap at all."""
    common = np.zeros((len(truth), len(found)))
    areas = np.zeros(len(truth))[:, None], np.zeros(len(found))[None, :]
    for _, true_masks, found_masks in reader:
        for row, key in enumerate(truth):
            areas[0][row] += np.count_nonzero(true_masks.get(key, False))
        for column, key in enumerate(found):
            areas[1][0, column] += np.count_nonzero(found_masks.get(key, False))
        for key, mask in true_masks.items():
            for other, other_mask in found_masks.items():
                overlap = np.count_nonzero(mask & other_mask)
                common[truth.index(key), found.index(other)] += overlap
    iou = common / np.maximum(areas[0] + areas[1] - common, 1)
    rows, columns = linear_sum_assignment(-iou)
    return {
        truth[row]: found[column]
        for row, column in zip(rows, columns, strict=True)
        if iou[row, column] > 0
    }


def _score(
    reader: _PairReader, truth: Mapping[str, Track], pairs: Mapping[str, str], *, num_extra: int
) -> VideoScore:
    scores: dict[str, list[FrameScore]] = {key: [] for key in truth}
    frames: dict[int, list[float]] = defaultdict(list)
    nothing = reader.nothing
    for number, true_masks, found_masks in reader:
        for key, track in truth.items():
            asked = reader.prompted.get(pairs.get(key, key), set())
            asked = asked | reader.prompted.get(-1 if track.index is None else track.index, set())
            if number in asked:
                continue
            found_mask = found_masks.get(pairs.get(key, ""), nothing)
            score = score_frame(found_mask, true_masks.get(key, nothing))
            scores[key].append(score)
            frames[number].append((score.j + score.f) / 2)
    tracks = tuple(_summary(truth[key], pairs.get(key), rows) for key, rows in scores.items())
    means = {number: float(np.mean(values)) for number, values in frames.items()}
    return VideoScore(tracks, means, num_extra)


def _summary(truth: Track, found: str | None, rows: Sequence[FrameScore]) -> TrackScore:
    total = summarise(rows)
    if not rows:
        return TrackScore(truth, found, 0, math.nan, math.nan, math.nan)
    return TrackScore(truth, found, total.num_frames, total.j, total.f, total.j_and_f)
