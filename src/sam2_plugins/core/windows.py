"""Windows: the part of a large plane around one object, at full resolution. Pure geometry.

A plane of 4096 x 4096 pixels, squashed to the model's input of 256 or 1024, shows a nucleus of 30
pixels as a speck. Seen through a window as large as the input it is seen as it is; the window
follows it from frame to frame, and is doubled where the object does not fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.masks import FrameMasks, pack_mask
from sam2_plugins.core.rivals import gives_way
from sam2_plugins.core.stored_masks import StoredMask

LARGEST_SHARE = 0.6
"""An object that takes more of its window's side than this gets a window twice as large."""
SMALLEST_SHARE = 0.2
"""One that takes less gets a window half as large, down to the full resolution."""
CELLS = 16
"""Windows move in steps of their side over this: a still object's window does not tremble."""
_CUT_SHARE = 0.05


class Window(NamedTuple):
    """A part of a plane in pixels, half-open: also the box around a mask."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def side(self) -> int:
        """The longer side."""
        return max(self.size)

    @property
    def slices(self) -> tuple[slice, slice]:
        """What to index a plane (H, W) with."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def shifted(self, x: int, y: int) -> "Window":
        """The same moved by (x, y)."""
        return Window(self.x0 + x, self.y0 + y, self.x1 + x, self.y1 + y)

    def shared(self, other: "Window") -> "Window":
        """The part that two windows have in common; empty if there is none."""
        x0, y0 = max(self.x0, other.x0), max(self.y0, other.y0)
        return Window(x0, y0, max(min(self.x1, other.x1), x0), max(min(self.y1, other.y1), y0))

    def holds(self, box: Sequence[float], *, margin: float = 0) -> bool:
        """Whether a box (x0, y0, x1, y1) is inside, so far from the edges."""
        return (
            self.x0 + margin <= box[0]
            and self.y0 + margin <= box[1]
            and box[2] <= self.x1 - margin
            and box[3] <= self.y1 - margin
        )


NOWHERE = Window(0, 0, 0, 0)


