"""What a person says anew in another program, written over what was said before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.geometry import to_bounding_box
from sam2_plugins.fiftyone_plugin.labels import KEYFRAME, Identity, is_changed, is_prompt
from sam2_plugins.fiftyone_plugin.merging import same_track
from sam2_plugins.fiftyone_plugin.schema import declare, document_field
from sam2_plugins.fiftyone_plugin.store import UnitLabels


@dataclass(frozen=True, slots=True)
class PromptChange:
    """What a person says of one object on one frame now.

    Attributes:
        identity: Whose prompts.
        ids: Of labels that said it before, whether or not they tell whose they are.
        label: What says it now; None where nothing is said.
    """

    identity: Identity
    ids: frozenset[str]
    label: Any | None


def declare_prompts(dataset: Any, fields: Sequence[str], *, is_video: bool) -> str | None:
    """The first of the prompt fields that can hold masks; made where there is none of them.

    Returns:
        Its name; None where all hold something else than Detections.
    """
    schema = dataset.get_frame_field_schema() if is_video else dataset.get_field_schema()
    kinds = {name: getattr(kind, "document_type", None) for name, kind in (schema or {}).items()}
    for field in fields:
        if kinds.get(field) is fo.Detections:
            return field
    if any(field in kinds for field in fields):
        return None
    declare(dataset, [document_field(fields[0], fo.Detections)], on_frames=is_video)
    return fields[0]


def change_prompts(
    labels: UnitLabels,
    field: str,
    changes: Mapping[int, Sequence[PromptChange]],
    *,
    is_added: bool,
) -> None:
    """Replace what a person said; what runs made stays.

    Args:
        labels: Of the video.
        field: Without `frames.`; of prompts of any kind.
        changes: By frame number.
        is_added: Whether the new labels go into this field, or only the old ones out of it.
    """
    existing, kind = labels.read(field, changes), labels.kind(field)
    written = {}
    for number, on_frame in changes.items():
        before = existing.get(number, [])
        kept = [
            old
            for old in before
            if not (
                (is_prompt(old) or is_changed(old))
                and any(_is_said_by(old, change) for change in on_frame)
            )
        ]
        added = [change.label for change in on_frame if is_added and change.label is not None]
        if added or len(kept) < len(before):
            written[number] = put_labels(kind, [*kept, *added])
    if written:
        labels.write(field, written)


def make_absence(size: tuple[int, ...], identity: Identity) -> Any:
    """A keyframe that says that an object is not on a frame of `size` (H, W).

    FiftyOne has no label for that: it is a mask without pixels, in the frame's first pixel.
    """
    return fo.Detection(
        label=identity.label,
        bounding_box=to_bounding_box((0, 0, 1, 1), (size[0], size[1])),
        mask=np.zeros((1, 1), np.bool_),
        index=identity.index,
        instance=fo.Instance(id=identity.instance_id),
        **{KEYFRAME: True},
    )


def put_labels(kind: Any, labels: list[Any]) -> Any:
    """Single labels as the value of a field; the opposite of `list_labels`.

    Args:
        kind: What the field holds, such as `fo.Detections`.
        labels: Of that kind; of a field that holds one label, the last counts.
    """
    if kind is fo.Detections:
        return fo.Detections(detections=labels)
    if kind is fo.Keypoints:
        return fo.Keypoints(keypoints=labels)
    if kind is fo.Polylines:
        return fo.Polylines(polylines=labels)
    return labels[-1] if labels else None


def _is_said_by(label: Any, change: PromptChange) -> bool:
    return label.id in change.ids or same_track(label, change.identity)
