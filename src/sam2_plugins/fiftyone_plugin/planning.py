"""What a run over a video has to do: which tracks changed, and which frames are computed."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sam2_plugins.fiftyone_plugin.labels import to_frame_index
from sam2_plugins.fiftyone_plugin.leftovers import list_leftovers
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.prompts import Track, group_tracks
from sam2_plugins.fiftyone_plugin.records import Records, RunRecord, TrackRecord
from sam2_plugins.fiftyone_plugin.sources import Unit
from sam2_plugins.fiftyone_plugin.store import UnitLabels


@dataclass(frozen=True, slots=True)
class UnitPlan:
    """The work on one video.

    Attributes:
        tracks: To be tracked, since they are new or changed, or are not finished.
        finished: Records of the others, with the fields that their prompts are in now.
        leftovers: Records of tracks whose masks are to be removed: no prompt is left of them.
        digests: By instance id, of each track to be tracked.
        prompt_fields: By instance id, the fields that the prompts of each track are in.
        has_prompts: Whether anything was said of any object.
        is_news: Whether of the finished tracks something else is to be kept than before.
        run_id: For the labels; that of an earlier run where this one continues it.
        job_digest: Of all there is to do.
    """

    tracks: Sequence[Track]
    finished: Sequence[TrackRecord]
    leftovers: Sequence[TrackRecord]
    digests: Mapping[str, str]
    prompt_fields: Mapping[str, tuple[str, ...]]
    has_prompts: bool
    is_news: bool
    run_id: str
    job_digest: str

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.tracks and not self.leftovers


def plan_unit(labels: UnitLabels, options: Options, records: Records) -> UnitPlan:
    """Compare the prompts of a video with what was done.

    Prompts are the labels of the prompt fields, and what a person made a keyframe in the output
    field, which counts for more.

    Raises:
        ValueError: A field holds no prompts, or one index is that of several objects.
    """
    unit, record = labels.unit, records.read(labels.unit.unit_id, options.field)
    known = record.tracks if record else ()
    sources = read_prompts(labels, options.prompt_fields, options.field)
    tracks = group_tracks(unit, [*sources.values()], [track.identity for track in known])
    identities = [track.identity for track in tracks]
    settings = options.digest((unit.frame_numbers, options.start, options.stop, options.stride))
    digests = {t.identity.instance_id: _link(t.digest, settings) for t in tracks}
    done = {} if options.overwrite else {track.instance_id: track for track in known}
    present = labels.count_labels(options.field) if known else {}
    todo = [
        track
        for track in tracks
        if not _is_finished(track, done, digests[track.identity.instance_id], present)
    ]
    redone = {track.identity.instance_id for track in todo}
    former = {identity.former_id for identity in identities}
    gone = list_leftovers(*(labels, options.field, record), prompted=identities, fields=[*sources])
    leftovers = [track for track in gone if present.get(track.instance_id)]
    ended = redone | former | {track.instance_id for track in leftovers}
    job = _link(*(digests[track.identity.instance_id] for track in todo))
    # What was found without prompts is not taken back with a correction of it.
    found_alone = {track.instance_id: () for track in known if not track.prompt_fields}
    where = _fields_of(tracks, sources) | found_alone
    before = [track for track in known if track.instance_id not in ended]
    finished = [
        replace(track, prompt_fields=where.get(track.instance_id, track.prompt_fields))
        for track in before
        if track not in gone
    ]
    return UnitPlan(
        *(todo, finished, leftovers),
        digests={key: digests[key] for key in redone},
        prompt_fields=where,
        has_prompts=bool(tracks),
        is_news=finished != before,
        run_id=_choose_run(record, job),
        job_digest=job,
    )


def note_on_skipped(plan: UnitPlan, options: Options) -> str:
    """What a video is skipped for; nothing where all is done."""
    fields = " and ".join(map(repr, options.prompt_fields))
    return "" if plan.has_prompts else f"no prompt in {fields}"


def read_prompts(
    labels: UnitLabels, prompt_fields: Sequence[str], output_field: str | None
) -> dict[str, dict[int, list[Any]]]:
    """Labels that may be prompts, by field and frame number; corrections come last.

    Args:
        labels: Of the video.
        prompt_fields: Whose labels by people are prompts.
        output_field: Whose keyframes are, too; None where there is no such field.
    """
    scope = labels.unit.frame_numbers
    found = {field: labels.read(field, scope, only_made_by_people=True) for field in prompt_fields}
    if output_field is not None and output_field not in found:
        found[output_field] = labels.read(output_field, scope, only_keyframes=True)
    return found


def frames_to_compute(unit: Unit, options: Options, length: int) -> list[int]:
    """The 0-based frames that are to have masks, ascending."""
    numbers = range(1, length + 1) if unit.frame_numbers is None else unit.frame_numbers
    last = options.stop or length
    first = options.start or (numbers[0] if numbers else 1)
    return [
        to_frame_index(number)
        for number in numbers
        if first <= number <= min(last, length) and (number - first) % options.stride == 0
    ]


def _is_finished(
    track: Track, done: Mapping[str, TrackRecord], digest: str, present: Mapping[str, int]
) -> bool:
    record = done.get(track.identity.instance_id)
    if record is None or record.digest != digest:
        return False
    # Someone who removed the masks wants them made again.
    return not record.num_labels or bool(present.get(record.instance_id))


def _fields_of(
    tracks: Sequence[Track], sources: Mapping[str, Mapping[int, Sequence[Any]]]
) -> dict[str, tuple[str, ...]]:
    """The fields that the prompts of tracks are in, by instance id."""
    ids = {
        field: {label.id for labels in frames.values() for label in labels}
        for field, frames in sources.items()
    }
    return {
        track.identity.instance_id: tuple(
            field
            for field, known in ids.items()
            if any(label.id in known for labels in track.labels.values() for label in labels)
        )
        for track in tracks
    }


def _choose_run(record: RunRecord | None, job: str) -> str:
    is_continued = record is not None and bool(record.run_id) and record.job_digest == job
    if record is not None and is_continued:
        return record.run_id
    return uuid.uuid4().hex[:16]


def _link(*parts: str) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
