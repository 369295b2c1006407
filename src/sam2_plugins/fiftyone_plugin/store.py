"""Labels of one video or group in the database: read by frame, merged by track, written in chunks.

Both kinds of unit look alike here: a video keeps its labels on the frames of one sample, a group of
images on one sample per frame.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bson import ObjectId
from fiftyone.core.odm import get_db_conn

import fiftyone as fo
from fiftyone import ViewField as F
from sam2_plugins.fiftyone_plugin.attributes import masks_field
from sam2_plugins.fiftyone_plugin.labels import (
    KEYFRAME,
    RUN,
    Identity,
    list_labels,
)
from sam2_plugins.fiftyone_plugin.merging import merge_frame
from sam2_plugins.fiftyone_plugin.run_states import check_state, state_field
from sam2_plugins.fiftyone_plugin.schema import declare, value_field
from sam2_plugins.fiftyone_plugin.sources import Unit, flat_samples

PROMPT_LABELS = (
    *(fo.Detections, fo.Keypoints, fo.Polylines),
    *(fo.Detection, fo.Keypoint, fo.Polyline),
)

NewLabels = Mapping[int, Sequence[tuple[Identity, Any | None]]]
"""By frame number: whose label, and the label, or None where the object is not to be seen."""


def clean_field(name: str) -> str:
    """A frame field's name without the `frames.` that FiftyOne puts before it.

    Raises:
        ValueError: It is no name of a field.
    """
    field = name.strip().removeprefix("frames.")
    if not field.isidentifier():
        raise ValueError(f"{name!r} is no name of a label field")
    return field


def check_output(dataset: Any, field: str, *, is_video: bool) -> Any | None:
    """The output field as the dataset's schema has it; None where it is still to be made.

    Raises:
        ValueError: The field exists and holds something else.
    """
    known = _schema(dataset, is_video=is_video).get(field)
    kind = getattr(known, "document_type", None)
    if known is not None and kind is not fo.Detections:
        found = kind.__name__ if kind else type(known).__name__
        raise ValueError(f"output field {field!r} holds {found}; masks are written as Detections")
    return known


def declare_output(dataset: Any, field: str, *, is_video: bool, others: Iterable[Any] = ()) -> None:
    """Make what a run writes known, once, before any worker: the masks, and how far it has come.

    Args:
        dataset: That the field belongs to.
        field: Of the masks.
        is_video: Whether the masks are on frames.
        others: Fields of samples that are made known with it.

    Raises:
        ValueError: A field exists and holds something else.
    """
    check_state(dataset, field)
    declare_masks(dataset, field, is_video=is_video)
    declare(dataset, [value_field(state_field(field), fo.StringField), *others])


def declare_masks(dataset: Any, field: str, *, is_video: bool) -> None:
    """Make a field of masks and their attributes known.

    Raises:
        ValueError: The field exists and holds something else, or labels with other attributes.
    """
    check_output(dataset, field, is_video=is_video)
    masks = masks_field(dataset, field, is_video=is_video)
    declare(dataset, [masks], on_frames=is_video)


def check_prompt_fields(dataset: Any, fields: Iterable[str], *, is_video: bool) -> None:
    """Check that prompts can be read.

    Raises:
        ValueError: A field does not exist, or holds something else.
    """
    schema = _schema(dataset, is_video=is_video)
    labels = [name for name, kind in schema.items() if hasattr(kind, "document_type")]
    for field in fields:
        if field not in schema:
            where = "frame field" if is_video else "field"
            have = f"it has {', '.join(sorted(labels))}" if labels else "nothing was drawn yet"
            if is_video and dataset.has_sample_field(field):
                have = "that is a field of samples; prompts of videos are on their frames"
            raise ValueError(f"dataset {dataset.name!r} has no {where} {field!r}; {have}")
        kind = getattr(schema[field], "document_type", type(schema[field]))
        if kind not in PROMPT_LABELS:
            raise ValueError(
                f"prompts in {field!r} must be Detections, Keypoints or Polylines, not "
                f"{kind.__name__}"
            )


def known_fields(dataset: Any, fields: Iterable[str], *, is_video: bool) -> list[str]:
    """Those of the fields that the dataset has."""
    schema = _schema(dataset, is_video=is_video)
    return [field for field in fields if field in schema]


def possible_prompts(dataset: Any, *, is_video: bool) -> list[str]:
    """Fields that prompts can be in; last those of masks that runs make, some made keyframes."""
    samples = dataset.get_field_schema()
    found = [
        name
        for name, kind in _schema(dataset, is_video=is_video).items()
        if getattr(kind, "document_type", None) in PROMPT_LABELS
    ]
    return sorted(found, key=lambda name: state_field(name) in samples)


def _schema(dataset: Any, *, is_video: bool) -> dict[str, Any]:
    schema = dataset.get_frame_field_schema() if is_video else dataset.get_field_schema()
    return schema or {}


def count_prompts(dataset: Any, units: Sequence[Unit], fields: Iterable[str], output: str) -> int:
    """How many labels there are that may be prompts, counted by the database.

    Args:
        dataset: That the units' samples belong to.
        units: The videos or groups.
        fields: Of prompts.
        output: Field of masks, whose keyframes are prompts as well.
    """
    is_video = units[0].is_video
    ids = [sample_id for unit in units for sample_id in unit.sample_ids]
    samples = flat_samples(dataset, ids, is_video=is_video)
    total = 0
    for field in known_fields(dataset, dict.fromkeys([*fields, output]), is_video=is_video):
        path = f"frames.{field}" if is_video else field
        kind = samples.get_field(path).document_type
        within = getattr(kind, "_LABEL_LIST_FIELD", None)
        wanted = F(KEYFRAME) == True  # noqa: E712 - an expression
        if field in fields:
            wanted |= ~F(RUN).exists()
        view = samples.filter_labels(path, wanted)
        total += view.count(path if within is None else f"{path}.{within}")
    return total


class UnitLabels:
    """The labels of one unit.

    Args:
        dataset: That the unit's samples belong to.
        unit: The video or group.
    """

    def __init__(self, dataset: Any, unit: Unit) -> None:
        self.dataset = dataset
        self.unit = unit
        self._samples = flat_samples(dataset, unit.sample_ids, is_video=unit.is_video)
        self._numbers = {sample_id: n for n, sample_id in enumerate(unit.sample_ids, 1)}
        self._documents = dataset._sample_collection_name  # noqa: SLF001 - outlives the dataset

    def are_gone(self) -> bool:
        """Whether someone has deleted the samples, or their dataset."""
        ids = [ObjectId(sample_id) for sample_id in self.unit.sample_ids]
        found = get_db_conn()[self._documents].count_documents({"_id": {"$in": ids}})
        return bool(found < len(ids))

    def read(
        self,
        field: str,
        frame_numbers: Iterable[int] | None = None,
        *,
        only_keyframes: bool = False,
        only_made_by_people: bool = False,
    ) -> dict[int, list[Any]]:
        """The labels of a field by frame number, only of frames that have some.

        Args:
            field: Without `frames.`.
            frame_numbers: Of these frames; of all if not given.
            only_keyframes: Leave out labels that are not marked as keyframes.
            only_made_by_people: Leave out labels that a run made. Like `only_keyframes`, this
                saves loading their masks.

        Raises:
            ValueError: The field holds no labels that prompts can be.
        """
        view, path = self._samples, f"frames.{field}" if self.unit.is_video else field
        if frame_numbers is not None:
            chosen = sorted(frame_numbers)
            if self.unit.is_video:
                view = view.match_frames(F("frame_number").is_in(chosen), omit_empty=False)
            else:
                view = view.select([self.unit.sample_ids[n - 1] for n in chosen])
        if only_keyframes or only_made_by_people:
            wanted = F(KEYFRAME) == True  # noqa: E712 - makes an expression
            if only_made_by_people:
                wanted |= ~F(RUN).exists()
            view = view.filter_labels(path, wanted, only_matches=False)
        numbers, values = self._values(view, path)
        found = {n: list_labels(value) for n, value in zip(numbers, values, strict=True)}
        return {number: labels for number, labels in found.items() if labels}

    def merge(self, field: str, new: NewLabels, *, keeps_same: bool = False) -> None:
        """Put generated labels in place of earlier ones of the same tracks.

        What a person made or changed stays, and where a track has such a label no other is added.

        Args:
            field: Without `frames.`.
            new: Labels by frame number; frames that are not named are not touched.
            keeps_same: Whether labels whose masks are the same again stay as they are.
        """
        if not new:
            return
        existing = self.read(field, new)
        merged: dict[int, Any] = {}
        for number, labels in new.items():
            before = existing.get(number, [])
            kept = merge_frame(before, labels, keeps_same=keeps_same)
            if kept or before:
                merged[number] = fo.Detections(detections=kept)
        if merged:
            self.write(field, merged)

    def frames_with(self, field: str) -> set[int]:
        """The frames on which a field of Detections is set, also to none."""
        path = f"frames.{field}" if self.unit.is_video else field
        numbers, found = self._values(self._samples, f"{path}.detections.id")
        scope = self.unit.frame_numbers
        return {
            number
            for number, ids in zip(numbers, found, strict=True)
            if ids is not None and (scope is None or number in scope)
        }

    def count_labels(self, field: str) -> dict[str, int]:
        """On how many frames each instance has a label; no mask is loaded."""
        return Counter(str(instance) for instance in self._flat(field, "instance._id"))

    def has_masks(self, field: str) -> bool:
        """Whether any label of a field of Detections has a mask; none is loaded."""
        path = f"frames.{field}" if self.unit.is_video else field
        masked = self._samples.filter_labels(path, F("mask").exists() | F("mask_path").exists())
        return bool(masked.count(f"{path}.detections"))

    def mask_paths(self, field: str) -> set[str]:
        """The mask files that labels of a field refer to."""
        return {path for path in self._flat(field, "mask_path") if path}

    def set_state(self, field: str, state: str) -> None:
        """Say on the sample (the first of a group) how far the run on `field` has come."""
        values = {self.unit.sample_ids[0]: state}
        self._samples.set_values(state_field(field), values, key_field="id")

    def kind(self, field: str) -> Any:
        """What a field holds, such as `fo.Detections`."""
        path = f"frames.{field}" if self.unit.is_video else field
        return getattr(self._samples.get_field(path), "document_type", None)

    def _flat(self, field: str, attribute: str) -> list[Any]:
        """An attribute of all labels of a field that have it."""
        path = f"frames.{field}" if self.unit.is_video else field
        return list(self._samples.values(f"{path}.detections.{attribute}", unwind=True))

    def _values(self, view: Any, path: str) -> tuple[list[int], list[Any]]:
        if not self.unit.is_video:
            ids, values = view.values(["id", path])
            return [self._numbers[sample_id] for sample_id in ids], values
        numbers, values = view.values(["frames.frame_number", path])
        return (numbers[0] or [], values[0] or []) if numbers else ([], [])

    def write(self, field: str, values: Mapping[int, Any]) -> None:
        """Set a field on frames, by frame number."""
        if self.unit.is_video:
            by_sample: dict[str, Any] = {self.unit.sample_ids[0]: values}
            self._samples.set_values(f"frames.{field}", by_sample, key_field="id")
            return
        by_sample = {self.unit.sample_ids[n - 1]: value for n, value in values.items()}
        self._samples.select(list(by_sample)).set_values(field, by_sample, key_field="id")
