"""Masks without propagation: of prompts on their own frames, and of everything in a video."""

from __future__ import annotations

import uuid
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fiftyone as fo
from sam2_plugins.core import MaskGenerator, VideoTracker, auto_masklets, open_frames
from sam2_plugins.fiftyone_plugin.labels import (
    RUN,
    Identity,
    is_generated,
    make_generated_detection,
    make_instance_id,
    to_frame_index,
    to_frame_number,
)
from sam2_plugins.fiftyone_plugin.prompts import group_tracks
from sam2_plugins.fiftyone_plugin.records import DONE, FAILED, Records, TrackRecord
from sam2_plugins.fiftyone_plugin.runner import give_prompt
from sam2_plugins.fiftyone_plugin.store import UnitLabels
from sam2_plugins.fiftyone_plugin.tracks import read_tracks
from sam2_plugins.fiftyone_plugin.transfer import write_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sam2_plugins.core import SAM2, FrameMasks
    from sam2_plugins.fiftyone_plugin.prompts import Track
    from sam2_plugins.fiftyone_plugin.sources import Unit
    from sam2_plugins.fiftyone_plugin.tracks import Track as Known

__all__ = ["AutoOptions", "find_masklets", "segment_prompts"]

_CHUNK = 32
"""Frames written at once."""
_AUTO = "auto-"
"""How the `sam2_run` of automatic labels begins."""


def segment_prompts(
    model: SAM2, dataset: Any, unit: Unit, prompt_fields: Sequence[str], field: str
) -> int:
    """Segments every prompted object on the frames where it is prompted, and only there.

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
    """
    labels = UnitLabels(dataset, unit)
    prompts = [labels.read(name, unit.frame_numbers) for name in prompt_fields]
    tracks = group_tracks(unit, prompts, with_interpolated=True)
    numbers = sorted({number for track in tracks for number in track.labels})
    if not numbers:
        return 0
    run_id, num_masks = f"segment-{uuid.uuid4().hex[:12]}", 0
    with closing(open_frames(unit.paths[0] if unit.is_video else list(unit.paths))) as frames:
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
            labels.merge(field, {number: found})
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


@dataclass(frozen=True, slots=True)
class AutoOptions:
    """How everything is looked for.

    Attributes:
        key_frames: 1-based numbers of the frames on which is looked; empty for every nth.
        every: Then n.
        label: Class of what is found.
        points_per_side: The grid of clicks has this many a side.
        min_predicted_iou: Masks below are dropped; None for what suits the model.
        min_stability: Likewise.
        min_area: Masks of fewer pixels are dropped.
        max_area_share: Masks that cover more of the frame are taken for background.
        max_known_share: A mask of which known objects cover more is none of a new object.
    """

    key_frames: tuple[int, ...] = ()
    every: int = 30
    label: str = "object"
    points_per_side: int = 16
    min_predicted_iou: float | None = None
    min_stability: float | None = None
    min_area: int = 25
    max_area_share: float = 0.8
    max_known_share: float = 0.5

    def chosen_frames(self, num_frames: int) -> list[int]:
        """0-based indices of the frames on which is looked.

        Raises:
            ValueError: There is no such frame.
        """
        if not self.key_frames:
            return list(range(0, num_frames, self.every))
        for number in self.key_frames:
            if not 1 <= number <= num_frames:
                raise ValueError(f"there is no frame {number}; frames are 1 to {num_frames}")
        return [to_frame_index(number) for number in self.key_frames]


