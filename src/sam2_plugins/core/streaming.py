"""Frames that arrive one by one: only the last few are kept."""

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray


class StreamFrames:
    """A `FrameSource` that grows by `append`.

    Args:
        capacity: How many of the last frames can be read.
    """

    signature = "stream"

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.num_frames = 0
        self._frames: OrderedDict[int, NDArray[Any]] = OrderedDict()

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W); (0, 0) before the first frame."""
        if not self._frames:
            return (0, 0)
        height, width = next(iter(self._frames.values())).shape[:2]
        return height, width

    @property
    def is_rgb(self) -> bool:
        """Whether frames are (H, W, 3) uint8: a stream has no metadata that could say more."""
        if not self._frames:
            return False
        frame = next(iter(self._frames.values()))
        return frame.ndim == 3 and frame.shape[2] == 3 and frame.dtype == np.uint8

    def append(self, frame: NDArray[Any]) -> int:
        """Add a frame and return its index.

        Raises:
            ValueError: It is not (H, W) or (H, W, C), or of another size than the first.
        """
        if frame.ndim not in (2, 3):
            raise ValueError(f"a frame is (H, W) or (H, W, C), not of shape {frame.shape}")
        if self.num_frames and frame.shape[:2] != self.frame_size:
            height, width = self.frame_size
            raise ValueError(
                f"frame {self.num_frames} has shape {frame.shape}, "
                f"but the frames before it are {height} x {width}"
            )
        self._frames[self.num_frames] = frame.copy()
        self.num_frames += 1
        while len(self._frames) > self.capacity:
            self._frames.popitem(last=False)
        return self.num_frames - 1

    def read(self, frame_index: int) -> NDArray[Any]:
        """A kept frame.

        Raises:
            ValueError: It is too old to be kept.
        """
        if frame_index not in self._frames:
            raise ValueError(
                f"frame {frame_index} of the stream is no longer kept: the last "
                f"{self.capacity} are (set cache_frames to keep more)"
            )
        return self._frames[frame_index]

    def close(self) -> None:
        """Nothing to release."""
