"""Image features of what is seen of large planes through windows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray
from torch import Tensor

from sam2_plugins.core.features import FeatureStore
from sam2_plugins.core.model.sam2 import SAM2, ImageFeatures
from sam2_plugins.core.rgb_frames import RGBFrames
from sam2_plugins.core.windows import Window


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
        capacity: How many windows stay in memory.
    """

    def __init__(self, model: SAM2, frames: RGBFrames, *, capacity: int) -> None:
        super().__init__(model, self._read_window, capacity=capacity)
        self._frames = frames
        self._plane = frames.source.frame_size
        self._last: tuple[int, NDArray[Any]] | None = None
        self.window = Window(0, 0, self._plane[1], self._plane[0])

    @contextmanager
    def through(self, window: Window) -> Iterator[None]:
        """Look through a window for a while."""
        before, self.window = self.window, window
        try:
            yield
        finally:
            self.window = before

    def get(self, frame_index: int) -> ImageFeatures:
        """The features of a frame's window, B = 1."""
        return super().get(self._place(frame_index))

    def motion(self, frame_index: int, before: int) -> Tensor:
        """Motion within the window, on both frames; see `FeatureStore.motion`."""
        return super().motion(self._place(frame_index), self._place(before))

    def prepared(self, frame_index: int) -> Tensor:
        """See `FeatureStore.prepared`."""
        place = self._place(frame_index)
        if self._prepared is None or self._prepared[0] != place:
            stride_16 = self.get(frame_index).stride_16
            self._prepared = (place, self.model.memory_attention.prepare(stride_16))
        return self._prepared[1]

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
        source = self._frames.source
        if isinstance(source, ReadsWindows):
            pixels = source.read_window(frame_index, self.window)
        else:
            if self._last is None or self._last[0] != frame_index:
                self._last = (frame_index, source.read(frame_index))
            pixels = self._last[1][self.window.slices]
        return self._frames.policy.to_rgb(pixels)
