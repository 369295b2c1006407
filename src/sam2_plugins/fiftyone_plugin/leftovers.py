"""Masks that no prompt is left of: who takes a prompt back does not want what was made from it.

A track counts as left over only where every field that its prompts were in is read again, so a run
with other prompt fields takes nothing away. What a reviewer has accepted stays: that was said of
the masks, not of the prompts.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sam2_plugins.fiftyone_plugin.labels import Identity
from sam2_plugins.fiftyone_plugin.records import RunRecord, TrackRecord
from sam2_plugins.fiftyone_plugin.sources import Unit
from sam2_plugins.fiftyone_plugin.store import UnitLabels
from sam2_plugins.fiftyone_plugin.tracks import Track, read_tracks
from sam2_plugins.fiftyone_plugin.verdicts import current_verdicts

_CHUNK = 64
"""Frames written at once."""


def list_leftovers(
    labels: UnitLabels,
    field: str,
    record: RunRecord | None,
    *,
    prompted: Iterable[Identity],
    fields: Collection[str],
) -> list[TrackRecord]:
    """The finished tracks of a video that have no prompt any more.

    Args:
        labels: Of the video.
        field: Of the masks.
        record: What was done before.
        prompted: Who has a prompt.
        fields: In which prompts were looked for.
    """
    there = {key for one in prompted for key in (one.instance_id, one.former_id)}
    found = [
        track
        for track in (record.tracks if record else ())
        if track.prompt_fields
        and track.instance_id not in there
        and set(track.prompt_fields) <= set(fields)
    ]
    if not found:
        return []
    accepted = _accepted(labels, field, read_tracks(labels.dataset, labels.unit, field))
    return [track for track in found if track.instance_id not in accepted]


def remove_leftovers(labels: UnitLabels, field: str, leftovers: Sequence[TrackRecord]) -> None:
    """Remove what runs made of these tracks; what people made stays.

    Of a clip only what runs over the same clip made: the rest of its video may have prompts.
    """
    if not leftovers:
        return
    tracks = read_tracks(labels.dataset, labels.unit, field)
    removed: dict[int, list[tuple[Identity, None]]] = {}
    for record in leftovers:
        for number in _made_on(tracks.get(record.instance_id), labels.unit, record.run_id):
            removed.setdefault(number, []).append((record.identity, None))
    numbers = sorted(removed)
    for first in range(0, len(numbers), _CHUNK):
        labels.merge(field, {number: removed[number] for number in numbers[first:][:_CHUNK]})


def remove_segmented(
    labels: UnitLabels, field: str, runs: str, *, prompted: Mapping[int, Collection[str]]
) -> None:
    """Remove masks of single frames whose prompts are gone, unless they were accepted.

    Args:
        labels: Of the video or image.
        field: Of the masks.
        runs: How the ids of the runs that made them begin.
        prompted: Instances with a prompt, by frame number.
    """
    tracks = read_tracks(labels.dataset, labels.unit, field)
    removed: dict[int, list[tuple[Identity, None]]] = {}
    for key, track in tracks.items():
        for number, run in track.runs.items():
            if run.startswith(runs) and key not in prompted.get(number, ()):
                removed.setdefault(number, []).append((Identity(key, track.index or 0), None))
    if removed:
        accepted = _accepted(labels, field, tracks)
        labels.merge(
            field,
            {
                n: [row for row in rows if row[0].instance_id not in accepted]
                for n, rows in removed.items()
            },
        )


def note_on_leftovers(unit: Unit, leftovers: Sequence[TrackRecord]) -> str:
    """What to say of masks that were removed; nothing where none were."""
    if not leftovers:
        return ""
    names = _names(leftovers)
    return f"{unit.name}: the masks of {names} were removed, since their prompts are gone"


def note_on_unseen(unit: Unit, unseen: Sequence[TrackRecord]) -> str:
    """What to say of tracks without any mask; nothing where there are none."""
    names = _names(unseen)
    return f"{unit.name}: nothing was found of {names}; look at the prompts" if unseen else ""


def _names(tracks: Iterable[TrackRecord]) -> str:
    return ", ".join(f"{track.label or ''} {track.index}".strip() for track in tracks)


def _made_on(track: Track | None, unit: Unit, run_id: str) -> list[int]:
    if track is None:
        return []
    return [n for n, run in track.runs.items() if unit.frame_numbers is None or run == run_id]


def _accepted(labels: UnitLabels, field: str, tracks: Mapping[str, Track]) -> set[str]:
    unit = labels.unit
    numbers = None if unit.frame_numbers is None else set(unit.frame_numbers)
    sample: Any = labels.dataset[unit.sample_ids[0]]
    verdicts = current_verdicts(sample, tracks.values(), field, frame_numbers=numbers)
    return {key for key, verdict in verdicts.items() if verdict == "accept"}
