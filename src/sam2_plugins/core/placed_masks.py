"""Masks of a large plane, of which only what is around each object is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.masks import FrameMasks, pack_mask
from sam2_plugins.core.rivals import Extents
from sam2_plugins.core.stored_masks import StoredMask
from sam2_plugins.core.windows import NOWHERE, Window


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


def crop_of(mask: StoredMask, box: tuple[int, int, int, int]) -> tuple[Window, NDArray[np.bool_]]:
    """A mask where it is, by the box around it; (0, 0, 0, 0) if it is empty."""
    if isinstance(mask, PlacedMask):
        return mask.window, mask.crop
    window = Window(*box)
    return window, np.ascontiguousarray(mask.unpack()[window.slices])


def shared_area(
    window: Window,
    crop: NDArray[np.bool_],
    other_window: Window,
    other_crop: NDArray[np.bool_],
) -> int:
    """Pixels that two masks share, each given where it is."""
    shared = window.shared(other_window)
    parts = [
        mask[shared.shifted(-at.x0, -at.y0).slices]
        for mask, at in ((crop, window), (other_crop, other_window))
    ]
    return int(np.count_nonzero(parts[0] & parts[1]))


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
    shown_within: int
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
            "shown_within": np.array([row.shown_within for row in rows], dtype=np.int64),
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
        said = self.prompt_distance.tolist(), self.shown_within.tolist()
        values = (*scores, *said, self.windows, self.crops)
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

    def _extents(self) -> Extents:
        def common_area(row: int, other: int) -> int:
            return shared_area(
                *(self.windows[row], self.crops[row]), *(self.windows[other], self.crops[other])
            )

        boxes = np.array(self.windows, dtype=np.int64).reshape(-1, 4)
        return Extents(boxes, self.areas, common_area)

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
