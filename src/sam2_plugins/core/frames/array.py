"""Frames of anything that is indexed like an array."""

import itertools
import weakref
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from sam2_plugins.core.frames.layout import FrameLayout, Index, plan_layout
from sam2_plugins.core.frames.source import (
    Pixels,
    Selection,
    Shortfall,
    check_frame_index,
    file_identity,
    hash_sample,
)

_SAMPLED_FRAMES = 3
_SAMPLED_FRAMES_IN_MEMORY = 256


class ArrayFrames:
    """The frames of an array; only the frame asked for is read.

    Args:
        array: Anything with `shape`, `dtype` and indexing by ints and slices: numpy, dask, zarr,
            or a `PlaneArray`.
        axes: One letter per axis from the source's own metadata, if it has any.
        selection: What the caller chose.
        rgb_from_file: Whether the source's own metadata says its colour axis is RGB.
        name: What to call the source in messages.
        identity: Where the array comes from, for the signature.
        tells_axes: Whether `axes` are what the source says, and not what is usual.
        close: Called once, by `close` or when the frames are no longer used.
        shortfall: That the source ends early, if it does; see `check_whole`.
    """

    def __init__(
        self,
        array: Any,
        axes: str | None,
        *,
        selection: Selection,
        rgb_from_file: bool | None = None,
        name: str = "array",
        identity: str = "",
        tells_axes: bool = True,
        close: Callable[[], object] | None = None,
        shortfall: Shortfall | None = None,
    ) -> None:
        _check_dtype(array.dtype, name)
        self._array = array
        self._layout: FrameLayout = plan_layout(
            array.shape, axes, selection=selection, rgb_from_file=rgb_from_file, name=name
        )
        self._tells_axes = (axes is not None and tells_axes) or selection.axes is not None
        self._name = name
        self._identity = identity
        self.shortfall = shortfall
        self._release = weakref.finalize(self, close) if close is not None else None

    @property
    def num_frames(self) -> int:
        """How many frames there are."""
        return self._layout.num_frames

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W) of every frame in pixels."""
        return self._layout.frame_size

    @property
    def is_rgb(self) -> bool:
        """Whether frames are (H, W, 3) colours."""
        return self._layout.is_rgb

    @property
    def shows_time(self) -> bool:
        """Whether frames are known to be points in time, by the axis that is walked."""
        return self._tells_axes and self._layout.is_time

    @cached_property
    def signature(self) -> str:
        """A hash of origin, shape, dtype, layout and a sample of pixels."""
        facts = (self._identity, tuple(self._array.shape), str(self._array.dtype), self._layout)
        # Nothing but pixels tells one array in memory from another, and there they are cheap.
        in_memory = isinstance(self._array, np.ndarray) and not self._identity
        count = min(_SAMPLED_FRAMES_IN_MEMORY if in_memory else _SAMPLED_FRAMES, self.num_frames)
        sampled = np.linspace(0, self.num_frames - 1, count).astype(int)
        return hash_sample(repr(facts), (self.read(index) for index in sampled.tolist()))

    def read(self, frame_index: int) -> Pixels:
        """Return one frame: (H, W) or (H, W, C), a new array in the source's dtype.

        Raises:
            ValueError: When there is no such frame, or it cannot be decoded.
        """
        check_frame_index(frame_index, self.num_frames, self._name)
        if self._array is None:
            raise ValueError(f"{self._name}: is closed; open it again to read")
        try:
            frame = self._layout.cut(self._array, frame_index)
        except (ValueError, OSError):
            raise
        except Exception as error:
            # Decoders of damaged chunks raise all sorts.
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{self._name}: frame {frame_index} cannot be read ({reason})"
            ) from error
        # A copy, so the caller never holds on to a mapped file; native byte order for torch.
        return np.array(frame, dtype=frame.dtype.newbyteorder("="), order="C")

    def close(self) -> None:
        """Release the array and the file behind it."""
        self._array = None
        if self._release is not None:
            self._release()


class PlaneArray:
    """An array whose trailing axes are read one plane at a time: a page, a file, a picture.

    Args:
        read_plane: Returns plane k in C order over the leading axes; called from one thread at
            a time.
        leading_shape: The axes walked from plane to plane.
        plane_shape: The shape of one plane.
        dtype: The dtype of every plane.
    """

    def __init__(
        self,
        read_plane: Callable[[int], Pixels],
        leading_shape: Sequence[int],
        plane_shape: Sequence[int],
        dtype: np.dtype[Any],
    ) -> None:
        self._read_plane = read_plane
        self._leading_shape = tuple(leading_shape)
        self.shape = (*leading_shape, *plane_shape)
        self.dtype = dtype
        self._lock = Lock()

    def __getitem__(self, index: Index) -> Pixels:
        """Read the planes that an int or slice per axis selects."""
        num_leading = len(self._leading_shape)
        leading, trailing = index[:num_leading], index[num_leading:]
        wanted = [
            range(length)[at] if isinstance(at, slice) else (at,)
            for at, length in zip(leading, self._leading_shape, strict=True)
        ]
        planes = []
        for position in itertools.product(*wanted):
            number = int(np.ravel_multi_index(position, self._leading_shape)) if position else 0
            with self._lock:
                plane = self._read_plane(number)
            planes.append(plane[trailing])
        kept = [len(w) for w, at in zip(wanted, leading, strict=True) if isinstance(at, slice)]
        return np.stack(planes).reshape(*kept, *planes[0].shape) if kept else planes[0]


def open_npy(path: Path, selection: Selection) -> ArrayFrames:
    """Open a `.npy` file, memory-mapped.

    Raises:
        ValueError: When the file is not a `.npy` array, is cut short, or is of Python objects.
    """
    name = str(path)
    selection.refuse_level(name)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{name}: is not a readable .npy array ({error})") from error
    return ArrayFrames(array, None, selection=selection, name=name, identity=file_identity(path))


def _check_dtype(dtype: Any, name: str) -> None:
    try:
        kind = np.dtype(dtype).kind
    except TypeError:
        kind = "?"
    if kind not in "buif":
        raise ValueError(f"{name}: pixels are {dtype}; they must be boolean, integer or float")
