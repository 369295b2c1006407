"""Tracking in large planes: every object through a window of its own that follows it."""

from typing import Any

from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.prompts import check_frame_index
from sam2_plugins.core.sights import WindowSight, default_window_side
from sam2_plugins.core.tracker import VideoTracker
from sam2_plugins.core.windows import Window


class WindowTracker(VideoTracker):
    """A `VideoTracker` that sees each object at full resolution, however large the plane is.

    Prompts and masks are those of the plane. An object is first looked for in a window as large as
    the model's input, around its prompts. One that goes on beyond the window is looked at again
    through one twice as large, up to the whole plane. From frame to frame the window follows the
    object: it is where the object was on the frame before.

    Args:
        model: From `load_model`.
        frames: As of `VideoTracker`; a source that also `ReadsWindows` reads those alone.
        side: Of the smallest window in pixels; if not given, that of `VideoTracker` for models
            that look through windows anyway, and the input size of others.
        options: Of `VideoTracker`.
    """

    def __init__(
        self, model: SAM2, frames: Any = None, *, side: int | None = None, **options: Any
    ) -> None:
        usual = default_window_side(model.config, exact=options.get("exact", False))
        saved = options.pop("window_side", None)
        side = side or saved or usual or model.image_size
        super().__init__(model, frames, window_side=side, **options)

    def window(self, frame_index: int, object_id: int) -> Window:
        """The window through which an object was seen on a frame.

        Raises:
            KeyError: There is no such object, or it has no mask on that frame.
            ValueError: There is no such frame.
        """
        frame_index = check_frame_index(frame_index, self.num_frames)
        assert isinstance(self._sight, WindowSight)
        return self._sight.window_of(self._edit.masklet(object_id).results[frame_index])
