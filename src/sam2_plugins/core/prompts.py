"""Prompts: what a person says of one object on one frame. All validation of prompts is here."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index as as_index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

OBJECT, BACKGROUND = 1, 0
MAX_OBJECT_ID = 2**32 - 1
"""What a label image can hold."""


@dataclass(frozen=True, slots=True)
class Points:
    """Clicks.

    Attributes:
        xy: One (x, y) in pixels of the original image for each click.
        labels: For each, 1 on the object or 0 on the background.
    """

    xy: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.xy)

    @property
    def on_object(self) -> list[tuple[float, float]]:
        """Those that are on the object."""
        pairs = zip(self.xy, self.labels, strict=True)
        return [xy for xy, label in pairs if label == OBJECT]

    def one_by_one(self) -> "tuple[Points, ...]":
        """The clicks apart, as they are made by hand."""
        pairs = zip(self.xy, self.labels, strict=True)
        return tuple(Points((xy,), (label,)) for xy, label in pairs)


@dataclass(frozen=True, slots=True)
class Box:
    """A box around the object, (x0, y0) its upper left and (x1, y1) its lower right corner."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def corners(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Upper left and lower right (x, y)."""
        return (self.x0, self.y0), (self.x1, self.y1)


@dataclass(frozen=True, slots=True, eq=False)
class MaskPrompt:
    """A mask of the object, (H, W) bool at the original image's size."""

    mask: NDArray[np.bool_]


def check_object_id(object_id: Any) -> int:
    """Return an object id as int.

    Raises:
        ValueError: It is not an integer of 1 or more, or is too large for a label image.
    """
    try:
        value = as_index(object_id)
    except TypeError:
        value = 0
    if not 1 <= value <= MAX_OBJECT_ID or isinstance(object_id, bool):
        raise ValueError(
            f"object id must be an integer from 1 (0 is background) to {MAX_OBJECT_ID}, "
            f"not {object_id!r}"
        )
    return value


def check_frame_index(frame_index: Any, num_frames: int) -> int:
    """Return a frame index as int.

    Raises:
        ValueError: It is not an integer in the range of the frames.
    """
    try:
        value = as_index(frame_index)
    except TypeError:
        value = -1
    if not 0 <= value < num_frames:
        raise ValueError(
            f"there is no frame {frame_index!r}: frames are 0 to {num_frames - 1}"
            if num_frames
            else f"there is no frame {frame_index!r}: no frame has been given yet"
        )
    return value


def make_points(points: ArrayLike, point_labels: ArrayLike, *, size: tuple[int, int]) -> Points:
    """Check clicks against an image of `size` (H, W).

    Raises:
        ValueError: Shapes do not fit, a label is not 1 or 0, or a point is outside the image.
    """
    xy = _numbers(points, "points")
    if xy.ndim == 1 and xy.shape == (2,):
        xy = xy[None]
    labels = np.atleast_1d(_numbers(point_labels, "point_labels"))
    if xy.ndim != 2 or xy.shape[1] != 2 or not len(xy):
        raise ValueError(f"points must be (N, 2), (x, y) in pixels, not of shape {xy.shape}")
    if labels.shape != (len(xy),):
        raise ValueError(f"{len(xy)} points need as many labels, not {labels.size}")
    for label in labels:
        if label not in (OBJECT, BACKGROUND):
            raise ValueError(f"a point's label is 1 (object) or 0 (background), not {label:g}")
    height, width = size
    for x, y in xy:
        # A click on the outermost pixel's far edge is still a click on that pixel.
        if not (0 <= x <= width and 0 <= y <= height):
            raise ValueError(
                f"point ({x:g}, {y:g}) is outside the frame: x is 0 to {width}, y is 0 to {height}"
            )
    return Points(tuple((float(x), float(y)) for x, y in xy), tuple(int(label) for label in labels))


def make_box(box: ArrayLike, *, size: tuple[int, int]) -> Box:
    """Check a box (x0, y0, x1, y1) against an image of `size` (H, W), and clip it to the image.

    Raises:
        ValueError: It is not four finite numbers, is empty, or lies outside the image.
    """
    values = _numbers(box, "a box").ravel()
    if values.shape != (4,) or not np.isfinite(values).all():
        found = f"{values.size} numbers" if values.size != 4 else values.tolist()
        raise ValueError(f"a box is four numbers (x0, y0, x1, y1), all finite, not {found}")
    x0, y0, x1, y1 = (float(v) for v in values)
    if x1 <= x0 or y1 <= y0:
        raise ValueError(
            f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is empty: x1 must be greater than x0, "
            f"y1 greater than y0"
        )
    height, width = size
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        raise ValueError(
            f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is outside the frame: "
            f"x is 0 to {width}, y is 0 to {height}"
        )
    return Box(max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))


def make_mask(mask: ArrayLike, *, size: tuple[int, int]) -> MaskPrompt:
    """Check a mask against an image of `size` (H, W); anything but 0 is object.

    An empty mask is allowed: it says that the object is not on that frame.

    Raises:
        ValueError: Its shape is not the image's.
    """
    array = np.asarray(mask)
    if array.shape != tuple(size):
        raise ValueError(
            f"the mask has shape {array.shape}, but the frame is {size[0]} x {size[1]} (H, W)"
        )
    frozen = array.astype(bool)
    frozen.setflags(write=False)
    return MaskPrompt(frozen)


def _numbers(values: ArrayLike, what: str) -> NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        shown = " ".join(repr(values).split())
        raise ValueError(f"{what} must be numbers in a regular array, not {shown}") from None


def no_such_object(object_id: int, object_ids: Sequence[int]) -> KeyError:
    """The error for an object id that has no prompts."""
    return KeyError(f"no object {object_id}; objects are {list(object_ids)}")
