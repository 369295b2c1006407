"""A person says what the axes of an image mean. No Qt."""

from collections.abc import Sequence
from dataclasses import replace

from sam2_plugins.napari_plugin.axes import give_role
from sam2_plugins.napari_plugin.binding import ImageBinding
from sam2_plugins.napari_plugin.image_layers import axis_names, channel_axis
from sam2_plugins.napari_plugin.viewer_session import ViewerSession


def choose_role(session: ViewerSession, role: str, axis: int | None) -> None:
    """Say which axis of the image that is worked on has a role; napari's names of axes tell.

    Depth and time only change what is walked by default. Other channels make another image of it:
    what was said of it before stays with the layers as they were, and is there again when the
    channels are.

    Args:
        session: Of the viewer.
        role: "time", "depth" or "channel".
        axis: Of the image; None if no axis has that role.
    """
    binding = session.active
    if binding is None:
        return
    names = give_role(axis_names(binding.images[0]), axis, role)
    for image in binding.images:
        image.axis_labels = names
    if axis is not None and role == "channel":
        _hide_axis(session, binding, axis)
    if channel_axis(binding.images[0]) == binding.document.stack.channel_axis:
        _rename(binding, names)
        session.image_changed.emit()
    else:
        _bind_anew(session, binding)


def _hide_axis(session: ViewerSession, binding: ImageBinding, axis: int) -> None:
    """Put an axis on a slider if it is displayed: a mask is on planes without it."""
    dims = session.viewer.dims
    number = axis + dims.ndim - binding.images[0].ndim
    if number in dims.displayed:
        dims.order = (number, *(other for other in dims.order if other != number))


def _rename(binding: ImageBinding, names: Sequence[str]) -> None:
    document = binding.document
    document.stack = replace(document.stack, axis_labels=tuple(names))
    binding.prompts.rename_axes(names)
    binding.masks.rename_axes(names)
    binding.update_view()


def _bind_anew(session: ViewerSession, binding: ImageBinding) -> None:
    """Work on the same layers with other channels; earlier work on them goes on where it was."""
    wanted = channel_axis(binding.images[0])
    if not binding.document.prompts:
        _discard(session, binding)
    others = [
        other
        for other in session.bindings
        if (other.images, other.level) == (binding.images, binding.level)
        and other.document.stack.channel_axis != wanted
    ]
    for other in others:
        session.bindings.remove(other)
    try:
        session.choose(binding.images, level=binding.level, limits=binding.document.stack.limits)
    finally:
        # Last, so that the one with these channels is found before them.
        session.bindings.extend(others)


def _discard(session: ViewerSession, binding: ImageBinding) -> None:
    """Nothing was said of it: its layers would only be in the way."""
    layers = binding.layers
    session.bindings.remove(binding)
    session.active = None
    binding.close()
    for layer in layers:
        if layer in session.viewer.layers:
            session.viewer.layers.remove(layer)
