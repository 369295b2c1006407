"""Bringing what a tracker was told of an object on a frame to what it is to be told now."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.prompts import Orders, PromptKey, SlicePrompts, make_orders

if TYPE_CHECKING:
    from sam2_plugins.core import VideoTracker

FrameObject = tuple[int, int]


def change_orders(tracker: "VideoTracker", key: FrameObject, *, old: Orders, new: Orders) -> int:
    """Tell a tracker new orders for (frame index, object id) in place of old ones.

    Returns:
        How many edits that took: 0 or 1.

    Raises:
        ValueError: The tracker refused; everything is as it was.
    """
    if new == old:
        return 0
    frame_index, object_id = key
    if new.is_empty:
        tracker.clear_prompts(frame_index, object_id)
        return 1
    before = tracker.prompts.get(object_id, {}).get(frame_index)
    tracker.set_prompts(
        frame_index,
        object_id,
        points=[(x, y) for x, y, _ in new.clicks] or None,
        point_labels=[label for *_, label in new.clicks] or None,
        box=None if new.mask is not None else new.box,
        mask=None if new.mask is None else new.mask.unpack(),
    )
    # For the tracker, other orders may say the same.
    return int(tracker.prompts[object_id][frame_index] is not before)


def orders_on(prompts: Mapping[PromptKey, SlicePrompts], plane: Plane) -> dict[FrameObject, Orders]:
    """Prompts on a plane's frames as orders, by (frame index, object id)."""
    return {
        (key.frame_index, key.object_id): make_orders(said, plane)
        for key, said in prompts.items()
        if key.plane == plane
    }
