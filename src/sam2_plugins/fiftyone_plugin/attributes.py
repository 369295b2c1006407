"""What generated labels say of themselves, made known in a field that masks go to."""

from typing import Any

from fiftyone.core.odm import get_db_conn

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.labels import CHECKSUM, KEYFRAME, OBJECT_SCORE, RUN
from sam2_plugins.fiftyone_plugin.schema import document_field, value_field

_KINDS = {
    KEYFRAME: (fo.BooleanField, ("bool",)),
    OBJECT_SCORE: (fo.FloatField, ("double", "int", "long")),
    RUN: (fo.StringField, ("string",)),
    CHECKSUM: (fo.StringField, ("string",)),
}
"""Each attribute's field, and how its values may be kept in the database."""


def masks_field(dataset: Any, field: str, *, is_video: bool) -> Any:
    """A field of Detections whose labels have the attributes, to be made known.

    Raises:
        ValueError: Labels that are there have such an attribute of another kind. FiftyOne could
            not read them any more.
    """
    path = f"{field}.detections"
    for name in _KINDS:
        _refuse_other_values(dataset, path, name, is_video=is_video)
    attributes = [value_field(name, kind) for name, (kind, _) in _KINDS.items()]
    attributes.append(document_field("instance", fo.Instance))
    labels = document_field("detections", fo.Detection, attributes, listed=True)
    return document_field(field, fo.Detections, [labels])


def _refuse_other_values(dataset: Any, path: str, name: str, *, is_video: bool) -> None:
    whole = f"frames.{path}.{name}" if is_video else f"{path}.{name}"
    if dataset.has_field(whole):
        return
    names = (dataset._frame_collection_name, dataset._sample_collection_name)  # noqa: SLF001
    documents = get_db_conn()[names[0 if is_video else 1]]
    (kind, types) = _KINDS[name]
    others = {"$exists": True, "$not": {"$type": [*types, "null"]}}
    found = documents.find_one({path: {"$elemMatch": {name: others}}}, {"_id": True})
    if found is not None:
        raise ValueError(
            f"{path.partition('.')[0]!r} holds labels whose {name} is no {kind.__name__}; choose "
            f"another field for the masks, or call that attribute otherwise"
        )
