"""The masks of a frame as one label image, as they are drawn and saved."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.napari_plugin.layers import Plane, Window

if TYPE_CHECKING:
    from sam2_plugins.core import FrameMasks


class Score(NamedTuple):
    """What the model thinks of one mask.

    Attributes:
        predicted_iou: In [0, 1].
        object_score_logit: > 0 means visible.
        area: Pixels; 0 where it is not drawn.
        gives_way: It was found on a thing that another object has, see `FrameMasks.gives_way`.
    """

    predicted_iou: float
    object_score_logit: float
    area: int
    gives_way: bool = False


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

    def within(self, window: Window) -> NDArray[np.unsignedinteger]:
        """(h, w) labels in a window of the frame."""
        y0, x0, y1, x1 = window
        found = np.zeros((y1 - y0, x1 - x0), self.labels.dtype)
        if self.window is not None:
            top, left = self.window[:2]
            rows = slice(max(y0 - top, 0), max(y1 - top, 0))
            here = self.labels[rows, max(x0 - left, 0) : max(x1 - left, 0)]
            y, x = max(top - y0, 0), max(left - x0, 0)
            found[y : y + here.shape[0], x : x + here.shape[1]] = here
        return found

    def label_at(self, x: int, y: int) -> int:
        """The object that is drawn on a pixel, 0 for none."""
        if self.window is None:
            return 0
        y0, x0, y1, x1 = self.window
        is_inside = y0 <= y < y1 and x0 <= x < x1
        return int(self.labels[y - y0, x - x0]) if is_inside else 0

    def covered(self) -> NDArray[np.bool_]:
        """(H, W) bool: where any object is."""
        return self._place(self.labels > 0)

    def _place(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        found = np.zeros(self.plane.frame_size, dtype=bool)
        if self.window is not None:
            y0, x0, y1, x1 = self.window
            found[y0:y1, x0:x1] = mask
        return found


def blank_frame(plane: Plane, frame_index: int) -> FrameLabels:
    """A frame on which nothing is."""
    return FrameLabels(plane, frame_index, None, np.zeros((0, 0), np.uint16), {})


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


def mask_at(masks: "FrameMasks", object_id: int, x: int, y: int) -> bool:
    """Whether an object covers a pixel."""
    from sam2_plugins.core import PlacedMasks

    rows = np.flatnonzero(masks.object_ids == object_id)
    if not len(rows):
        return False
    row = int(rows[0])
    if not isinstance(masks, PlacedMasks):
        return bool(masks.masks[row][y, x])
    crop, window = masks.crops[row], masks.windows[row]
    y, x = y - window.y0, x - window.x0
    return 0 <= y < crop.shape[0] and 0 <= x < crop.shape[1] and bool(crop[y, x])


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
    gives_way = masks.gives_way
    facts = masks.predicted_iou, masks.object_score_logits, np.where(gives_way, 0, areas), gives_way
    values = zip(*(fact.tolist() for fact in facts), strict=True)
    scores = dict(zip(masks.object_ids.tolist(), map(Score._make, values), strict=True))
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
