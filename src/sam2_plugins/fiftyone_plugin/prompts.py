"""Prompts of a video, by track: which labels belong to one object, and whether they changed."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.frame_prompt import Prompt
from sam2_plugins.fiftyone_plugin.labels import (
    KEYFRAME,
    Identity,
    digest,
    instance_id,
    is_prompt,
    make_instance_id,
    read_prompt,
)
from sam2_plugins.fiftyone_plugin.sources import Unit

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
        return joined.without_met_clicks()


def group_tracks(
    unit: Unit,
    fields: Sequence[FrameLabels],
    known: Iterable[Identity] = (),
    *,
    with_interpolated: bool = False,
) -> list[Track]:
    """Put labels together that are of one object.

    Labels with the same instance are of one object, and so are those with the same index; a label
    with neither is an object by itself.

    Args:
        unit: The video; ids of new instances are made from its sample, of clips too.
        fields: Labels of every prompt field; of one frame, those of later fields count for more.
        known: Objects of the output field, whose indices are not given to others.
        with_interpolated: Keep labels without a mark that follow a marked keyframe of their track
            and field from frame to frame. FiftyOne's import from CVAT marks what was drawn and
            leaves the rest, which CVAT has interpolated, without a mark.

    Returns:
        In the order of their first prompts.

    Raises:
        ValueError: On one frame of a field, labels with the same index have different classes; or
            the file of a mask cannot be read.
    """
    sample_id = unit.sample_ids[0]
    prompts = [
        [(number, lb) for number in sorted(field) for lb in field[number] if is_prompt(lb)]
        for field in fields
    ]
    instances = _instances_of_indices(label for field in prompts for _, label in field)
    members: dict[str, dict[int, list[Any]]] = {}
    for field in prompts:
        drawn: dict[str, dict[int, list[Any]]] = {}
        for number, label in field:
            key = _track_instance(sample_id, label, instances)
            drawn.setdefault(key, {}).setdefault(number, []).append(label)
        _refuse_two_classes(unit, drawn.values())
        for key, frames in drawn.items():
            kept = frames if with_interpolated else _without_interpolated(frames)
            for number, labels in kept.items():
                members.setdefault(key, {}).setdefault(number, []).extend(labels)
    indices = _choose_indices(members, known)
    former = _former_ids(sample_id, members)
    tracks = [
        Track(
            Identity(key, indices[key], _class_of(frames), former.get(key)),
            {number: tuple(frames[number]) for number in sorted(frames)},
            _track_digest(unit, frames),
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


def _refuse_two_classes(unit: Unit, drawn: Iterable[Mapping[int, Sequence[Any]]]) -> None:
    """Two things with one index are most often that: an index that is counted by class."""
    for frames in drawn:
        for number, labels in frames.items():
            told = [lb for lb in labels if lb.label and instance_id(lb) is None]
            classes = sorted({lb.label for lb in told if not isinstance(lb, fo.Keypoint)})
            if len(classes) > 1:
                raise ValueError(
                    f"{unit.name}, frame {number}: index {told[0].index} is that of "
                    f"{' and '.join(map(repr, classes))}; give each object an index of its own, or "
                    "instances (fiftyone.utils.labels.index_to_instance)"
                )


def _former_ids(
    sample_id: str, members: Mapping[str, Mapping[int, Sequence[Any]]]
) -> dict[str, str]:
    """The instance that a track had while its labels had but an index, where no other can be it."""
    owners: dict[str, set[str]] = {}
    for key, frames in members.items():
        given = {lb.index for labels in frames.values() for lb in labels if lb.index is not None}
        for index in given:
            owners.setdefault(_derived_id(sample_id, index), set()).add(key)
    return {
        next(iter(keys)): derived
        for derived, keys in owners.items()
        if len(keys) == 1 and derived not in keys
    }


def _derived_id(sample_id: str, index: int) -> str:
    return make_instance_id(sample_id, "index", str(index))


def _instances_of_indices(labels: Iterable[Any]) -> dict[int, str]:
    """The instance of every index that is given together with one and the same instance."""
    found: dict[int, set[str]] = {}
    for label in labels:
        instance = instance_id(label)
        if label.index is not None and instance is not None:
            found.setdefault(label.index, set()).add(instance)
    return {index: instances.pop() for index, instances in found.items() if len(instances) == 1}


def _track_instance(sample_id: str, label: Any, instances: Mapping[int, str]) -> str:
    given = instance_id(label)
    if given is not None:
        return given
    if label.index is None:
        return make_instance_id(sample_id, "label", str(label.id))
    return instances.get(label.index) or _derived_id(sample_id, label.index)


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


def _track_digest(unit: Unit, frames: Mapping[int, Sequence[Any]]) -> str:
    facts = []
    for number in sorted(frames):
        try:
            facts.append((number, [digest(label) for label in frames[number]]))
        except (OSError, ValueError) as error:  # the file of a mask is gone
            raise ValueError(f"{unit.name}, frame {number}: {error}") from error
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:24]
