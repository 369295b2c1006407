"""Which labels of a frame stay when a run writes its own."""

from collections.abc import Sequence
from typing import Any

from sam2_plugins.fiftyone_plugin.labels import (
    CHECKSUM,
    Identity,
    instance_id,
    is_changed,
    is_generated,
)

OWN_TAGS = "sam2:"
"""How the tags that the plugin gives begin."""


def same_track(label: Any, identity: Identity) -> bool:
    """Whether a label belongs to a track: by instance, or by index where it has no instance."""
    instance = instance_id(label)
    if instance is None:
        return label.index is not None and label.index == identity.index
    return instance in (identity.instance_id, identity.former_id)


def is_replaceable(label: Any) -> bool:
    """Whether a run may put another label in its place: a run made it, and it is as it was made."""
    return is_generated(label) and not is_changed(label)


def merge_frame(
    before: Sequence[Any],
    new: Sequence[tuple[Identity, Any | None]],
    *,
    keeps_same: bool = False,
) -> list[Any]:
    """The labels of a frame afterwards; tags that a person gave are on the new label, too.

    Args:
        before: Its labels.
        new: Whose label, and the label, or None where the object is not to be seen.
        keeps_same: Whether a label whose mask comes out the same again stays, with its tags and its
            run, so that verdicts on it hold.
    """
    kept = list(before)
    for identity, label in new:
        kept = [
            old
            for old in kept
            if not (same_track(old, identity) and is_replaceable(old))
            or (keeps_same and _is_same(old, label))
        ]
        is_taken = any(same_track(old, identity) for old in kept)
        if label is not None and not is_taken:
            label.tags = _tags_given(before, identity)
            kept.append(label)
    return kept


def _tags_given(before: Sequence[Any], identity: Identity) -> list[str]:
    """The tags that people gave the labels of a track; those of the plugin are about old masks."""
    given = (tag for old in before if same_track(old, identity) for tag in old.tags or ())
    return [tag for tag in dict.fromkeys(given) if not tag.startswith(OWN_TAGS)]


def _is_same(old: Any, label: Any | None) -> bool:
    return label is not None and getattr(old, CHECKSUM, None) == label[CHECKSUM]
