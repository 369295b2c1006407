"""Tracking in large planes: every object through a window of its own that follows it."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.features import DEFAULT_CAPACITY
from sam2_plugins.core.masklets import FrameResult
from sam2_plugins.core.masks import FrameMasks
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.prompts import check_frame_index
from sam2_plugins.core.session import describe_origin, read_session, write_session
from sam2_plugins.core.tracker import VideoTracker
from sam2_plugins.core.window_features import WindowFeatures
from sam2_plugins.core.window_segmenting import WindowSegmenter
from sam2_plugins.core.windows import PlacedMask, PlacedMasks, Window

_READY = 4
"""Windows that `encode` makes ready."""


class WindowTracker(VideoTracker):
    """A `VideoTracker` that sees each object at full resolution, however large the plane is.

    Prompts and masks are those of the plane. An object is first looked for in a window as large as
    the model's input, around its prompts. One that goes on beyond the window is looked at again
    through one twice as large, up to the whole plane. From frame to frame the window follows the
    object: it is where the object was on the frame before.

    Args:
        model: From `load_model`.
        frames: As of `VideoTracker`; a source that also `ReadsWindows` reads those alone.
        side: Of the smallest window in pixels; the model's input size if not given.
        options: Of `VideoTracker`, except `cache_dir`.
    """

    def __init__(
        self, model: SAM2, frames: Any, *, side: int | None = None, **options: Any
    ) -> None:
        if frames is None:
            raise ValueError("windows need frames that can be read again, not a stream")
        super().__init__(model, frames, **options)
        self.side = side or model.image_size
        capacity = options.get("cache_frames", DEFAULT_CAPACITY)
        self._features: WindowFeatures = WindowFeatures(model, self._rgb, capacity=capacity)

    def encode(self, frame_index: int) -> None:
        """Encode what is seen of objects on a frame, so that their next click answers at once."""
        frame_index = check_frame_index(frame_index, self.num_frames)
        found = [m.results[frame_index] for m in self._store.masklets.values()
                 if frame_index in m.results]  # fmt: skip
        for result in found[:_READY]:
            with self._features.through(self._segmenter.window_of(result)):
                self._features.get(frame_index)

    def window(self, frame_index: int, object_id: int) -> Window:
        """The window through which an object was seen on a frame.

        Raises:
            KeyError: There is no such object, or it has no mask on that frame.
        """
        return self._segmenter.window_of(self._edit.masklet(object_id).results[frame_index])

    def masks(self, frame_index: int) -> FrameMasks:
        """What is known of a frame now; see `PlacedMasks`."""
        frame_index = check_frame_index(frame_index, self.num_frames)
        rows = []
        for object_id, masklet in sorted(self._store.masklets.items()):
            result = masklet.results.get(frame_index)
            if result is not None:
                scores = result.predicted_iou, result.object_score_logit
                rows.append((object_id, *scores, *_crop(result)))
        return PlacedMasks(frame_index, self.frame_size, rows)

    def save(self, path: str | Path) -> None:
        """Write prompts, masks and scores to one file, whole or not at all."""
        origin = describe_origin(self._model_name, self._rgb)
        options = {**self._rules.options, "limits": self._rgb.limits}
        kept = {
            result.version
            for masklet in self._store.masklets.values()
            for result in (*masklet.results.values(), *(p.base for p in masklet.prompts.values()))
            if result is not None
        }
        windows = {v: list(w) for v, w in self._segmenter.windows.items() if v in kept}
        header = {**origin, "options": options, "side": self.side, "windows": windows}
        write_session(Path(path), self._store, header=header)

    @classmethod
    def load(cls, path: str | Path, model: SAM2, frames: Any, **options: Any) -> "WindowTracker":
        """Open a saved session; see `VideoTracker.load`."""
        header, _ = read_session(Path(path))
        tracker = super().load(path, model, frames, side=header.get("side"), **options)
        assert isinstance(tracker, cls)
        windows = {v: Window(*window) for v, window in header.get("windows", {}).items()}
        tracker._segmenter.windows.update(windows)  # noqa: SLF001 - it is one of ours
        return tracker

    @cached_property
    def _model_name(self) -> str:
        # Another name: a tracker of whole planes could not go on with what windows remember.
        return f"{super()._model_name} in windows"

    @cached_property
    def _segmenter(self) -> "WindowSegmenter":
        return WindowSegmenter(
            *(self.model, self._features),
            rules=self._rules,
            plane=self.frame_size,
            side=self.side,
        )


def _crop(result: FrameResult) -> tuple[Window, NDArray[np.bool_]]:
    """A result's mask where it is; (0, 0, 0, 0) if it is empty."""
    if isinstance(result.mask, PlacedMask):
        return result.mask.window, result.mask.crop
    window = Window(*result.box)
    return window, np.ascontiguousarray(result.mask.unpack()[window.slices])
