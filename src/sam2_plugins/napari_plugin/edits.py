"""Bringing what a tracker was told of an object on a frame to what it is to be told now."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.prompts import Orders, PromptKey, SlicePrompts, make_orders

if TYPE_CHECKING:
    from sam2_plugins.core import VideoTracker

FrameObject = tuple[int, int]


class Edits:
    """Counts edits of a tracker, so that they can be taken back together."""

    def __init__(self, tracker: "VideoTracker") -> None:
        self.tracker = tracker
        self.count = 0

    def add(self, change: object, *arguments: object) -> None:
        """Make one edit."""
        change(*arguments)  # type: ignore[operator]
        self.count += 1

    def take_back(self) -> None:
        """Undo all of them."""
        for _ in range(self.count):
            self.tracker.undo()


def change_orders(tracker: "VideoTracker", key: FrameObject, *, old: Orders, new: Orders) -> int:
    """Tell a tracker new orders for (frame index, object id) in place of old ones.

    Returns:
        How many edits that took.

    Raises:
        ValueError: The tracker refused; everything is as it was.
    """
    edits = Edits(tracker)
    try:
        _change(edits, key, old, new)
    except Exception:
        edits.take_back()
        raise
    return edits.count


def _change(edits: Edits, key: FrameObject, old: Orders, orders: Orders) -> None:
    frame_index, object_id = key
    tracker = edits.tracker
    if orders == old:
        return
    if orders.is_empty:
        edits.add(tracker.clear_prompts, frame_index, object_id)
        return
    more = orders.clicks_beyond(old)
    if more is not None:
        _click(edits, key, more)
        return
    held = None
    if not old.is_empty:
        held = _hold(edits, key)
        edits.add(tracker.clear_prompts, frame_index, object_id)
    if orders.mask is not None:
        edits.add(tracker.set_mask, frame_index, object_id, orders.mask.unpack())
    elif orders.box is not None:
        edits.add(tracker.set_box, frame_index, object_id, orders.box)
    if orders.clicks:
        _click(edits, key, orders.clicks)
    if held is not None:
        edits.add(tracker.unconfirm, object_id, held)


def _hold(edits: Edits, key: FrameObject) -> int | None:
    """Lock another frame for a moment: an object that loses its only prompts loses all."""
    frame_index, object_id = key
    tracker = edits.tracker
    known = tracker.known_frames(object_id)
    is_safe = set(tracker.prompts[object_id]) | set(tracker.confirmed[object_id])
    others = [frame for frame in known if frame != frame_index]
    if is_safe - {frame_index} or not others:
        return None
    edits.add(tracker.confirm, object_id, others[0])
    return others[0]


def _click(edits: Edits, key: FrameObject, clicks: Sequence[tuple[float, float, int]]) -> None:
    xy = [(x, y) for x, y, _ in clicks]
    edits.add(edits.tracker.add_points, *key, xy, [label for *_, label in clicks])


def orders_on(prompts: Mapping[PromptKey, SlicePrompts], plane: Plane) -> dict[FrameObject, Orders]:
    """Prompts on a plane's frames as orders, by (frame index, object id)."""
    return {
        (key.frame_index, key.object_id): make_orders(said, plane)
        for key, said in prompts.items()
        if key.plane == plane
    }
