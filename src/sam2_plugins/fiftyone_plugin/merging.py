"""Which labels of a frame stay when a run writes its own."""

from collections.abc import Sequence
from typing import Any

from sam2_plugins.fiftyone_plugin.labels import Identity, instance_id, is_generated


def same_track(label: Any, identity: Identity) -> bool:
    """Whether a label belongs to a track: by instance, or by index where it has no instance."""
    instance = instance_id(label)
    if instance is None:
        return label.index is not None and label.index == identity.index
    return instance in (identity.instance_id, identity.former_id)


def merge_frame(before: Sequence[Any], new: Sequence[tuple[Identity, Any | None]]) -> list[Any]:
    """The labels of a frame afterwards."""
    kept = list(before)
    for identity, label in new:
        kept = [old for old in kept if not (is_generated(old) and same_track(old, identity))]
        is_taken = any(same_track(old, identity) for old in kept)
        if label is not None and not is_taken:
            kept.append(label)
    return kept
