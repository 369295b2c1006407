"""Masks without propagation: of prompts, on their own frames."""

from __future__ import annotations

import hashlib
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any

from sam2_plugins.core import VideoTracker
from sam2_plugins.fiftyone_plugin.jobs import open_unit
from sam2_plugins.fiftyone_plugin.labels import (
    Identity,
    make_generated_detection,
    to_frame_index,
)
from sam2_plugins.fiftyone_plugin.leftovers import remove_segmented
from sam2_plugins.fiftyone_plugin.prompts import group_tracks
from sam2_plugins.fiftyone_plugin.records import Records
from sam2_plugins.fiftyone_plugin.runner import give_prompt
from sam2_plugins.fiftyone_plugin.store import UnitLabels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sam2_plugins.core import SAM2, FrameMasks
    from sam2_plugins.fiftyone_plugin.prompts import Track
    from sam2_plugins.fiftyone_plugin.sources import Unit

__all__ = ["segment_prompts"]


def segment_prompts(
    model: SAM2, dataset: Any, unit: Unit, prompt_fields: Sequence[str], field: str
) -> int:
    """Segments every prompted object on the frames where it is prompted, and only there.

    What an earlier run with the same prompt fields made of prompts that are gone is removed.

    Args:
        model: From `load_model`.
        dataset: That the unit's samples belong to.
        unit: An image, a group of them, or a video.
        prompt_fields: Of Detections, Keypoints or Polylines.
        field: Where the masks go; what a person made there stays.

    Returns:
        Number of masks.

    Raises:
        ValueError: A prompt is malformed, or on a frame that does not exist.
        BusyError: Another worker writes masks of it there.
    """
    Records(dataset).refuse_busy(unit.unit_id, field)
    labels = UnitLabels(dataset, unit)
    prompts = [labels.read(name, unit.frame_numbers) for name in prompt_fields]
    tracks = group_tracks(unit, prompts, with_interpolated=True)
    prompted: dict[int, list[str]] = {}
    for track in tracks:
        for number in track.labels:
            prompted.setdefault(number, []).append(track.identity.instance_id)
    runs = _name_runs(prompt_fields)
    num_masks = 0
    if prompted:
        num_masks = _write(
            model, labels, tracks, field=field, run_id=f"{runs}{uuid.uuid4().hex[:12]}"
        )
    remove_segmented(labels, field, runs, prompted=prompted)
    return num_masks


def _name_runs(prompt_fields: Sequence[str]) -> str:
    """How the ids of runs with these prompt fields begin: they replace each other's masks."""
    fields = "\0".join(sorted(set(prompt_fields)))
    return f"segment-{hashlib.sha256(fields.encode()).hexdigest()[:6]}-"


def _write(
    model: SAM2, labels: UnitLabels, tracks: Sequence[Track], *, field: str, run_id: str
) -> int:
    unit, num_masks = labels.unit, 0
    numbers = sorted({number for track in tracks for number in track.labels})
    with closing(open_unit(unit)) as frames:
        if numbers[-1] > frames.num_frames:
            raise ValueError(
                f"{unit.name}: a prompt is on frame {numbers[-1]}, but there are "
                f"{frames.num_frames} frames"
            )
        tracker = VideoTracker(model, frames)
        for number in numbers:
            found = []
            for object_id, track in enumerate(tracks, 1):
                if number in track.labels:
                    masks = _segment(tracker, number, object_id, track, unit)
                    found.append((track.identity, _detection(masks, track.identity, run_id)))
            labels.merge(field, {number: found}, keeps_same=True)
            num_masks += sum(label is not None for _, label in found)
    return num_masks


def _segment(
    tracker: VideoTracker, number: int, object_id: int, track: Track, unit: Unit
) -> tuple[FrameMasks, int]:
    """The frame's masks, and the row of the object."""
    frame_index = to_frame_index(number)
    try:
        prompt = track.prompt(number, tracker.frame_size)
        give_prompt(tracker, frame_index, object_id, prompt)
    except ValueError as error:
        raise ValueError(f"{unit.name}, frame {number}: {error}") from error
    masks = tracker.masks(frame_index)
    return masks, masks.object_ids.tolist().index(object_id)


def _detection(found: tuple[FrameMasks, int], identity: Identity, run_id: str) -> Any | None:
    masks, row = found
    return make_generated_detection(
        masks.masks[row],
        identity,
        predicted_iou=float(masks.predicted_iou[row]),
        object_score_logit=float(masks.object_score_logits[row]),
        run_id=run_id,
    )
