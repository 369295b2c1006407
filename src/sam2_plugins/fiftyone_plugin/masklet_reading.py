"""Masklets of a dataset as a `MaskletVideo`, for export and training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sam2_plugins.core import FrameMasks
from sam2_plugins.fiftyone_plugin.labels import (
    OBJECT_SCORE,
    is_generated,
    to_frame_index,
)
from sam2_plugins.fiftyone_plugin.masklet_video import Masklet, MaskletVideo
from sam2_plugins.fiftyone_plugin.store import UnitLabels
from sam2_plugins.fiftyone_plugin.track_quality import prompt_distances
from sam2_plugins.fiftyone_plugin.tracks import masks_by_track, media_size, read_tracks, track_key
from sam2_plugins.fiftyone_plugin.twins import shown_within

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sam2_plugins.fiftyone_plugin.sources import Unit
    from sam2_plugins.fiftyone_plugin.tracks import Track

__all__ = ["read_video"]

_CHUNK = 32
"""Frames whose masks are held at once."""
_CERTAIN = 10.0
"""The object score of masks without one."""


def read_video(
    dataset: Any, unit: Unit, field: str, *, name: str, left_out: Iterable[str] = ()
) -> MaskletVideo | None:
    """A video's masklets for export.

    Args:
        dataset: That the unit's samples belong to.
        unit: The video, group or image.
        field: Of the masks.
        name: Of the video in the export.
        left_out: Keys of tracks that are not exported.

    Returns:
        None where there are no tracks.
    """
    left_out = set(left_out)
    tracks = {
        key: track
        for key, track in read_tracks(dataset, unit, field).items()
        if key not in left_out
    }
    if not tracks:
        return None
    size, num_frames = media_size(unit)
    ids = _choose_ids(tracks)
    masklets = tuple(
        Masklet(ids[key], track.label, key) for key, track in sorted(tracks.items(), key=_by_index)
    )

    distances = {key: prompt_distances(track.frames) for key, track in tracks.items()}
    around = shown_within({key: track.frames for key, track in tracks.items()})
    within = {key: ids[outer[0]] for key, outer in around.items() if outer}

    def read() -> Iterator[FrameMasks]:
        numbers = sorted({number for track in tracks.values() for number, _ in track.label_ids})
        labels = UnitLabels(dataset, unit)
        for first in range(0, len(numbers), _CHUNK):
            for number, found in sorted(
                labels.read(field, numbers[first : first + _CHUNK]).items()
            ):
                kept = [label for label in found if track_key(label) in tracks]
                index = to_frame_index(number)
                yield _frame_masks(
                    index, kept, ids=ids, distances=distances, within=within, size=size
                )

    paths = () if unit.is_video else unit.paths
    return MaskletVideo(name, unit.paths[0], num_frames, size, masklets, read, paths)


def _by_index(item: tuple[str, Track]) -> tuple[float, str]:
    key, track = item
    return (float("inf") if track.index is None else track.index), key


def _choose_ids(tracks: Mapping[str, Track]) -> dict[str, int]:
    """Object ids: the tracks' own indices where those are 1 or more and each is one track's."""
    ids: dict[str, int] = {}
    for key, track in sorted(tracks.items(), key=_by_index):
        index = track.index or 0
        ids[key] = index if index >= 1 and index not in ids.values() else 0
    free = (number for number in range(1, len(ids) * 2 + 2) if number not in set(ids.values()))
    return {key: number or next(free) for key, number in ids.items()}


def _frame_masks(
    frame_index: int,
    labels: Sequence[Any],
    *,
    ids: Mapping[str, int],
    distances: Mapping[str, Mapping[int, int]],
    within: Mapping[str, int],
    size: tuple[int, int],
) -> FrameMasks:
    masks = masks_by_track(labels, size)
    by_key = {track_key(label): label for label in labels}
    scores = [(by_key[key].confidence, _object_score(by_key[key])) for key in masks]
    return FrameMasks(
        frame_index,
        np.array([ids[key] for key in masks], np.int64),
        np.stack(list(masks.values())) if masks else np.zeros((0, *size), np.bool_),
        np.array([1.0 if iou is None else iou for iou, _ in scores], np.float32),
        np.array([score for _, score in scores], np.float32),
        np.array(
            [
                max(distances[key][frame_index], 1) if is_generated(by_key[key]) else 0
                for key in masks
            ],
            np.int64,
        ),
        np.array([within.get(key, 0) for key in masks], np.int64),
    )


def _object_score(label: Any) -> float:
    probability = getattr(label, OBJECT_SCORE, None)
    if probability is None:
        return _CERTAIN
    clipped = min(max(float(probability), 1e-6), 1 - 1e-6)
    return float(np.log(clipped / (1 - clipped)))
