"""Bringing what a tracker was told of an object on a frame to what it is to be told now."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sam2_plugins.napari_plugin.prompts import Orders

if TYPE_CHECKING:
    from sam2_plugins.core import VideoTracker

FrameObject = tuple[int, int]


class Change(NamedTuple):
    """One change of what a tracker was told, to be taken back or made again.

    Attributes:
        num_edits: Of the tracker.
        before: Orders as they were.
        after: Orders as they became.
        adopted: Masks of another model before, and after.
    """

    num_edits: int
    before: dict[FrameObject, Orders]
    after: dict[FrameObject, Orders]
    adopted: tuple[frozenset[FrameObject], frozenset[FrameObject]]


def change_orders(tracker: "VideoTracker", key: FrameObject, *, old: Orders, new: Orders) -> int:
    """Tell a tracker new orders for (frame index, object id) in place of old ones.

    Returns:
        How many edits that took: 0 or 1.

    Raises:
        ValueError: The tracker refused; everything is as it was.
    """
    if (new.mask, new.box, new.told) == (old.mask, old.box, old.told):
        return 0
    frame_index, object_id = key
    if new.is_empty:
        tracker.clear_prompts(frame_index, object_id)
        return 1
    before = tracker.prompts.get(object_id, {}).get(frame_index)
    tracker.set_prompts(
        frame_index,
        object_id,
        points=[(x, y) for x, y, _ in new.told] or None,
        point_labels=[label for *_, label in new.told] or None,
        box=None if new.mask is not None else new.box,
        mask=None if new.mask is None else new.mask.unpack(),
    )
    # For the tracker, other orders may say the same.
    return int(tracker.prompts[object_id][frame_index] is not before)


def touch(tracker: "VideoTracker", object_id: int) -> int:
    """Make edits of an object that change nothing.

    Returns:
        How many; 0 where the only frame there is has a lock.
    """
    locked = tracker.confirmed[object_id]
    prompted = sorted(tracker.prompts[object_id])
    if free := [f for f in (*prompted, *tracker.known_frames(object_id)) if f not in locked]:
        tracker.confirm(object_id, free[0])
        tracker.unconfirm(object_id, free[0])
    elif prompted or len(locked) > 1:
        tracker.unconfirm(object_id, locked[0])
        tracker.confirm(object_id, locked[0])
    elif tracker.num_frames > 1:
        # An object goes with its last lock: it has to be held elsewhere, where nothing is known.
        elsewhere = locked[0] - 1 if locked[0] else 1
        tracker.set_mask(elsewhere, object_id, np.zeros(tracker.frame_size, np.bool_))
        tracker.clear_prompts(elsewhere, object_id)
    else:
        return 0
    return 2
