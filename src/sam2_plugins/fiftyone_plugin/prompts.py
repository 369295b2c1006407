"""Prompts of a video, by track: which labels belong to one object, and whether they changed."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sam2_plugins.fiftyone_plugin.labels import (
    KEYFRAME,
    Identity,
    Prompt,
    digest,
    instance_id,
    is_prompt,
    make_instance_id,
    read_prompt,
)

FrameLabels = Mapping[int, Sequence[Any]]
"""Labels by 1-based frame number."""


@dataclass(frozen=True, slots=True)
class Track:
    """One object and what was said of it.

    Attributes:
        identity: Who it is in the output.
        labels: Prompts by frame number; of one frame in the order in which they count.
        digest: Changes when any of them does.
    """

    identity: Identity
    labels: Mapping[int, Sequence[Any]]
    digest: str

    def prompt(self, frame_number: int, size: tuple[int, int]) -> Prompt:
        """What was said on one frame of `size` (H, W).

        Raises:
            ValueError: A label is malformed.
        """
        joined = Prompt()
        for label in self.labels[frame_number]:
            joined = joined.joined(read_prompt(label, size))
        return joined


def group_tracks(
    unit_id: str,
    fields: Sequence[FrameLabels],
    known: Iterable[Identity] = (),
    *,
    with_interpolated: bool = False,
) -> list[Track]:
    """Put labels together that are of one object.

    Labels with the same instance are of one object, and so are those with the same index; a label
    with neither is an object by itself.

    Args:
        unit_id: Of the video; ids of new instances are made from it, always the same.
        fields: Labels of every prompt field; of one frame, those of later fields count for more.
        known: Objects of the output field, whose indices are not given to others.
        with_interpolated: Keep labels without a mark that follow a marked keyframe of their track
            and field from frame to frame. FiftyOne's import from CVAT marks what was drawn and
            leaves the rest, which CVAT has interpolated, without a mark.

    Returns:
        In the order of their first prompts.
    """
    prompts = [
        [(number, lb) for number in sorted(field) for lb in field[number] if is_prompt(lb)]
        for field in fields
    ]
    instances = _instances_of_indices(label for field in prompts for _, label in field)
    members: dict[str, dict[int, list[Any]]] = {}
    for field in prompts:
        drawn: dict[str, dict[int, list[Any]]] = {}
        for number, label in field:
            key = _track_instance(unit_id, label, instances)
            drawn.setdefault(key, {}).setdefault(number, []).append(label)
        for key, frames in drawn.items():
            kept = frames if with_interpolated else _without_interpolated(frames)
            for number, labels in kept.items():
                members.setdefault(key, {}).setdefault(number, []).extend(labels)
    indices = _choose_indices(members, known)
    tracks = [
        Track(
            Identity(key, indices[key], _class_of(frames)),
            {number: tuple(frames[number]) for number in sorted(frames)},
            _track_digest(frames),
        )
        for key, frames in members.items()
    ]
    return sorted(tracks, key=lambda track: (next(iter(track.labels)), track.identity.index))


def _without_interpolated(frames: Mapping[int, list[Any]]) -> dict[int, list[Any]]:
    """What was drawn of a track in one field: see `group_tracks`."""
    kept: dict[int, list[Any]] = {}
    last_followed = None
    for number, labels in frames.items():
        if any(getattr(label, KEYFRAME, None) for label in labels):
            last_followed = number
        elif last_followed == number - 1:
            last_followed = number
            continue
        kept[number] = labels
    return kept


def _instances_of_indices(labels: Iterable[Any]) -> dict[int, str]:
    """The instance of every index that is given together with one and the same instance."""
    found: dict[int, set[str]] = {}
    for label in labels:
        instance = instance_id(label)
        if label.index is not None and instance is not None:
            found.setdefault(label.index, set()).add(instance)
    return {index: instances.pop() for index, instances in found.items() if len(instances) == 1}


def _track_instance(unit_id: str, label: Any, instances: Mapping[int, str]) -> str:
    given = instance_id(label)
    if given is not None:
        return given
    if label.index is None:
        return make_instance_id(unit_id, "label", str(label.id))
    return instances.get(label.index) or make_instance_id(unit_id, "index", str(label.index))


def _choose_indices(
    members: Mapping[str, Mapping[int, Sequence[Any]]], known: Iterable[Identity]
) -> dict[str, int]:
    """The index that labels give their track, what it had before, or else a free one."""
    before = {identity.instance_id: identity.index for identity in known}
    chosen: dict[str, int] = {}
    for key, frames in members.items():
        given = [lb.index for labels in frames.values() for lb in labels if lb.index is not None]
        if given:
            chosen[key] = given[0]
        elif key in before:
            chosen[key] = before[key]
    used = {*chosen.values(), *before.values()}
    next_index = 1
    for key in members:
        if key not in chosen:
            while next_index in used:
                next_index += 1
            chosen[key] = next_index
            used.add(next_index)
    return chosen


def _class_of(frames: Mapping[int, Sequence[Any]]) -> str | None:
    """The class that the first prompt with one gives."""
    named = (lb.label for number in sorted(frames) for lb in frames[number] if lb.label)
    return next(named, None)


def _track_digest(frames: Mapping[int, Sequence[Any]]) -> str:
    facts = [(number, [digest(label) for label in frames[number]]) for number in sorted(frames)]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:24]
