"""Where a viewer stands in an image: the plane on show, the slice, and moving to another."""

from typing import TYPE_CHECKING, NamedTuple

from sam2_plugins.napari_plugin.image_layers import check_straight, displayed_axes, point_in_layer
from sam2_plugins.napari_plugin.layers import Plane, choose_plane, nearest

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Layer

    from sam2_plugins.napari_plugin.frames import ImageStack

BEYOND = "The sliders stand beyond this image: move them to where it is seen."


class View(NamedTuple):
    """What of an image is on show.

    Attributes:
        plane: Whose frames can be propagated through; None where there is none.
        slice_index: Which of its frames.
        channel: On show; None where the image has no axis of channels.
        problem: Why there is no plane, or why nothing can be said here, in words.
    """

    plane: Plane | None
    slice_index: int = 0
    channel: int | None = None
    problem: str = ""


def look(layer: "Layer", dims: "Dims", stack: "ImageStack", *, frame_axis: int | None) -> View:
    """What a viewer shows of an image.

    Args:
        layer: With the image's geometry.
        dims: The viewer's.
        stack: The image.
        frame_axis: To propagate along, if it can be walked; the usual one if not given.
    """
    point = point_in_layer(layer, dims)
    channel = None if stack.channel_axis is None else nearest(point[stack.channel_axis])
    try:
        shown = displayed_axes(layer, dims)
        plane = choose_plane(
            stack.shape,
            shown,
            point=point,
            frame_axis=frame_axis,
            axis_labels=stack.axis_labels,
            channel_axis=stack.channel_axis,
        )
        check_straight(layer, shown)
    except ValueError as error:
        return View(None, channel=channel, problem=str(error))
    is_inside = all(
        0 <= nearest(point[axis]) < stack.shape[axis]
        for axis in range(len(stack.shape))
        if axis not in shown
    )
    return View(plane, plane.frame_index(point.tolist()) or 0, channel, "" if is_inside else BEYOND)


def show_frame(layer: "Layer", dims: "Dims", plane: Plane, frame_index: int) -> None:
    """Move a viewer to a frame of the plane that it shows."""
    if plane.frame_axis is None:
        return
    position = list(point_in_layer(layer, dims))
    position[plane.frame_axis] = frame_index
    world = layer.data_to_world(position)
    # Slices are straight here, but axes that are not on show may be turned into each other.
    hidden = [a for a in range(layer.ndim) if a not in (plane.y_axis, plane.x_axis)]
    dims.set_point([a + dims.ndim - layer.ndim for a in hidden], [world[a] for a in hidden])


def is_on_show(layer: "Layer", dims: "Dims", plane: Plane, frame_index: int) -> bool:
    """Whether a viewer shows any of a frame."""
    return plane.is_displayed(frame_index, displayed_axes(layer, dims), point_in_layer(layer, dims))
