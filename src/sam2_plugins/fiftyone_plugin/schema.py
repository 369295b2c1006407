"""Fields of a dataset, made known all at once.

FiftyOne's `add_sample_field` and `add_frame_field` read and write the schema of the whole dataset
for every single field, which takes the longer the more fields there are.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from fiftyone.core.odm import create_field

import fiftyone as fo


def value_field(name: str, kind: Any, *, listed: bool = False) -> Any:
    """A field of numbers, text and the like; or of lists of them."""
    return create_field(name, fo.ListField, subfield=kind) if listed else create_field(name, kind)


def document_field(
    name: str, kind: Any, fields: Sequence[Any] = (), *, listed: bool = False
) -> Any:
    """A field of documents that have fields; or of lists of them."""
    within = {"embedded_doc_type": kind, "fields": list(fields)}
    if listed:
        return create_field(name, fo.ListField, subfield=fo.EmbeddedDocumentField, **within)
    return create_field(name, fo.EmbeddedDocumentField, **within)


def declare(dataset: Any, fields: Iterable[Any], *, on_frames: bool = False) -> None:
    """Make fields known; of those that are known, the fields within that are not.

    Raises:
        ValueError: A field is known as one of another kind.
    """
    wanted = {field.name: field for field in fields}
    if on_frames:
        dataset._merge_frame_field_schema(wanted)  # noqa: SLF001 - see above
    else:
        dataset._merge_sample_field_schema(wanted)  # noqa: SLF001
