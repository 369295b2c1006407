"""Masklets of a `MaskletVideo` into a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.labels import (
    KEYFRAME,
    OBJECT_SCORE,
    Identity,
    make_instance_id,
    make_mask_detection,
    to_frame_number,
)
from sam2_plugins.fiftyone_plugin.masklet_video import Masklet, MaskletVideo
from sam2_plugins.fiftyone_plugin.store import UnitLabels
from sam2_plugins.fiftyone_plugin.tracks import media_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sam2_plugins.core import FrameMasks
    from sam2_plugins.fiftyone_plugin.sources import Unit

__all__ = [
    "ImportOptions",
    "check_fits",
    "check_readable",
    "write_labels",
    "write_videos",
]

_CHUNK = 32
"""Frames whose masks are held at once."""
_ASPECT_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How masks are taken over.

    Attributes:
        field: Where they go.
        label: Class of objects whose class the files do not tell.
        stride: Every how manyth frame of the video the masks are of.
        as_prompts: Whether they are keyframes, from which masks are propagated.
    """

    field: str
    label: str = "object"
    stride: int = 1
    as_prompts: bool = False


def write_videos(
    dataset: Any,
    unit: Unit,
    videos: Iterable[MaskletVideo],
    options: ImportOptions,
    *,
    is_replaced: bool = False,
) -> int:
    """Puts masks into the field, frame by frame; the field is replaced on all frames they have.

    Args:
        dataset: That the unit's samples belong to.
        unit: The video, group or image; of clips, their frames alone are written.
        videos: Parts of it; what one of them has no mask on another may have some.
        options: How masks are taken over.
        is_replaced: Whether frames that they do not have are cleared.

    Returns:
        Number of masks.
    """
    writer = _Writer(dataset, unit, options)
    for video in videos:
        writer.add(video)
    writer.flush()
    if is_replaced:
        left = UnitLabels(dataset, unit).frames_with(options.field) - writer.written
        write_labels(dataset, unit, options.field, dict.fromkeys(left))
    return writer.num_masks


class _Writer:
    """Writes the masks of one unit some frames at a time."""

    def __init__(self, dataset: Any, unit: Unit, options: ImportOptions) -> None:
        self._dataset, self._unit, self._options = dataset, unit, options
        self._chunk: dict[int, Any] = {}
        self._filled: set[int] = set()
        self.written: set[int] = set()
        self.num_masks = 0

    def add(self, video: MaskletVideo) -> None:
        """Write a video; where it has no masks, what another has stays."""
        known = {masklet.object_id: masklet for masklet in video.masklets}
        scope = self._unit.frame_numbers
        for frame in video.read():
            number = to_frame_number(frame.frame_index * self._options.stride)
            made = (
                _make_label(frame, row, self._unit, known, self._options)
                for row in range(len(frame.object_ids))
            )
            labels = [label for label in made if label is not None]
            if (scope is not None and number not in scope) or (
                not labels and number in self._filled
            ):
                continue
            self._filled |= {number} if labels else set()
            self.num_masks += len(labels)
            self._chunk[number] = fo.Detections(detections=labels)
            if len(self._chunk) == _CHUNK:
                self.flush()

    def flush(self) -> None:
        """Write what waits."""
        write_labels(self._dataset, self._unit, self._options.field, self._chunk)
        self.written |= self._chunk.keys()
        self._chunk = {}


def check_fits(video: MaskletVideo, unit: Unit, options: ImportOptions) -> None:
    """Refuses masks of another video.

    Raises:
        ValueError: The masks are of more frames than the video has, or of another shape.
    """
    size, num_frames = media_size(unit)
    last = (video.num_frames - 1) * options.stride + 1
    if last > num_frames:
        raise ValueError(
            f"{video.name} has masks up to frame {last}, but {unit.paths[0]} has {num_frames}"
        )
    shape, own_shape = video.frame_size[1] / video.frame_size[0], size[1] / size[0]
    if abs(shape / own_shape - 1) > _ASPECT_TOLERANCE:
        raise ValueError(
            f"the masks of {video.name} are {video.frame_size[0]} x {video.frame_size[1]} (H, W), "
            f"but {unit.paths[0]} is {size[0]} x {size[1]}"
        )


def check_readable(video: MaskletVideo) -> None:
    """Refuses masks of which a file is damaged, before any is written.

    Raises:
        ValueError: A file cannot be read.
    """
    for _ in video.read():
        pass


def _make_label(
    frame: FrameMasks,
    row: int,
    unit: Unit,
    known: Mapping[int, Masklet],
    options: ImportOptions,
) -> Any | None:
    object_id = int(frame.object_ids[row])
    masklet = known.get(object_id, Masklet(object_id))
    track = masklet.track or ""
    instance = track if _is_instance(track) else make_instance_id(unit.unit_id, f"{object_id}")
    identity = Identity(instance, object_id, masklet.label or options.label)
    score = float(frame.object_score_logits[row])
    return make_mask_detection(
        frame.masks[row],
        identity,
        confidence=round(float(frame.predicted_iou[row]), 6),
        **{
            KEYFRAME: True if options.as_prompts else None,
            OBJECT_SCORE: round(1 / (1 + float(np.exp(-score))), 6),
        },
    )


def _is_instance(track: str) -> bool:
    return len(track) == 24 and all(digit in "0123456789abcdef" for digit in track)


def write_labels(dataset: Any, unit: Unit, field: str, labels: Mapping[int, Any]) -> None:
    """Sets a field of some frames.

    Args:
        dataset: That the unit's samples belong to.
        unit: The video, group or image.
        field: Without `frames.`.
        labels: `fo.Detections` by frame number, or None.
    """
    if labels:
        UnitLabels(dataset, unit).write(field, labels)
