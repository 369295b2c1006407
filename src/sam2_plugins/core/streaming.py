"""Frames that arrive one by one: only the last few are kept."""

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray


class StreamFrames:
    """A `FrameSource` that grows by `append`.

    Args:
        capacity: How many of the last frames can have prompts.
        margin: How many frames before those are kept too, because those remember them.
    """

    signature = "stream"

    def __init__(self, capacity: int, margin: int) -> None:
        self.capacity = capacity
        self.margin = margin
        self.num_frames = 0
        self._frames: OrderedDict[int, NDArray[Any]] = OrderedDict()

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W); (0, 0) before the first frame."""
        height, width = self._example.shape[:2]
        return height, width

    @property
    def is_rgb(self) -> bool:
        """Whether frames are (H, W, 3) uint8: a stream has no metadata that could say more."""
        frame = self._example
        return frame.ndim == 3 and frame.shape[2] == 3 and frame.dtype == np.uint8

    @property
    def kept(self) -> range:
        """The frames that can have prompts."""
        return range(max(self.num_frames - self.capacity, 0), self.num_frames)

    @property
    def _example(self) -> NDArray[Any]:
        return next(iter(self._frames.values()), np.empty((0, 0), np.uint8))

    def append(self, frame: NDArray[Any]) -> int:
        """Add a frame and return its index.

        Raises:
            ValueError: It is not (H, W) or (H, W, C) numbers, or is unlike the first.
        """
        if frame.ndim not in (2, 3) or not frame.size or frame.dtype.kind not in "buif":
            raise ValueError(
                f"a frame is (H, W) or (H, W, C) numbers, not {frame.dtype} of shape {frame.shape}"
            )
        example = self._example
        is_like = frame.shape == example.shape and frame.dtype == example.dtype
        if self.num_frames and not is_like:
            raise ValueError(
                f"frame {self.num_frames} is {frame.dtype} of shape {frame.shape}, but the frames "
                f"before it are {example.dtype} of shape {example.shape}"
            )
        self._frames[self.num_frames] = frame.copy()
        self.num_frames += 1
        while len(self._frames) > self.capacity + self.margin:
            self._frames.popitem(last=False)
        return self.num_frames - 1

    def check_kept(self, frame_index: int) -> None:
        """Check that a frame can have prompts.

        Raises:
            ValueError: It is too old.
        """
        if frame_index not in self.kept:
            raise ValueError(
                f"frame {frame_index} of the stream is no longer kept: {self.kept.start} to "
                f"{self.kept.stop - 1} are (set cache_frames to keep more)"
            )

    def read(self, frame_index: int) -> NDArray[Any]:
        """A kept frame.

        Raises:
            ValueError: It is too old to be kept.
        """
        if frame_index not in self._frames:
            self.check_kept(frame_index)
        return self._frames[frame_index]

    def close(self) -> None:
        """Nothing to release."""
