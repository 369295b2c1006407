"""One plane of an image in the tracker's hands. Everything here runs in the worker's thread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.napari_plugin.edits import Change, FrameObject, change_orders, touch
from sam2_plugins.napari_plugin.frames import ImageStack
from sam2_plugins.napari_plugin.layers import Plane, Window
from sam2_plugins.napari_plugin.prompts import MaskPixels, Orders
from sam2_plugins.napari_plugin.trackers import make_tracker

if TYPE_CHECKING:
    from sam2_plugins.core import SAM2, FrameMasks, VideoTracker


class Score(NamedTuple):
    """What the model thinks of one mask."""

    predicted_iou: float
    object_score_logit: float
    area: int


@dataclass(frozen=True, eq=False)
class FrameLabels:
    """All our masks of a frame as a label image, cut to where they are.

    Attributes:
        plane: Of the frame.
        frame_index: The frame.
        window: (y0, x0, y1, x1) of the labels, half-open; None where there are none.
        labels: (h, w) object ids.
        scores: By object id.
    """

    plane: Plane
    frame_index: int
    window: Window | None
    labels: NDArray[np.unsignedinteger]
    scores: dict[int, Score]

    def mask(self, object_id: int) -> NDArray[np.bool_]:
        """(H, W) bool: where an object is."""
        return self._place(self.labels == object_id)

    def covered(self) -> NDArray[np.bool_]:
        """(H, W) bool: where any object is."""
        return self._place(self.labels > 0)

    def _place(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        found = np.zeros(self.plane.frame_size, dtype=bool)
        if self.window is not None:
            y0, x0, y1, x1 = self.window
            found[y0:y1, x0:x1] = mask
        return found


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
        old = self.orders.get(key, Orders())
        if frame_index in self.tracker.confirmed.get(object_id, []):
            raise ValueError(
                f"slice {frame_index} of object {object_id} is locked: unlock it to change it"
            )
        num_edits = change_orders(self.tracker, key, old=old, new=orders)
        return self._change(num_edits, {key: orders})

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
            KeyError: There is no mask.
        """
        locked = frame_index in self.tracker.confirmed.get(object_id, [])
        if locked == is_confirmed:
            return 0
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


def mask_of(masks: "FrameMasks", object_id: int) -> "NDArray[np.bool_] | None":
    """(H, W) bool of an object; None if it is not known on that frame."""
    from sam2_plugins.core import PlacedMasks

    rows = np.flatnonzero(masks.object_ids == object_id)
    if not len(rows):
        return None
    row = int(rows[0])
    if not isinstance(masks, PlacedMasks):
        return masks.masks[row]
    mask: NDArray[np.bool_] = np.zeros(masks.plane, dtype=np.bool_)
    mask[masks.windows[row].slices] = masks.crops[row]
    return mask


def frame_labels(plane: Plane, masks: "FrameMasks") -> FrameLabels:
    """A frame's masks as a label image, cut to where they are."""
    from sam2_plugins.core import PlacedMasks

    window: Window | None
    if isinstance(masks, PlacedMasks):
        areas, box = masks.areas, masks.window
        window = None if box is None else (box.y0, box.x0, box.y1, box.x1)
        labels = None if box is None else masks.to_labels(box)
    else:
        areas, window = masks.masks.sum(axis=(1, 2)), extent(np.any(masks.masks, axis=0))
        labels = None
        if window is not None:
            labels = masks.to_labels()[window[0] : window[2], window[1] : window[3]]
    areas = np.where(masks.gives_way, 0, areas)
    values = zip(
        *(masks.object_ids, masks.predicted_iou, masks.object_score_logits, areas), strict=True
    )
    scores = {int(i): Score(float(iou), float(logit), int(area)) for i, iou, logit, area in values}
    nothing = np.zeros((0, 0), np.uint16)
    return FrameLabels(
        plane, masks.frame_index, window, nothing if labels is None else labels, scores
    )


def extent(covered: NDArray[np.bool_]) -> Window | None:
    """The window (y0, x0, y1, x1) around what is covered in (H, W); None where nothing is."""
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    if not len(rows):
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