def window_around(box: Sequence[float], side: int, plane: tuple[int, int]) -> Window:
    """A square window with a box in its middle, moved to where the plane is.

    Args:
        box: (x0, y0, x1, y1).
        side: Of the window; where the plane (H, W) is smaller, the window is as the plane.
        plane: (H, W).
    """
    step = max(side // CELLS, 1)
    ends = []
    for low, high, length in ((box[0], box[2], plane[1]), (box[1], box[3], plane[0])):
        extent = min(side, length)
        begin = round(((low + high) / 2 - extent / 2) / step) * step
        begin = min(max(begin, 0), length - extent)
        ends.append((begin, begin + extent))
    (x0, x1), (y0, y1) = ends
    return Window(x0, y0, x1, y1)


def fitting_side(box: Sequence[float], base: int, plane: tuple[int, int], *, seen: int = 0) -> int:
    """The side of a window for an object of the size of a box.

    Args:
        box: (x0, y0, x1, y1).
        base: The smallest side, that of full resolution.
        plane: (H, W); a window is not larger.
        seen: The side through which the object was seen; it is kept as long as it does.
    """
    extent = max(box[2] - box[0], box[3] - box[1])
    side = max(seen, base)
    while extent > LARGEST_SHARE * side and side < max(plane):
        side *= 2
    while side > base and extent < SMALLEST_SHARE * side:
        side = max(side // 2, base)
    return side


def next_window(
    window: Window, box: tuple[int, int, int, int], base: int, plane: tuple[int, int]
) -> Window:
    """Where to look for an object that was seen in a window at `box`, zeros for not at all."""
    if not any(box):
        return window
    return window_around(box, fitting_side(box, base, plane, seen=window.side), plane)


def is_cut(mask: NDArray[np.bool_], window: Window, plane: tuple[int, int]) -> bool:
    """Whether a mask (h, w) seen through a window goes on beyond its edges."""
    edges = (
        (window.x0 > 0, mask[:, 0]),
        (window.y0 > 0, mask[0]),
        (window.x1 < plane[1], mask[:, -1]),
        (window.y1 < plane[0], mask[-1]),
    )
    return any(is_inside and edge.mean() > _CUT_SHARE for is_inside, edge in edges)


@dataclass(frozen=True, slots=True)
class PlacedMask(StoredMask):
    """A mask of a large plane, of which only what is around the object is kept.

    Attributes:
        data: As of a mask of the window alone.
        shape: (H, W) of the plane.
        window: Around the object; (0, 0, 0, 0) where there is none.
    """

    window: Window = NOWHERE

    @classmethod
    def place(
        cls, mask: NDArray[np.bool_], window: Window, box: Window, shape: tuple[int, int]
    ) -> "PlacedMask":
        """Keep a mask (h, w), seen through a window of a plane; `box` is around it there."""
        stored = StoredMask.pack(np.ascontiguousarray(mask[box.slices]))
        where = box.shifted(window.x0, window.y0) if any(box) else box
        return cls(stored.data, shape, where)

    @property
    def crop(self) -> NDArray[np.bool_]:
        """What is in the window."""
        return StoredMask(self.data, self.window.size).unpack()

    @property
    def bits(self) -> bytes:
        """The whole plane's pixels, as `StoredMask` has them."""
        return pack_mask(self.unpack()).bits.tobytes()

    def unpack(self) -> NDArray[np.bool_]:
        """(H, W) bool."""
        plane = np.zeros(self.shape, dtype=bool)
        plane[self.window.slices] = self.crop
        return plane


class PlacedRow(NamedTuple):
    """One object's mask on a large plane; scores as in `FrameMasks`.

    Attributes:
        window: Around the mask; (0, 0, 0, 0) where it is empty.
        crop: (h, w) bool, the mask there.
    """

    object_id: int
    predicted_iou: float
    object_score_logit: float
    prompt_distance: int
    window: Window
    crop: NDArray[np.bool_]


class PlacedMasks(FrameMasks):
    """The masks of a large plane; those at the plane's size are made when asked for.

    Args:
        frame_index: 0-based.
        plane: (H, W).
        rows: One for each object.
    """

    __slots__ = ("crops", "plane", "windows")
    crops: list[NDArray[np.bool_]]
    plane: tuple[int, int]
    windows: list[Window]

    def __init__(
        self,
        frame_index: int,
        plane: tuple[int, int],
        rows: Sequence[PlacedRow],
    ) -> None:
        values = {
            "frame_index": frame_index,
            "object_ids": np.array([row.object_id for row in rows], dtype=np.int64),
            "predicted_iou": np.array([row.predicted_iou for row in rows], dtype=np.float32),
            "object_score_logits": np.array(
                [row.object_score_logit for row in rows], dtype=np.float32
            ),
            "prompt_distance": np.array([row.prompt_distance for row in rows], dtype=np.int64),
            "windows": [row.window for row in rows],
            "crops": [row.crop for row in rows],
            "plane": plane,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """(B, H, W) bool, at the size of the plane: large."""
        masks: NDArray[np.bool_] = np.zeros((len(self.crops), *self.plane), dtype=np.bool_)
        for mask, window, crop in zip(masks, self.windows, self.crops, strict=True):
            mask[window.slices] = crop
        return masks

    def on_frame(self, frame_index: int) -> "PlacedMasks":
        """See `FrameMasks.on_frame`."""
        scores = self.predicted_iou.tolist(), self.object_score_logits.tolist()
        values = (*scores, self.prompt_distance.tolist(), self.windows, self.crops)
        rows = map(PlacedRow, self.object_ids.tolist(), *values)
        return PlacedMasks(frame_index, self.plane, list(rows))

    @property
    def areas(self) -> NDArray[np.int64]:
        """(B,) pixels of each mask."""
        return np.array([np.count_nonzero(crop) for crop in self.crops], dtype=np.int64)

    @property
    def window(self) -> Window | None:
        """The smallest window around all masks; None where there are none."""
        found = np.array([window for window in self.windows if any(window)])
        if not len(found):
            return None
        return Window(*found[:, :2].min(axis=0).tolist(), *found[:, 2:].max(axis=0).tolist())

    @property
    def gives_way(self) -> NDArray[np.bool_]:
        """See `FrameMasks.gives_way`."""

        def common_area(row: int, other: int) -> int:
            shared = self.windows[row].shared(self.windows[other])
            parts = [
                self.crops[one][shared.shifted(-window.x0, -window.y0).slices]
                for one, window in ((row, self.windows[row]), (other, self.windows[other]))
            ]
            return int(np.count_nonzero(parts[0] & parts[1]))

        return gives_way(
            *(np.array(self.windows, dtype=np.int64).reshape(-1, 4), self.areas),
            scores=self.object_score_logits,
            prompt_distance=self.prompt_distance,
            common_area=common_area,
        )

    def to_labels(self, window: Window | None = None) -> NDArray[np.uint16] | NDArray[np.uint32]:
        """See `FrameMasks.to_labels`.

        Args:
            window: Of the plane, around all masks; the whole plane if not given.
        """
        window = Window(0, 0, *self.plane[::-1]) if window is None else window
        is_wide = max(self.object_ids, default=0) > np.iinfo(np.uint16).max
        labels = np.zeros(window.size, dtype=np.uint32 if is_wide else np.uint16)
        is_hidden = self.gives_way
        for row in np.lexsort((-self.object_ids, -self.areas)):
            if is_hidden[row]:
                continue
            here = self.windows[row].shifted(-window.x0, -window.y0)
            if self.crops[row].size:
                labels[here.slices][self.crops[row]] = self.object_ids[row]
        return labels
