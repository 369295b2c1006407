"""Keys. Those on our own layers are the ones that people know; those on the viewer work anywhere.

A key of the viewer does nothing while a layer has the same, so the viewer has keys that no layer
of napari uses. Layers of other plugins and of napari itself are left alone.
"""

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sam2_plugins.napari_plugin.mask_layer import MASKS

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from sam2_plugins.napari_plugin.viewer_session import ViewerSession

Action = Callable[["ViewerSession"], object]


def _propagate(session: "ViewerSession") -> None:
    try:
        session.controller.propagate()
    except (ValueError, RuntimeError) as error:
        session.controller.failed.emit(str(error))


def _toggle_lock(session: "ViewerSession") -> None:
    controller = session.controller
    document, plane = controller.document, controller.plane
    if document is not None and plane is not None:
        is_locked = document.is_confirmed(plane, document.current_object, controller.slice_index)
        controller.confirm(is_confirmed=not is_locked)


def _step_to_prompt(step: int) -> Action:
    def go(session: "ViewerSession") -> None:
        controller, binding = session.controller, session.active
        if binding is None or controller.plane is None:
            return
        here = controller.slice_index
        frames = {k.frame_index for k in binding.document.prompts if k.plane == controller.plane}
        ahead = [frame for frame in frames if (frame - here) * step > 0]
        if ahead:
            binding.show_slice(min(ahead, key=lambda frame: abs(frame - here)))

    return go


ON_VIEWER: dict[str, Action] = {
    "Shift-S": _propagate,
    "Shift-X": lambda session: session.controller.cancel(),
    "Shift-C": lambda session: session.controller.clear_slice(),
    "K": lambda session: session.controller.commit(),
    "N": lambda session: session.controller.new_object(),
    "Q": lambda session: session.controller.flip_polarity(),
    "G": lambda session: session.controller.suggest_slice(),
    "J": _toggle_lock,
    ",": _step_to_prompt(-1),
    ".": _step_to_prompt(1),
}
ON_LAYERS: dict[str, Action] = {
    "T": lambda session: session.controller.flip_polarity(),
    "C": lambda session: session.controller.commit(),
    "X": lambda session: session.controller.remove_object(),
    "M": lambda session: session.controller.new_object(),
    "Control-Z": lambda session: session.controller.undo(),
    "Control-Shift-Z": lambda session: session.controller.redo(),
}
ON_MASKS = ("Control-Z", "Control-Shift-Z")


def bind_viewer(viewer: "ViewerModel", session: "ViewerSession") -> None:
    """Bind the keys that work with any layer active."""
    _bind(viewer, ON_VIEWER, session)


def bind_layer(layer: "Layer", session: "ViewerSession") -> None:
    """Bind the familiar keys on a layer of ours; on masks only those that painting leaves."""
    is_masks = str(layer.name).startswith(MASKS)
    keys = ON_MASKS if is_masks else tuple(ON_LAYERS)
    _bind(layer, {key: ON_LAYERS[key] for key in keys}, session)


def _bind(target: Any, keys: dict[str, Action], session: "ViewerSession") -> None:
    known = weakref.ref(session)
    for key, action in keys.items():

        def press(_: Any, action: Action = action) -> None:
            found = known()
            if found is not None and found.active is not None:
                action(found)

        target.bind_key(key, press, overwrite=True)
