"""A source of frames, seen as RGB by one pixel policy."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam2_plugins.core.frames import FrameSource, open_frames
from sam2_plugins.core.frames.source import hash_sample
from sam2_plugins.core.pixels import PixelPolicy


def are_colours(frames: Any) -> bool | None:
    """Whether an array is (T, H, W, 3) uint8; None where that is for the source to say."""
    shape: tuple[int, ...] = getattr(frames, "shape", ())
    dtype = getattr(frames, "dtype", None)
    return True if len(shape) == 4 and shape[-1] == 3 and dtype == np.uint8 else None


def image_to_rgb(
    image: ArrayLike, *, rgb: bool | None = None, limits: tuple[float, float] | None = None
) -> NDArray[Any]:
    """One image as the model sees it.

    Args:
        image: (H, W), (H, W, 3) or (H, W, C) of any real dtype.
        rgb: Whether three channels last are RGB; by default only those of uint8.
        limits: (low, high) values that become black and white; by default percentiles.

    Returns:
        (H, W, 3) uint8, or float32 in [0, 1].

    Raises:
        ValueError: It is not an image.
    """
    array = np.asarray(image)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ValueError(f"an image is (H, W) or (H, W, C), not of shape {array.shape}")
    if rgb is None:
        rgb = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    axes = "tyx" if array.ndim == 2 else "tyxs" if rgb else "tyxc"
    frames = open_frames(array[None], axes=axes, rgb=rgb)
    return PixelPolicy.fit(frames, limits=limits).to_rgb(frames.read(0))


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
