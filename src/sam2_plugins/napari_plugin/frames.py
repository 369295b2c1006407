"""The pixels of an image layer, as frames for the tracker."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.base import is_dask_collection
from numpy.typing import NDArray

from sam2_plugins.napari_plugin.axes import axis_role
from sam2_plugins.napari_plugin.layers import Plane, Window

if TYPE_CHECKING:
    from sam2_plugins import core

MAX_CHANNELS = 3
LARGE_SIDES = 3.0
_SAMPLED_FRAMES = 3
_SAMPLED_PIXELS = 4096
_SAMPLED_SIDE = 2048


@dataclass(frozen=True, slots=True)
class LargePlanes:
    """When objects are looked at through windows that follow them at full resolution.

    Attributes:
        is_on: Whether they ever are.
        sides: Of a plane that is longer than so many sides of the model's input.
    """

    is_on: bool = True
    sides: float = LARGE_SIDES

    def has(self, frame_size: tuple[int, int], image_size: int) -> bool:
        """Whether a plane (H, W) is large for a model."""
        return self.is_on and max(frame_size) > self.sides * image_size


@dataclass(frozen=True, eq=False)
class ImageStack:
    """An image as the tracker needs it: one array, or one array per channel.

    Attributes:
        arrays: Of equal shape; numpy, dask, zarr or anything indexed alike.
        is_rgb: Whether the last axis of the arrays is colours.
        name: What to call it.
        path: Where it was read from, if known.
        axis_labels: Names of the axes without colours.
        limits: (low, high) pixel values that become 0 and 1; by default from the whole stack.
        channel_axis: The axis of the arrays along which channels are, if any.
        channels: Those of them that are seen, at most 3; all by default.
        large_planes: Whether its planes are too large to be seen whole.
        scale: Size of a pixel along each axis without colours, if it is known.
        units: Of the scale, by name.
    """

    arrays: tuple[Any, ...]
    is_rgb: bool = False
    name: str = "image"
    path: str | None = None
    axis_labels: tuple[str, ...] = ()
    limits: tuple[float, float] | None = field(default=None)
    channel_axis: int | None = None
    channels: tuple[int, ...] = ()
    large_planes: LargePlanes = LargePlanes()
    scale: tuple[float, ...] = ()
    units: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the stack, without colours."""
        shape = tuple(int(side) for side in self.arrays[0].shape)
        return shape[:-1] if self.is_rgb else shape

    def walks_depth(self, axis: int) -> bool:
        """Whether an axis is depth by its label, or time is nowhere in the labels."""
        roles = [axis_role(label) for label in self.axis_labels]
        return roles[axis] == "depth" if any(roles) else True

    def time_axis(self, plane: Plane) -> int | None:
        """The axis along which volumes could be carried: time, else the first that is held."""
        held = [axis for axis, _ in plane.fixed if plane.shape[axis] > 1]
        labels = self.axis_labels or ("",) * len(self.shape)
        timed = [a for a in held if axis_role(labels[a]) == "time"]
        return next(iter([*timed, *held]), None)

    def with_channels(self, channels: tuple[int, ...]) -> "ImageStack":
        """The same, but other channels of its axis of channels are seen.

        Raises:
            ValueError: There are no such channels, or too many.
        """
        if self.channel_axis is None or not channels:
            raise ValueError("choose a channel of an image that has an axis of channels")
        _check_channels(channels, self.shape[self.channel_axis], len(self.arrays))
        return replace(self, channels=tuple(sorted(set(channels))))

    @cached_property
    def signature(self) -> str:
        """A hash of shape, dtype and some pixels: a file that was moved is the same image."""
        facts: tuple[object, ...]
        facts = (self.shape, [str(a.dtype) for a in self.arrays], self.is_rgb)
        if self.channel_axis is not None:
            # Prompts of an image whose channels are seen as one are not those of its planes.
            facts = (*facts, self.channel_axis)
        digest = hashlib.blake2b(repr(facts).encode(), digest_size=16)
        for index in self._sampled():
            for array in self.arrays:
                pixels = read_part(array, index)
                flat = pixels.reshape(-1)[:: (pixels.size // _SAMPLED_PIXELS) | 1]
                digest.update(np.ascontiguousarray(flat).tobytes())
        return digest.hexdigest()

    def _sampled(self) -> Iterator[tuple[int | slice, ...]]:
        """What to index the arrays with for some of their pixels; of large planes the middle."""
        *leading, height, width = self.shape
        plane = tuple(_middle(side) for side in (height, width))
        if not leading:
            yield plane
            return
        for first in np.linspace(0, leading[0] - 1, min(_SAMPLED_FRAMES, leading[0])):
            yield (int(first), *(side // 2 for side in leading[1:]), *plane)


def _middle(side: int) -> slice:
    spare = max(side - _SAMPLED_SIDE, 0) // 2
    return slice(spare, side - spare)


def read_part(array: Any, index: tuple[int | slice, ...]) -> NDArray[Any]:
    """A part of an array, computed where it is lazy.

    napari keeps what it has computed of dask arrays in a cache that two threads must not use at the
    same time, or one of them fails. This goes past it, since it is called beside the window's.
    """
    part = array[index]
    return np.asarray(part.compute(callbacks=()) if is_dask_collection(part) else part)


def make_stack(arrays: Sequence[Any], *, is_rgb: bool = False, **facts: Any) -> ImageStack:
    """Check arrays and make a stack of them.

    Raises:
        ValueError: They do not fit together, or are no pixels.
    """
    if not arrays:
        raise ValueError("choose an image layer")
    shapes = {tuple(array.shape) for array in arrays}
    if len(shapes) > 1:
        raise ValueError(f"channels must have one shape, not {sorted(shapes)}")
    if len(arrays) > MAX_CHANNELS:
        raise ValueError(f"the model sees {MAX_CHANNELS} channels: choose {MAX_CHANNELS} at most")
    if len(arrays) > 1 and is_rgb:
        raise ValueError("an RGB image is used alone: it has its channels already")
    axis = facts.get("channel_axis")
    if axis is not None:
        length = arrays[0].shape[axis]
        facts["channels"] = facts.get("channels") or tuple(range(min(length, MAX_CHANNELS)))
        _check_channels(facts["channels"], length, len(arrays))
    kind = np.dtype(arrays[0].dtype).kind
    if kind not in "buif":
        raise ValueError(f"pixels are {arrays[0].dtype}; they must be boolean, integer or float")
    return ImageStack(tuple(arrays), is_rgb=is_rgb, **facts)


def _check_channels(channels: Sequence[int], length: int, num_arrays: int) -> None:
    if not all(0 <= channel < length for channel in channels):
        raise ValueError(f"channels are 0 to {length - 1}, not {sorted(channels)}")
    if len(channels) * num_arrays > MAX_CHANNELS:
        raise ValueError(f"the model sees {MAX_CHANNELS} channels: choose {MAX_CHANNELS} at most")


class PlaneFrames:
    """The frames of one plane of a stack; only the frame asked for is read.

    Args:
        stack: The pixels.
        plane: Which planes are the frames.
    """

    def __init__(self, stack: ImageStack, plane: Plane) -> None:
        self._stack = stack
        self._plane = plane

    @property
    def num_frames(self) -> int:
        """How many frames there are."""
        return self._plane.num_frames

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W) of every frame in pixels."""
        return self._plane.frame_size

    @property
    def is_rgb(self) -> bool:
        """Whether frames are (H, W, 3) colours."""
        return self._stack.is_rgb

    @property
    def signature(self) -> str:
        """Changes when the data does."""
        seen = self._plane.key, self._plane.fixed, self._stack.channels
        return f"{self._stack.signature}-{seen}"

    def read(self, frame_index: int) -> NDArray[Any]:
        """(H, W), (H, W, C) channels or (H, W, 3) colours, in the layer's own dtype."""
        return self._read(frame_index, None)

    def read_window(self, frame_index: int, window: "core.Window") -> NDArray[Any]:
        """What `read` returns, in a part of the frame; only that is read."""
        x0, y0, x1, y1 = window
        return self._read(frame_index, (y0, x0, y1, x1))

    def _read(self, frame_index: int, window: Window | None) -> NDArray[Any]:
        channels = self._stack.channels or (0,)
        indices = [self._plane.index(frame_index, window, channel=c) for c in channels]
        planes = [read_part(array, index) for array in self._stack.arrays for index in indices]
        if self.is_rgb:
            return np.ascontiguousarray(planes[0][..., :3])
        return np.ascontiguousarray(planes[0] if len(planes) == 1 else np.stack(planes, axis=-1))

    def close(self) -> None:
        """Nothing to release: the pixels are the layer's."""
