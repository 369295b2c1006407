"""Image features of what is seen of large planes through windows."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.closeups import whole
from sam2_plugins.core.features import FeatureStore
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.portraits import to_bytes
from sam2_plugins.core.rgb_frames import RGBFrames
from sam2_plugins.core.windows import Window

_PLANES = 2
"""Whole frames in memory: motion is measured between two."""


@runtime_checkable
class ReadsWindows(Protocol):
    """A `FrameSource` that need not read a whole frame for a part of it."""

    def read_window(self, frame_index: int, window: Window) -> NDArray[Any]:
        """(h, w) or (h, w, C): what `read` returns, there."""


class WindowFeatures(FeatureStore):
    """Features of the window that is looked through; those of several windows are kept.

    Args:
        model: Encodes.
        frames: The whole planes.
        small_plane: Planes no longer than this are encoded at the model's own input size.
        options: Of `FeatureStore`; what is kept in memory is counted in windows.
    """

    def __init__(
        self, model: SAM2, frames: RGBFrames, *, small_plane: int = 0, **options: Any
    ) -> None:
        self._frames = frames
        self._small_plane = small_plane
        self._planes: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._window: Window | None = None
        super().__init__(model, self._read_window, **options)

    @property
    def has_small_planes(self) -> bool:
        """Whether windows would show no more of a plane than the whole does."""
        return max(self._plane) <= self._small_plane

    @property
    def side(self) -> int:
        """See `FeatureStore.side`; of what is looked through now."""
        usual = super().side
        is_large = self.window.side > usual
        return self.model.image_size if self.has_small_planes or is_large else usual

    @property
    def window(self) -> Window:
        """What is looked through."""
        return self._window or whole(self._plane)

    @property
    def _plane(self) -> tuple[int, int]:
        # Asked for again and again: a stream has no size before its first frame.
        return self._frames.source.frame_size

    @contextmanager
    def through(self, window: Window) -> Iterator[None]:
        """Look through a window for a while."""
        before, self._window = self._window, window
        try:
            yield
        finally:
            self._window = before

    def pixels(self, frame_index: int, window: Window) -> NDArray[np.uint8]:
        """A part of a frame, whatever is looked through: (h, w, 3) uint8, RGB."""
        return to_bytes(self._read_part(frame_index, window))

    def _place(self, frame_index: int) -> int:
        """Frame and window in one number: what the store takes for frames are places."""
        height, width = self._plane
        place = frame_index
        for value, count in zip(self.window, (width, height, width, height), strict=True):
            place = place * (count + 1) + value
        return place

    def _read_window(self, place: int) -> NDArray[Any]:
        """(h, w, 3) of the window that is looked through."""
        frame_index = place
        for count in (self._plane[0], self._plane[1]) * 2:
            frame_index //= count + 1
        return self._read_part(frame_index, self.window)

    def _read_part(self, frame_index: int, window: Window) -> NDArray[Any]:
        source = self._frames.source
        if isinstance(source, ReadsWindows):
            pixels = source.read_window(frame_index, window)
        else:
            pixels = self._whole_plane(frame_index)[window.slices]
        return self._frames.policy.to_rgb(pixels)

    def _whole_plane(self, frame_index: int) -> NDArray[Any]:
        if frame_index not in self._planes:
            self._planes[frame_index] = self._frames.source.read(frame_index)
            while len(self._planes) > _PLANES:
                self._planes.popitem(last=False)
        return self._planes[frame_index]
