"""Everything that is found in a video, without prompts, and followed through its frames."""

from __future__ import annotations

import time
import uuid
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import fiftyone as fo
from sam2_plugins.core import MaskGenerator, VideoTracker, auto_masklets
from sam2_plugins.fiftyone_plugin.claiming import claimed
from sam2_plugins.fiftyone_plugin.jobs import open_unit
from sam2_plugins.fiftyone_plugin.labels import (
    RUN,
    Identity,
    make_generated_detection,
    make_instance_id,
    to_frame_index,
    to_frame_number,
)
from sam2_plugins.fiftyone_plugin.merging import is_replaceable, same_track
from sam2_plugins.fiftyone_plugin.records import DONE, Records, RunRecord, TrackRecord
from sam2_plugins.fiftyone_plugin.runner import SelectedFrames
from sam2_plugins.fiftyone_plugin.tracks import read_tracks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sam2_plugins.core import SAM2, FrameMasks
    from sam2_plugins.fiftyone_plugin.sources import Unit
    from sam2_plugins.fiftyone_plugin.store import UnitLabels

__all__ = ["AutoOptions", "find_masklets"]

_CHUNK = 32
"""Frames written at once."""
_ADVANCE_S = 5.0
"""How often it is noted how far a run is."""
_AUTO = "auto-"
"""How the `sam2_run` of automatic labels begins; some digits of the settings' hash come next."""
_DIGITS = 8


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

    def choose(self, numbers: Sequence[int], num_frames: int) -> list[int]:
        """Where to look, as positions among the frames that are meant.

        Args:
            numbers: Of the frames that are meant, from 1.
            num_frames: Of the whole video.

        Raises:
            ValueError: There is no such frame, or none of them is meant.
        """
        if not self.key_frames:
            return list(range(0, len(numbers), self.every))
        for number in self.key_frames:
            if not 1 <= number <= num_frames:
                raise ValueError(f"there is no frame {number}; frames are 1 to {num_frames}")
        positions = {number: position for position, number in enumerate(numbers)}
        found = [positions[number] for number in self.key_frames if number in positions]
        if not found:
            wanted = ", ".join(str(number) for number in self.key_frames)
            raise ValueError(
                f"none of the key_frames {wanted} is one of the {len(numbers)} frames from "
                f"{numbers[0]} to {numbers[-1]} that were chosen"
            )
        return found


def find_masklets(
    model: SAM2,
    labels: UnitLabels,
    *,
    field: str,
    options: AutoOptions,
    settings: str,
    overwrite: bool = False,
) -> int | None:
    """Finds everything on some frames of a video and follows it through all that are meant.

    What an earlier automatic run put there into the field is replaced, when all of the video is
    done. What others made stays, and so does what is known of it.

    Args:
        model: From `load_model`.
        labels: Of a video, a clip, a group of images, or an image.
        field: Where the masks go.
        options: How to look.
        settings: A hash of all that the masks depend on; done is what was done with the same.
        overwrite: Whether to do a video again that is done.

    Returns:
        Number of objects; None where the video was done before, with the same settings.

    Raises:
        ValueError: There is no such frame, or the video cannot be read.
        OSError: The video is not there.
        BusyError: Another worker that is alive has the video.
        ClaimLostError: Another worker took it.
    """
    records, unit = Records(labels.dataset), labels.unit
    if not overwrite and _is_done(records.read(unit.unit_id, field), settings):
        return None
    with claimed(labels, field) as claim:
        known = records.read(unit.unit_id, field)
        run_id = f"{_AUTO}{settings[:_DIGITS]}-{uuid.uuid4().hex[:12]}"
        with closing(open_unit(unit)) as frames:
            numbers = _numbers(unit, frames.num_frames)
            key_frames = _key_frames(unit, options, numbers=numbers, num_frames=frames.num_frames)
            claim.begin(run_id, repr(options), len(numbers), is_auto=True)
            chosen = [to_frame_index(number) for number in numbers]
            tracker = VideoTracker(model, SelectedFrames(frames, chosen))
            found = _find(model, tracker, options=options, key_frames=key_frames)
            said = time.monotonic()
            for num_found, _ in enumerate(found, 1):
                if time.monotonic() - said >= _ADVANCE_S:
                    said = time.monotonic()
                    claim.advance(min(num_found, len(numbers)))
            identities = _identify(
                *(labels, field),
                numbers=numbers,
                object_ids=tracker.object_ids,
                label=options.label,
            )
            made = _write_tracked(
                *(labels, field, tracker),
                identities=identities,
                numbers=numbers,
                run_id=run_id,
            )
        kept = [track for track in known.tracks if not _is_auto(track.run_id)] if known else []
        labels.set_state(field, DONE)
        claim.finish([*kept, *made], auto_run=run_id)
    return len(made)


