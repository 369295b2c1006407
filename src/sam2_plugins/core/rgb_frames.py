"""A source of frames, seen as RGB by one pixel policy."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.frames import FrameSource
from sam2_plugins.core.frames.source import hash_sample
from sam2_plugins.core.pixels import PixelPolicy


def are_colours(frames: Any) -> bool | None:
    """Whether an array is (T, H, W, 3) uint8; None where that is for the source to say."""
    shape: tuple[int, ...] = getattr(frames, "shape", ())
    dtype = getattr(frames, "dtype", None)
    return True if len(shape) == 4 and shape[-1] == 3 and dtype == np.uint8 else None


class RGBFrames:
    """Frames as the model sees them.

    Args:
        source: Of raw frames.
        limits: (low, high) values that become 0 and 1; from the whole stack if not given.
    """

    def __init__(self, source: FrameSource, *, limits: tuple[float, float] | None = None) -> None:
        self.source = source
        self.limits = limits
        self._policy: PixelPolicy | None = None

    @property
    def policy(self) -> PixelPolicy:
        """How raw pixels become RGB, the same for the whole stack; fitted when first needed."""
        if self._policy is None:
            self._policy = PixelPolicy.fit(self.source, limits=self.limits)
        return self._policy

    @property
    def signature(self) -> str:
        """Changes when the data or the policy does."""
        return f"{self.source.signature}-{self.policy.signature}"

    @cached_property
    def fingerprint(self) -> str:
        """A hash of some pixels of three frames: the same wherever the data lie."""
        last = self.source.num_frames - 1
        return hash_sample("", (self.source.read(index) for index in (0, last // 2, last)))

    def read(self, frame_index: int) -> NDArray[Any]:
        """(H, W, 3) uint8, or float32 in [0, 1]."""
        return self.policy.to_rgb(self.source.read(frame_index))