def find_masklets(
    model: SAM2,
    dataset: Any,
    unit: Unit,
    field: str,
    options: AutoOptions,
    *,
    overwrite: bool = False,
) -> int | None:
    """Finds everything on some frames of a video and follows it through all frames.

    What an earlier automatic run put into the field is replaced, when all of the video is done.

    Args:
        model: From `load_model`.
        dataset: That the unit's samples belong to.
        unit: A video, a group of images, or an image.
        field: Where the masks go.
        options: How to look.
        overwrite: Whether to do a video again that is done.

    Returns:
        Number of objects; None where the video was done before.

    Raises:
        ValueError: There is no such frame.
        BusyError: Another worker that is alive has the video.
    """
    records = Records(dataset)
    record = records.read(unit.unit_id, field)
    if record is not None and record.state == DONE and not overwrite:
        return None
    claim = records.claim(unit.unit_id, field, sample_id=unit.sample_ids[0])
    try:
        run_id = f"{_AUTO}{uuid.uuid4().hex[:12]}"
        with closing(open_frames(unit.paths[0] if unit.is_video else list(unit.paths))) as frames:
            claim.begin(run_id, repr(options), frames.num_frames)
            tracker = VideoTracker(model, frames)
            for count, _ in enumerate(_find(model, tracker, options), 1):
                if count % _CHUNK == 0:
                    claim.advance(min(count, frames.num_frames))
            tracks = _write_tracked(dataset, unit, field, tracker, options.label, run_id)
    except BaseException as error:
        claim.stop(FAILED, str(error))
        raise
    claim.finish(tracks)
    return len(tracks)


def _find(model: SAM2, tracker: VideoTracker, options: AutoOptions) -> Iterator[FrameMasks]:
    generator = MaskGenerator(
        model,
        points_per_side=options.points_per_side,
        min_predicted_iou=options.min_predicted_iou,
        min_stability=options.min_stability,
        min_area=options.min_area,
        max_area_share=options.max_area_share,
    )
    return auto_masklets(
        tracker,
        generator,
        key_frames=options.chosen_frames(tracker.num_frames),
        max_known_share=options.max_known_share,
    )


def _write_tracked(
    dataset: Any, unit: Unit, field: str, tracker: VideoTracker, label: str, run_id: str
) -> list[TrackRecord]:
    """Writes all masks of a tracker; labels that are not of automatic runs stay."""
    labels = UnitLabels(dataset, unit)
    known = read_tracks(dataset, unit, field)
    identities = _identify(unit, tracker.object_ids, label, known=known, run_id=run_id)
    scores: dict[int, list[float]] = {object_id: [] for object_id in tracker.object_ids}
    for first in range(0, tracker.num_frames, _CHUNK):
        indices = range(first, min(first + _CHUNK, tracker.num_frames))
        numbers = [to_frame_number(index) for index in indices]
        kept = {
            number: [old for old in found if not _is_automatic(old)]
            for number, found in labels.read(field, numbers).items()
        }
        chunk = {}
        for index, number in zip(indices, numbers, strict=True):
            masks = tracker.masks(index)
            found = list(kept.get(number, ()))
            for row, object_id in enumerate(masks.object_ids.tolist()):
                made = _detection((masks, row), identities[object_id], run_id)
                if made is not None:
                    found.append(made)
                    scores[object_id].append(float(masks.predicted_iou[row]))
            chunk[number] = fo.Detections(detections=found)
        write_labels(dataset, unit, field, chunk)
    return [
        TrackRecord(
            identities[key].instance_id,
            identities[key].index,
            label,
            run_id,
            run_id,
            len(values),
            sum(values) / len(values) if values else 0.0,
        )
        for key, values in scores.items()
    ]


def _is_automatic(label: Any) -> bool:
    return is_generated(label) and str(getattr(label, RUN, None)).startswith(_AUTO)


def _identify(
    unit: Unit,
    object_ids: Sequence[int],
    label: str,
    *,
    known: Mapping[str, Known],
    run_id: str,
) -> dict[int, Identity]:
    """New objects are numbered on from those that stay in the field, and are none of them."""
    others = {key: old.index or 0 for key, old in known.items() if _stays(old)}
    highest = max(others.values(), default=0)
    identities = {}
    for object_id in object_ids:
        instance = make_instance_id(unit.unit_id, "auto", str(object_id))
        if instance in others:  # found by an earlier run, and corrected since
            instance = make_instance_id(unit.unit_id, run_id, str(object_id))
        identities[object_id] = Identity(instance, highest + object_id, label)
    return identities


def _stays(track: Known) -> bool:
    """Whether a track has labels that are not of automatic runs, as `_is_automatic` tells them."""
    return any(
        frame.is_given
        or not track.runs.get(to_frame_number(frame.frame_index), "").startswith(_AUTO)
        for frame in track.frames
    )