def _is_done(record: RunRecord | None, settings: str) -> bool:
    """Whether a run with these settings came to its end, and no other has begun since."""
    if record is None:
        return False
    if record.auto_run is not None:
        digits, is_told, _ = record.auto_run.removeprefix(_AUTO).partition("-")
        # Ids of an earlier version do not tell the settings.
        return bool(record.auto_run) and (not is_told or digits == settings[:_DIGITS])
    # A record of an earlier version, which did not keep it.
    runs = [record.run_id, *(track.run_id for track in record.tracks)]
    return record.state == DONE and any(_is_auto(run) for run in runs)


def _is_auto(run_id: str | None) -> bool:
    return str(run_id).startswith(_AUTO)


def _numbers(unit: Unit, num_frames: int) -> list[int]:
    """The frames that are meant, of those that can be decoded."""
    if unit.frame_numbers is None:
        return list(range(1, num_frames + 1))
    numbers = [number for number in unit.frame_numbers if number <= num_frames]
    if not numbers:
        raise ValueError(f"{unit.name}: none of the chosen frames is one of its {num_frames}")
    return numbers


def _key_frames(
    unit: Unit, options: AutoOptions, *, numbers: Sequence[int], num_frames: int
) -> list[int]:
    try:
        return options.choose(numbers, num_frames)
    except ValueError as error:
        raise ValueError(f"{unit.name}: {error}") from error


def _find(
    model: SAM2, tracker: VideoTracker, *, options: AutoOptions, key_frames: list[int]
) -> Iterator[FrameMasks]:
    generator = MaskGenerator(
        model,
        points_per_side=options.points_per_side,
        min_predicted_iou=options.min_predicted_iou,
        min_stability=options.min_stability,
        min_area=options.min_area,
        max_area_share=options.max_area_share,
    )
    return auto_masklets(
        tracker, generator, key_frames=key_frames, max_known_share=options.max_known_share
    )


def _write_tracked(
    labels: UnitLabels,
    field: str,
    tracker: VideoTracker,
    *,
    identities: dict[int, Identity],
    numbers: Sequence[int],
    run_id: str,
) -> list[TrackRecord]:
    """Writes all masks of a tracker; labels that are not of automatic runs stay."""
    scores: dict[int, list[float]] = {object_id: [] for object_id in identities}
    for first in range(0, len(numbers), _CHUNK):
        on_frames = numbers[first : first + _CHUNK]
        before = labels.read(field, on_frames)
        chunk = {}
        for position, number in enumerate(on_frames, first):
            masks = tracker.masks(position)
            found = [old for old in before.get(number, ()) if not _is_replaced(old)]
            for row, object_id in enumerate(masks.object_ids.tolist()):
                identity = identities[object_id]
                made = make_generated_detection(
                    masks.masks[row],
                    identity,
                    predicted_iou=float(masks.predicted_iou[row]),
                    object_score_logit=float(masks.object_score_logits[row]),
                    run_id=run_id,
                )
                # What a person changed of an earlier run has its place.
                if made is not None and not any(same_track(old, identity) for old in found):
                    found.append(made)
                    scores[object_id].append(float(masks.predicted_iou[row]))
            chunk[number] = fo.Detections(detections=found)
        labels.write(field, chunk)
    return [
        TrackRecord(
            identities[object_id].instance_id,
            identities[object_id].index,
            identities[object_id].label,
            run_id,
            run_id,
            len(values),
            sum(values) / len(values) if values else 0.0,
        )
        for object_id, values in scores.items()
    ]


def _is_replaced(label: Any) -> bool:
    return _is_auto(getattr(label, RUN, None)) and is_replaceable(label)


def _identify(
    labels: UnitLabels,
    field: str,
    *,
    numbers: Sequence[int],
    object_ids: Sequence[int],
    label: str,
) -> dict[int, Identity]:
    """Who the objects are: the same each time, and none of those that stay in the field.

    On other frames of the video and as what people and other runs made, tracks stay.
    """
    unit, here = labels.unit, {to_frame_index(number) for number in numbers}
    whole = replace(unit, frame_numbers=None)
    taken: set[str | int | None] = set()
    for key, track in read_tracks(labels.dataset, whole, field).items():
        if any(
            frame.is_given
            or frame.frame_index not in here
            or not _is_auto(track.runs.get(to_frame_number(frame.frame_index)))
            for frame in track.frames
        ):
            taken |= {key, track.index}
    seeds = ((make_instance_id(unit.unit_id, "auto", str(number)), number) for number in count(1))
    free = (seed for seed in seeds if taken.isdisjoint(seed))
    return {
        object_id: Identity(*seed, label) for object_id, seed in zip(object_ids, free, strict=False)
    }
