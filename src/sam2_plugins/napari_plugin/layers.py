"""Where a layer's pixels are as frames, and a frame's pixels in the layer: pure functions.

A napari layer is an n-dimensional array of which two axes are displayed. A `Plane` says which two
axes are a frame, which one is walked from frame to frame, and where the others stay. Positions are
in the layer's own data coordinates, so that its scale, translation, rotation and shear do not
matter here: a layer of ours has the same as the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam2_plugins.napari_plugin.axes import axis_role, walkable_axes

Window = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Plane:
    """Parallel planes of a stack, seen as the frames of a video.

    Attributes:
        shape: Of the layer, without colours.
        frame_axis: The axis that is walked; None where there is one frame only.
        y_axis: The axis of a frame's rows.
        x_axis: The axis of its columns, after `y_axis`.
        fixed: (axis, index) of every other axis, ascending by axis; but for an axis of channels,
            along which a frame is one and the same.
    """

    shape: tuple[int, ...]
    frame_axis: int | None
    y_axis: int
    x_axis: int
    fixed: tuple[tuple[int, int], ...] = ()

    @property
    def num_frames(self) -> int:
        """How many frames there are."""
        return 1 if self.frame_axis is None else self.shape[self.frame_axis]

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W) of a frame."""
        return self.shape[self.y_axis], self.shape[self.x_axis]

    @property
    def key(self) -> str:
        """Names the axes, for a layer's features: "0:1,2" walks axis 0, frames are axes 1 and 2."""
        walked = "" if self.frame_axis is None else self.frame_axis
        return f"{walked}:{self.y_axis},{self.x_axis}"

    @property
    def channel_axis(self) -> int | None:
        """The axis of channels, if there is one."""
        used = {self.frame_axis, self.y_axis, self.x_axis, *(axis for axis, _ in self.fixed)}
        return next((axis for axis in range(len(self.shape)) if axis not in used), None)

    def frame_index(self, position: Sequence[float]) -> int | None:
        """The frame that a position is nearest to; None if it is outside the stack."""
        for axis, index in self.fixed:
            if nearest(position[axis]) != index:
                return None
        if self.frame_axis is None:
            return 0
        index = nearest(position[self.frame_axis])
        return index if 0 <= index < self.num_frames else None

    def xy(self, position: Sequence[float]) -> tuple[float, float]:
        """(x, y) of a position, in pixels of its frame."""
        return float(position[self.x_axis]), float(position[self.y_axis])

    def position(
        self, frame_index: int, x: float, y: float, *, channel: int = 0
    ) -> tuple[float, ...]:
        """Data coordinates of (x, y) on a frame, as one of its channels."""
        found = [0.0] * len(self.shape)
        found[self.y_axis], found[self.x_axis] = y, x
        for axis, index in self.fixed:
            found[axis] = float(index)
        if self.frame_axis is not None:
            found[self.frame_axis] = float(frame_index)
        if self.channel_axis is not None:
            found[self.channel_axis] = float(channel)
        return tuple(found)

    def index(
        self, frame_index: int, window: Window | None = None, *, channel: int = 0
    ) -> tuple[int | slice, ...]:
        """What to index the layer's data with for a frame (H, W), or a window of it.

        Args:
            frame_index: The frame.
            window: (y0, x0, y1, x1), half-open; the whole frame if not given.
            channel: Along the axis of channels, if there is one.
        """
        found: list[int | slice] = [slice(None)] * len(self.shape)
        if self.channel_axis is not None:
            found[self.channel_axis] = channel
        for axis, index in self.fixed:
            found[axis] = index
        if self.frame_axis is not None:
            found[self.frame_axis] = frame_index
        if window is not None:
            found[self.y_axis] = slice(window[0], window[2])
            found[self.x_axis] = slice(window[1], window[3])
        return tuple(found)

    def holds(self, x: float, y: float) -> bool:
        """Whether (x, y) is on a pixel of the frame; pixel centres are at whole numbers."""
        height, width = self.frame_size
        return -0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5

    def is_displayed(self, frame_index: int, displayed: Sequence[int], point: ArrayLike) -> bool:
        """Whether anything of a frame is on show.

        Args:
            frame_index: The frame.
            displayed: The layer's axes that are displayed.
            point: Where the layer's other axes stand.
        """
        where = np.asarray(point, dtype=float)
        held = [*self.fixed]
        if self.frame_axis is not None:
            held.append((self.frame_axis, frame_index))
        return all(axis in displayed or nearest(where[axis]) == index for axis, index in held)


