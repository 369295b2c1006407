"""Which tracker a plane gets: one that sees it whole, or one that follows objects with windows."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.napari_plugin.frames import ImageStack, PlaneFrames
from sam2_plugins.napari_plugin.layers import Plane

if TYPE_CHECKING:
    from sam2_plugins.core import SAM2, VideoTracker

UNDO_LEVELS = 10_000


def make_tracker(model: "SAM2", stack: ImageStack, plane: Plane) -> "VideoTracker":
    """A new tracker of a plane."""
    kind = _kind(model, stack, plane)
    frames = PlaneFrames(stack, plane)
    options: dict[str, Any] = {"limits": stack.limits, "undo_levels": UNDO_LEVELS}
    if not stack.large_planes.is_on:
        # Also for models that look through windows by themselves.
        options["window_side"] = None
    if plane.frame_axis is not None and not stack.walks_depth(plane.frame_axis):
        # Of a grey time-lapse only the label of its axis tells that objects stay.
        options["keep_alike"] = True
    return kind(model, frames, **options)


def load_tracker(path: Path, model: "SAM2", stack: ImageStack, plane: Plane) -> "VideoTracker":
    """The tracker of a plane as it was saved.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is of another image or model, or was made with windows and now has none.
    """
    kind = _kind(model, stack, plane)
    return kind.load(path, model, PlaneFrames(stack, plane), undo_levels=UNDO_LEVELS)


def _kind(model: "SAM2", stack: ImageStack, plane: Plane) -> "type[VideoTracker]":
    from sam2_plugins.core import VideoTracker, WindowTracker

    is_large = stack.large_planes.has(plane.frame_size, model.image_size)
    return WindowTracker if is_large else VideoTracker
