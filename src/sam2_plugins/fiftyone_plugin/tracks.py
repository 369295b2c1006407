"""Reads tracks from a dataset: whose labels belong together, their scores, their masks.

A track is told by its `instance`, else by its `index`, else a label stands for itself, as in the
App. Its key is that in words: 24 hexadecimal digits, `track-3`, or a label's id.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import fiftyone as fo
from sam2_plugins.core import open_frames
from sam2_plugins.fiftyone_plugin.geometry import detection_mask
from sam2_plugins.fiftyone_plugin.labels import (
    KEYFRAME,
    OBJECT_SCORE,
    RUN,
    instance_id,
    to_frame_index,
)
from sam2_plugins.fiftyone_plugin.sources import Unit, flat_samples, list_units, root_dataset
from sam2_plugins.fiftyone_plugin.track_quality import TrackFrame

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Track",
    "check_masks_field",
    "list_media",
    "mask_fields",
    "masks_by_track",
    "media_size",
    "read_tracks",
    "track_key",
]

_PARTS = ("id", "instance._id", "index", "label", "bounding_box", "confidence")
_ATTRIBUTES = (OBJECT_SCORE, KEYFRAME, RUN)


@dataclass(slots=True)
class Track:
    """One track of a video, without its masks.

    Attributes:
        key: As above.
        index: FiftyOne's track number, if any.
        label: Class name, if any.
        frames: In order.
        label_ids: (frame number, id) of each label, in order.
        runs: Frame number -> id of the run that made the label there, where one did.
    """

    key: str
    index: int | None = None
    label: str | None = None
    frames: list[TrackFrame] = field(default_factory=list)
    label_ids: list[tuple[int, str]] = field(default_factory=list)
    runs: dict[int, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What to call it in messages and tables."""
        shown = self.key if self.index is None else f"{self.index}"
        return f"{self.label} {shown}" if self.label else shown

    def run_on(self, frame_numbers: Container[int]) -> str | None:
        """Id of the run that made its labels on some frames: of several, all ids; None of none."""
        found = {run for number, run in self.runs.items() if number in frame_numbers}
        return ",".join(sorted(found)) or None


def track_key(label: Any) -> str:
    """The key of a label's track."""
    return _key(instance_id(label), label.index, label.id)


def _key(instance: Any, index: int | None, label_id: Any) -> str:
    if instance is not None:
        return str(instance)
    return f"track-{index}" if index is not None else str(label_id)


def mask_fields(collection: Any, *, is_video: bool | None = None) -> list[str]:
    """Fields of Detections.

    Args:
        collection: A dataset or view.
        is_video: Whether those of frames, or those of samples; if not given, those of frames where
            there are frames, as in grouped datasets with videos.
    """
    schema = None if is_video is False else collection.get_frame_field_schema()
    if schema is None:
        schema = {} if is_video else collection.get_field_schema()
    return [
        name
        for name, kind in schema.items()
        if isinstance(kind, fo.EmbeddedDocumentField) and kind.document_type is fo.Detections
    ]


def check_masks_field(collection: Any, name: str, *, is_video: bool | None = None) -> None:
    """Refuses a field that does not hold Detections.

    Args:
        collection: A dataset or view.
        name: Of the field.
        is_video: As of `mask_fields`.

    Raises:
        ValueError: The message lists the fields that do.
    """
    fields = mask_fields(collection, is_video=is_video)
    if name not in fields:
        known = f"those are {', '.join(fields)}" if fields else "there is none"
        raise ValueError(f"{name!r} is no field of detections in this dataset; {known}")


def list_media(view: Any) -> list[Unit]:
    """What a view holds: videos, clips, ordered groups of images, or single images.

    Of patches these are the images that they are of.

    Raises:
        ValueError: It holds something else.
    """
    if len(view) and view.media_type == "image" and not view._dataset._is_frames:  # noqa: SLF001
        is_root = view._dataset is root_dataset(view)  # noqa: SLF001 - patches have ids of their own
        rows = zip(*view.values(["id" if is_root else "sample_id", "filepath"]), strict=True)
        images = {str(key): path for key, path in rows}
        return [Unit(key, (key,), (path,), is_video=False) for key, path in images.items()]
    return list_units(view)


def media_size(unit: Unit) -> tuple[tuple[int, int], int]:
    """((H, W), number of frames) as decoded: metadata has rotated and cut videos wrong.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It cannot be decoded.
    """
    frames = open_frames(unit.paths[0])
    try:
        return frames.frame_size, frames.num_frames if unit.is_video else len(unit.paths)
    finally:
        frames.close()


def masks_by_track(labels: Iterable[Any], size: tuple[int, int]) -> dict[str, NDArray[np.bool_]]:
    """Track key -> (H, W) bool, of the labels of one frame that have a mask."""
    return {
        track_key(label): detection_mask(label, size)
        for label in labels
        if label.mask is not None or label.mask_path is not None
    }


def read_tracks(dataset: Any, unit: Unit, name: str) -> dict[str, Track]:
    """The tracks of one video or group, by key, without reading masks.

    Args:
        dataset: That the unit's samples belong to.
        unit: The video or group.
        name: Field of Detections, without `frames.`.
    """
    path = f"frames.{name}.detections" if unit.is_video else f"{name}.detections"
    attributes = [part for part in _ATTRIBUTES if dataset.has_field(f"{path}.{part}")]
    samples = flat_samples(dataset, unit.sample_ids, is_video=unit.is_video)
    columns = samples.values([f"{path}.{part}" for part in (*_PARTS, *attributes)])
    if unit.is_video:
        (numbers,) = samples.values("frames.frame_number")
        columns = [column[0] for column in columns]
    else:
        numbers = range(1, len(unit.sample_ids) + 1)
    tracks: dict[str, Track] = defaultdict(lambda: Track(""))
    for number, *parts in sorted(
        zip(numbers or (), *(column or () for column in columns), strict=True), key=_first
    ):
        if unit.frame_numbers is None or number in unit.frame_numbers:
            for values in zip(*(part or () for part in parts), strict=True):
                _add(tracks, number, dict(zip((*_PARTS, *attributes), values, strict=True)))
    return dict(tracks)


def _first(row: tuple[Any, ...]) -> Any:
    return row[0]


def _add(tracks: dict[str, Track], frame_number: int, label: dict[str, Any]) -> None:
    track = tracks[_key(label["instance._id"], label["index"], label["id"])]
    track.key = _key(label["instance._id"], label["index"], label["id"])
    track.index, track.label = label["index"], label["label"] or track.label
    if label.get(RUN):
        track.runs[frame_number] = label[RUN]
    x, y, width, height = label["bounding_box"] or (0.0, 0.0, 0.0, 0.0)
    confidence = label["confidence"]
    track.frames.append(
        TrackFrame(
            to_frame_index(frame_number),
            (x, y, width, height),
            math.nan if confidence is None else confidence,
            _logit(label.get(OBJECT_SCORE)),
            is_given=label.get(KEYFRAME) is True,
        )
    )
    track.label_ids.append((frame_number, str(label["id"])))


def _logit(probability: float | None) -> float:
    if probability is None:
        return math.nan
    clipped = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(clipped / (1 - clipped))
