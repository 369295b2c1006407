"""One plane of an image in the tracker's hands. Everything here runs in the worker's thread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.napari_plugin.edits import Change, FrameObject, change_orders, touch
from sam2_plugins.napari_plugin.frame_labels import FrameLabels, frame_labels, mask_of
from sam2_plugins.napari_plugin.frames import ImageStack
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.prompts import Click, MaskPixels, Orders
from sam2_plugins.napari_plugin.trackers import make_tracker

if TYPE_CHECKING:
    from sam2_plugins.core import SAM2, VideoTracker


class Carriage(NamedTuple):
    """A prompt that was carried from another time point: where to, what, and from which mask."""

    frame_index: int
    orders: Orders
    source: MaskPixels


class LockedMask(NamedTuple):
    """A confirmed mask (H, W)."""

    frame_index: int
    object_id: int
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Knowledge:
    """What a session knows besides masks: frames by object id."""

    prompted: dict[int, frozenset[int]]
    confirmed: dict[int, frozenset[int]]


class PlaneSession:
    """A tracker, and what it was told.

    Args:
        model: The network.
        stack: The pixels.
        plane: Which planes are the frames.
        tracker: Made from the same; a new one if not given.
    """

    def __init__(
        self, model: "SAM2", stack: ImageStack, plane: Plane, tracker: "VideoTracker | None" = None
    ) -> None:
        self.plane = plane
        self.tracker = tracker or make_tracker(model, stack, plane)
        self.orders: dict[FrameObject, Orders] = {}
        self.carried: dict[int, Carriage] = {}
        self._adopted: frozenset[FrameObject] = frozenset()
        self._done: list[Change] = []
        self._undone: list[Change] = []

    def locked(self) -> list[LockedMask]:
        """Every confirmed mask."""
        found = []
        for object_id, frames in self.tracker.confirmed.items():
            for frame_index in frames:
                mask = mask_of(self.tracker.masks(frame_index), object_id)
                assert mask is not None
                found.append(LockedMask(frame_index, object_id, mask))
        return found

    def adopt_locked(self, masks: Sequence[LockedMask]) -> None:
        """Take over masks that were confirmed with another model; they stay as they are."""
        for frame_index, object_id, mask in masks:
            self.tracker.set_mask(frame_index, object_id, mask)
            self.tracker.confirm(object_id, frame_index)
            self._adopted |= {(frame_index, object_id)}

    def apply(self, frame_index: int, object_id: int, orders: Orders) -> int:
        """Bring a frame's prompts to what is ordered.

        Returns:
            How many changes that took: 0 or 1.

        Raises:
            ValueError: The tracker refused; everything is as it was.
        """
        key = (frame_index, object_id)
        if key in self._adopted:
            return self._change(0, {key: orders})
        if frame_index in self.tracker.confirmed.get(object_id, []):
            raise ValueError(
                f"slice {frame_index} of object {object_id} is locked: unlock it to change it"
            )
        if key in self.orders and not orders.is_empty and orders.mask is None:
            orders = replace(orders, others=self.orders[key].others)
        return self._tell(key, orders)

    def leave_to_others(self, frame_index: int, object_id: int, others: tuple[Click, ...]) -> int:
        """Tell an object which clicks on other objects are background to it.

        Returns:
            How many changes that took; none where the object's mask is painted or locked.
        """
        key = (frame_index, object_id)
        is_locked = frame_index in self.tracker.confirmed.get(object_id, [])
        if is_locked or key in self._adopted or self.orders[key].mask is not None:
            return 0
        return self._tell(key, replace(self.orders[key], others=others))

    def orders_on(self, frame_index: int) -> dict[int, Orders]:
        """What was ordered on a frame, by object."""
        return {key[1]: orders for key, orders in self.orders.items() if key[0] == frame_index}

    def take_mask(self, frame_index: int, object_id: int, mask: NDArray[np.bool_]) -> int:
        """Give the tracker a mask that it does not have; what was ordered stays as it was.

        Args:
            frame_index: The frame.
            object_id: The object.
            mask: (H, W).

        Returns:
            How many changes that took.
        """
        orders = Orders(mask=MaskPixels.pack(mask))
        key = (frame_index, object_id)
        return self._change(change_orders(self.tracker, key, old=Orders(), new=orders), {})

    def remove(self, object_id: int) -> int:
        """Remove an object; returns how many changes that took."""
        if object_id not in self.tracker.object_ids:
            return 0
        self.tracker.remove_object(object_id)
        gone = {key: Orders() for key in self.orders if key[1] == object_id}
        adopted = frozenset(key for key in self._adopted if key[1] != object_id)
        return self._change(1, gone, adopted=adopted)

    def checkpoint(self, object_ids: Sequence[int]) -> int:
        """Make a step of undo that changes nothing, so that what is tracked next can be undone.

        Returns:
            How many changes that took.
        """
        known = [i for i in object_ids if i in self.tracker.object_ids]
        return sum(self._change(touch(self.tracker, object_id), {}) for object_id in known)

    def undo(self, count: int) -> None:
        """Take back the last changes."""
        for _ in range(min(count, len(self._done))):
            change = self._done.pop()
            self._undone.append(change)
            for _ in range(change.num_edits):
                self.tracker.undo()
            self._remember(change.before, change.adopted[0])

    def redo(self, count: int) -> None:
        """Make the changes again that were taken back last."""
        for _ in range(min(count, len(self._undone))):
            change = self._undone.pop()
            self._done.append(change)
            for _ in range(change.num_edits):
                self.tracker.redo()
            self._remember(change.after, change.adopted[1])

    def set_confirmed(self, object_id: int, frame_index: int, is_confirmed: bool) -> int:
        """Lock or unlock a mask; returns how many changes that took.

        Raises:
            ValueError: There is no mask.
        """
        locked = frame_index in self.tracker.confirmed.get(object_id, [])
        if locked == is_confirmed:
            return 0
        is_known = object_id in self.tracker.object_ids
        if not is_known or frame_index not in self.tracker.known_frames(object_id):
            raise ValueError(
                f"object {object_id} has no mask on slice {frame_index} that could be locked"
            )
        change = self.tracker.confirm if is_confirmed else self.tracker.unconfirm
        change(object_id, frame_index)
        return self._change(1, {}, adopted=self._adopted - {(frame_index, object_id)})

    def labels(self, frame_index: int) -> FrameLabels:
        """What is known of a frame now."""
        return frame_labels(self.plane, self.tracker.masks(frame_index))

    def known_frames(self) -> list[int]:
        """Frames with masks, ascending."""
        return self.tracker.known_frames()

    def known(self) -> Knowledge:
        """Where there are prompts and locks."""
        return Knowledge(
            {key: frozenset(frames) for key, frames in self.tracker.prompts.items()},
            {key: frozenset(frames) for key, frames in self.tracker.confirmed.items()},
        )

    def _tell(self, key: FrameObject, orders: Orders) -> int:
        old = self.orders.get(key, Orders())
        return self._change(change_orders(self.tracker, key, old=old, new=orders), {key: orders})

    def _change(
        self,
        num_edits: int,
        orders: Mapping[FrameObject, Orders],
        *,
        adopted: frozenset[FrameObject] | None = None,
    ) -> int:
        """Take note of what the tracker was told; 1, or 0 where that changes nothing."""
        before = {key: self.orders.get(key, Orders()) for key in orders}
        if not num_edits and before == orders:
            return 0
        now = self._adopted if adopted is None else adopted
        self._done.append(Change(num_edits, before, dict(orders), (self._adopted, now)))
        self._undone.clear()
        self._remember(orders, now)
        return 1

    def _remember(
        self, orders: Mapping[FrameObject, Orders], adopted: frozenset[FrameObject]
    ) -> None:
        self._adopted = adopted
        self.orders |= orders
        self.orders = {key: said for key, said in self.orders.items() if not said.is_empty}
