"""One plane of an image in the tracker's hands. Everything here runs in the worker's thread."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.napari_plugin.frames import ImageStack, PlaneFrames
from sam2_plugins.napari_plugin.layers import Plane, Window
from sam2_plugins.napari_plugin.prompts import Orders

if TYPE_CHECKING:
    from sam2_plugins.core import SAM2, FrameMasks, VideoTracker

UNDO_LEVELS = 10_000
FrameObject = tuple[int, int]


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
        found = np.zeros(self.plane.frame_size, dtype=bool)
        if self.window is not None:
            y0, x0, y1, x1 = self.window
            found[y0:y1, x0:x1] = self.labels == object_id
        return found


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
        from sam2_plugins.core import VideoTracker

        self.plane = plane
        self.tracker = tracker or VideoTracker(
            model, PlaneFrames(stack, plane), limits=stack.limits, undo_levels=UNDO_LEVELS
        )
        self.orders: dict[FrameObject, Orders] = {}
        self._adopted: set[FrameObject] = set()

    def locked(self) -> list[LockedMask]:
        """Every confirmed mask."""
        found = []
        for object_id, frames in self.tracker.confirmed.items():
            for frame_index in frames:
                masks = self.tracker.masks(frame_index)
                row = int(np.flatnonzero(masks.object_ids == object_id)[0])
                found.append(LockedMask(frame_index, object_id, masks.masks[row]))
        return found

    def adopt_locked(self, masks: Sequence[LockedMask]) -> None:
        """Take over masks that were confirmed with another model; they stay as they are."""
        for frame_index, object_id, mask in masks:
            self.tracker.set_mask(frame_index, object_id, mask)
            self.tracker.confirm(object_id, frame_index)
            self._adopted.add((frame_index, object_id))

    def apply(self, frame_index: int, object_id: int, orders: Orders) -> int:
        """Bring a frame's prompts to what is ordered.

        Returns:
            How many edits of the tracker that took.

        Raises:
            ValueError: The tracker refused; everything is as it was.
        """
        key = (frame_index, object_id)
        if key in self._adopted:
            self._remember(key, orders)
            return 0
        old = self.orders.get(key, Orders())
        if frame_index in self.tracker.confirmed.get(object_id, []):
            raise ValueError(
                f"slice {frame_index} of object {object_id} is locked: unlock it to change it"
            )
        edits = _Edits(self.tracker)
        try:
            self._apply(edits, key, old, orders)
        except Exception:
            edits.take_back()
            raise
        self._remember(key, orders)
        return edits.count

    def _apply(self, edits: "_Edits", key: FrameObject, old: Orders, orders: Orders) -> None:
        frame_index, object_id = key
        tracker = self.tracker
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
            held = self._hold(edits, key)
            edits.add(tracker.clear_prompts, frame_index, object_id)
        if orders.mask is not None:
            edits.add(tracker.set_mask, frame_index, object_id, orders.mask.unpack())
        elif orders.box is not None:
            edits.add(tracker.set_box, frame_index, object_id, orders.box)
        if orders.clicks:
            _click(edits, key, orders.clicks)
        if held is not None:
            edits.add(tracker.unconfirm, object_id, held)

    def _hold(self, edits: "_Edits", key: FrameObject) -> int | None:
        """Lock another frame for a moment: an object that loses its only prompts loses all."""
        frame_index, object_id = key
        tracker = self.tracker
        known = tracker.known_frames(object_id)
        is_safe = set(tracker.prompts[object_id]) | set(tracker.confirmed[object_id])
        others = [frame for frame in known if frame != frame_index]
        if is_safe - {frame_index} or not others:
            return None
        edits.add(tracker.confirm, object_id, others[0])
        return others[0]

    def remove(self, object_id: int) -> int:
        """Remove an object; returns how many edits that took."""
        if object_id not in self.tracker.object_ids:
            return 0
        self.tracker.remove_object(object_id)
        for key in [key for key in self.orders if key[1] == object_id]:
            del self.orders[key]
        return 1

    def checkpoint(self, object_ids: Sequence[int]) -> int:
        """Make a step of undo that changes nothing, so that what is tracked next can be undone.

        Returns:
            How many edits that took.
        """
        edits = _Edits(self.tracker)
        prompts, confirmed = self.tracker.prompts, self.tracker.confirmed
        for object_id in object_ids:
            if free := sorted(set(prompts[object_id]) - set(confirmed[object_id])):
                edits.add(self.tracker.confirm, object_id, free[0])
                edits.add(self.tracker.unconfirm, object_id, free[0])
        return edits.count

    def undo(self, count: int, orders: dict[FrameObject, Orders]) -> None:
        """Take back edits; `orders` are those that hold again."""
        for _ in range(count):
            self.tracker.undo()
        for key, value in orders.items():
            self._remember(key, value)

    def redo(self, count: int, orders: dict[FrameObject, Orders]) -> None:
        """Make edits again; `orders` are those that hold again."""
        for _ in range(count):
            self.tracker.redo()
        for key, value in orders.items():
            self._remember(key, value)

    def set_confirmed(self, object_id: int, frame_index: int, is_confirmed: bool) -> int:
        """Lock or unlock a mask; returns how many edits that took.

        Raises:
            KeyError: There is no mask.
        """
        locked = frame_index in self.tracker.confirmed.get(object_id, [])
        if locked == is_confirmed:
            return 0
        change = self.tracker.confirm if is_confirmed else self.tracker.unconfirm
        change(object_id, frame_index)
        self._adopted.discard((frame_index, object_id))
        return 1

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

    def _remember(self, key: FrameObject, orders: Orders) -> None:
        if orders.is_empty:
            self.orders.pop(key, None)
        else:
            self.orders[key] = orders


class _Edits:
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


def _click(edits: _Edits, key: FrameObject, clicks: Sequence[tuple[float, float, int]]) -> None:
    xy = [(x, y) for x, y, _ in clicks]
    edits.add(edits.tracker.add_points, *key, xy, [label for *_, label in clicks])


def frame_labels(plane: Plane, masks: "FrameMasks") -> FrameLabels:
    """A frame's masks as a label image, cut to where they are."""
    scores = {
        int(object_id): Score(float(iou), float(logit), int(np.count_nonzero(mask)))
        for object_id, iou, logit, mask in zip(
            masks.object_ids,
            masks.predicted_iou,
            masks.object_score_logits,
            masks.masks,
            strict=True,
        )
    }
    empty = FrameLabels(plane, masks.frame_index, None, np.zeros((0, 0), np.uint16), scores)
    if not len(masks.object_ids):
        return empty
    covered: NDArray[np.bool_] = np.any(masks.masks, axis=0)
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    if not len(rows):
        return empty
    window = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    labels = masks.to_labels()[window[0] : window[2], window[1] : window[3]]
    return FrameLabels(plane, masks.frame_index, window, labels, scores)


def propagate_above(
    tracker: "VideoTracker",
    object_id: int,
    *,
    min_iou: float,
    direction: str,
    span: tuple[int, int],
    stop_after_absent: int | None = None,
) -> Iterator["FrameMasks"]:
    """Propagate one object, and end each way at the first mask below a predicted IoU.

    Between prompted frames nothing ends: what is said there on both sides holds.
    """
    start, stop = span
    is_done = False
    while not is_done and start < stop:
        prompted = sorted({*tracker.prompts[object_id], *tracker.confirmed[object_id]})
        is_done = True
        run = tracker.propagate(
            start=start,
            stop=stop,
            direction=direction,  # type: ignore[arg-type]
            object_ids=[object_id],
            stop_after_absent=stop_after_absent,
        )
        for masks in run:
            yield masks
            row = int(np.flatnonzero(masks.object_ids == object_id)[0])
            frame = masks.frame_index
            if masks.predicted_iou[row] >= min_iou or prompted[0] <= frame <= prompted[-1]:
                continue
            # The other way is still to be done: go on without what lies beyond this frame.
            start, stop = (start, frame) if frame > prompted[-1] else (frame + 1, stop)
            is_done = False
            break