def nearest(value: float) -> int:
    """The whole number nearest to a coordinate, halves upwards, as pixels are drawn."""
    return int(np.floor(float(value) + 0.5))


def choose_plane(
    shape: Sequence[int],
    displayed: Sequence[int],
    *,
    point: ArrayLike,
    frame_axis: int | None = None,
    axis_labels: Sequence[str] = (),
    channel_axis: int | None = None,
) -> Plane:
    """The plane on show.

    Args:
        shape: Of the layer, without colours.
        displayed: The two axes of the layer that are displayed, in any order.
        point: Data coordinates, one per axis: where the axes stand that are not displayed.
        frame_axis: The axis to walk; by default depth, then time, by the labels, else the last.
        axis_labels: Names of the axes.
        channel_axis: The axis of channels: it is neither walked nor held.

    Raises:
        ValueError: The view does not show a plane of the layer.
    """
    y_axis, x_axis = sorted(_check_displayed(shape, displayed))
    if channel_axis in (y_axis, x_axis):
        raise ValueError("the view shows the axis of channels: show two others (Ctrl+E rolls)")
    candidates = walkable_axes(shape, (y_axis, x_axis), channel_axis)
    walked: int | None
    if frame_axis in candidates:
        walked = frame_axis
    elif candidates:
        roles = {axis_role(axis_labels[a]): a for a in candidates if a < len(axis_labels)}
        walked = roles.get("depth", roles.get("time", candidates[-1]))
    else:
        rest = [axis for axis in range(len(shape)) if axis not in (y_axis, x_axis, channel_axis)]
        walked = rest[-1] if rest else None
    where = np.asarray(point, dtype=float)
    fixed = tuple(
        (axis, min(max(nearest(where[axis]), 0), shape[axis] - 1))
        for axis in range(len(shape))
        if axis not in (y_axis, x_axis, walked, channel_axis)
    )
    return Plane(tuple(int(side) for side in shape), walked, y_axis, x_axis, fixed)


def plane_from_key(
    shape: Sequence[int],
    key: str,
    position: Sequence[float],
    *,
    channel_axis: int | None = None,
) -> Plane | None:
    """The plane that `Plane.key` names, through a position; None if the key is not one."""
    try:
        walked, axes = str(key).split(":")
        y_axis, x_axis = (int(axis) for axis in axes.split(","))
        frame_axis = int(walked) if walked else None
    except ValueError:
        return None
    used = {y_axis, x_axis, *(() if frame_axis is None else (frame_axis,))}
    if not used <= set(range(len(shape))) - {channel_axis} or y_axis >= x_axis:
        return None
    held = [axis for axis in range(len(shape)) if axis not in {*used, channel_axis}]
    fixed = tuple((axis, nearest(position[axis])) for axis in held)
    if any(not 0 <= index < shape[axis] for axis, index in fixed):
        return None
    return Plane(tuple(int(side) for side in shape), frame_axis, y_axis, x_axis, fixed)


def paint_plane(
    current: NDArray[Any],
    labels: NDArray[Any],
    *,
    ours: Sequence[int],
    preserve: bool = True,
) -> NDArray[Any]:
    """What a window of a label image becomes when our objects on it are drawn anew.

    Args:
        current: (h, w) labels as they are.
        labels: (h, w) object ids, 0 is background.
        ours: Ids of all our objects: their old pixels are removed.
        preserve: Do not draw over other labels.
    """
    painted = np.where(np.isin(current, np.asarray(ours, dtype=current.dtype)), 0, current)
    free = painted == 0 if preserve else np.ones(painted.shape, dtype=bool)
    drawn = (labels > 0) & free
    painted[drawn] = labels[drawn].astype(painted.dtype)
    return painted


def union(first: Window | None, second: Window | None) -> Window | None:
    """The smallest window around two."""
    if first is None or second is None:
        return first or second
    return (
        min(first[0], second[0]),
        min(first[1], second[1]),
        max(first[2], second[2]),
        max(first[3], second[3]),
    )


def _check_displayed(shape: Sequence[int], displayed: Sequence[int]) -> list[int]:
    if len(shape) < 2:
        raise ValueError(f"an image has at least 2 axes, this one has {len(shape)}")
    if len(displayed) != 2:
        raise ValueError("prompts are given in 2D: switch the viewer from 3D to 2D (Ctrl+Y)")
    if any(axis < 0 for axis in displayed):
        raise ValueError(
            "the viewer shows an axis that the image does not have: "
            "bring its own last axes to the front (Ctrl+E rolls the axes)"
        )
    return [int(axis) for axis in displayed]
