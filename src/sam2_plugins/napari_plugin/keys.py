"""Keys. Those on our own layers are the ones that people know; those on the viewer work anywhere.

A key of the viewer does nothing while a layer has the same, so the viewer has keys that no layer
of napari uses. Layers of other plugins and of napari itself are left alone. Where napari keeps
preferences for plugins, every key can be changed there; buttons show the keys as they are.
"""

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from sam2_plugins.napari_plugin.mask_layer import MASKS
from sam2_plugins.napari_plugin.prompts import NEGATIVE, POSITIVE
from sam2_plugins.napari_plugin.settings import Keys, listen_to_keys, read_keys

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from sam2_plugins.napari_plugin.viewer_session import ViewerSession

_LOGGER = logging.getLogger(__name__)


def _do_or_say(session: "ViewerSession", act: Callable[[], object]) -> None:
    """Do something, or say why it cannot be done."""
    try:
        act()
    except (ValueError, RuntimeError) as error:
        session.controller.failed.emit(str(error))


def _toggle_lock(session: "ViewerSession") -> None:
    controller = session.controller
    document, plane = controller.document, controller.plane
    if document is not None and plane is not None:
        is_locked = document.is_confirmed(plane, document.current_object, controller.slice_index)
        controller.confirm(is_confirmed=not is_locked)


def _step_to_prompt(session: "ViewerSession", step: int) -> None:
    controller, binding = session.controller, session.active
    if binding is None or controller.plane is None:
        return
    here = controller.slice_index
    frames = {k.frame_index for k in binding.document.prompts if k.plane == controller.plane}
    ahead = [frame for frame in frames if (frame - here) * step > 0]
    if ahead:
        binding.show_slice(min(ahead, key=lambda frame: abs(frame - here)))


def _flip_selected(session: "ViewerSession") -> None:
    """Selected prompts of the active layer say the opposite from now on."""
    layer = session.viewer.layers.selection.active
    binding = session.active
    if binding is None or not any(layer is known for known in binding.prompts.layers.values()):
        return
    assert layer is not None
    features = layer.features.copy()
    selected = sorted(layer.selected_data)
    if selected and "polarity" in features:
        rows = features.index[selected]
        is_negative = features.loc[rows, "polarity"] == NEGATIVE
        features.loc[rows, "polarity"] = [POSITIVE if flip else NEGATIVE for flip in is_negative]
        layer.features = features


@dataclass(frozen=True)
class Action:
    """What a key does.

    Attributes:
        title: In words.
        run: Does it.
        on_viewer: Keys that work with any layer active, separated by spaces.
        on_layers: Keys on our own layers.
        on_masks: Whether the masks layer has the latter too: painting has keys of its own there.
    """

    title: str
    run: Callable[["ViewerSession"], object]
    on_viewer: str = ""
    on_layers: str = ""
    on_masks: bool = False


ACTIONS: dict[str, Action] = {
    "propagate": Action(
        "Propagate both ways",
        lambda s: _do_or_say(s, s.controller.propagate),
        "Shift+S Shift+Enter",
    ),
    "cancel": Action("Cancel", lambda s: s.controller.cancel(), "Shift+X"),
    "clear": Action("Clear the slice", lambda s: s.controller.clear_slice(), "Shift+C"),
    "absent": Action(
        "The object is not here", lambda s: _do_or_say(s, s.controller.mark_absent), "H"
    ),
    "commit": Action("Commit the object", lambda s: s.controller.commit(), "K", "C"),
    "new_object": Action("New object", lambda s: s.controller.new_object(), "N", "M"),
    "flip": Action("Object or background", lambda s: s.controller.flip_polarity(), "Q", "T"),
    "flip_selected": Action("Flip selected prompts", _flip_selected, "", "Shift+T"),
    "worst": Action("Go to the worst slice", lambda s: s.controller.suggest_slice(), "G"),
    "lock": Action("Lock or unlock the slice", _toggle_lock, "J"),
    "previous": Action("Previous prompted slice", lambda s: _step_to_prompt(s, -1), ","),
    "next": Action("Next prompted slice", lambda s: _step_to_prompt(s, 1), "."),
    "remove": Action("Remove the object", lambda s: s.controller.remove_object(), "", "X"),
    "undo": Action("Undo", lambda s: s.controller.undo(), "", "Ctrl+Z", on_masks=True),
    "redo": Action("Redo", lambda s: s.controller.redo(), "", "Ctrl+Shift+Z", on_masks=True),
}
DEFAULTS = Keys(
    {name: action.on_viewer for name, action in ACTIONS.items()},
    {name: action.on_layers for name, action in ACTIONS.items()},
)


class KeyBook:
    """The keys of one viewer's session: bound where they belong, and bound anew when changed.

    Args:
        session: Kept weakly.
    """

    changed = Signal()

    def __init__(self, session: "ViewerSession") -> None:
        self._session = weakref.ref(session)
        self._bound: list[tuple[weakref.ref[Any], bool, list[str]]] = []
        self.keys = read_keys()
        listen_to_keys(self._on_settings)

    def text(self, name: str) -> str:
        """The first key of an action, for its button; empty if it has none."""
        for keys, usual in ((self.keys.on_viewer, DEFAULTS.on_viewer),
                            (self.keys.on_layers, DEFAULTS.on_layers)):  # fmt: skip
            for key in keys.get(name, usual[name]).split():
                if _is_key(key):
                    return key
        return ""

    def use(self, keys: Keys) -> None:
        """Bind other keys instead."""
        self.keys = keys
        bound, self._bound = self._bound, []
        for known, is_viewer, old in bound:
            target = known()
            if target is not None:
                for key in old:
                    target.bind_key(key, None)
                self.bind(target, is_viewer=is_viewer)
        self.changed.emit()

    def bind(self, target: Any, *, is_viewer: bool) -> None:
        """Bind the keys of a viewer, or of a layer of ours."""
        usual = DEFAULTS.on_viewer if is_viewer else DEFAULTS.on_layers
        wanted = {**usual, **(self.keys.on_viewer if is_viewer else self.keys.on_layers)}
        is_masks = not is_viewer and str(target.name).startswith(MASKS)
        bound = []
        for name, action in ACTIONS.items():
            if is_masks and not action.on_masks:
                continue
            for key in wanted[name].split():
                if not _is_key(key):
                    _LOGGER.warning("%r is no key for %r", key, action.title)
                    continue
                target.bind_key(key, self._press(action), overwrite=True)
                bound.append(key)
        self._bound.append((weakref.ref(target), is_viewer, bound))

    def _press(self, action: Action) -> Callable[[Any], None]:
        known = self._session

        def press(_: Any) -> None:
            session = known()
            if session is not None and session.active is not None:
                action.run(session)

        return press

    def _on_settings(self, event: Any = None) -> None:
        self.use(read_keys())


_BOOKS: "weakref.WeakKeyDictionary[ViewerSession, KeyBook]" = weakref.WeakKeyDictionary()


def keys_of(session: "ViewerSession") -> KeyBook:
    """The keys of a session."""
    if session not in _BOOKS:
        _BOOKS[session] = KeyBook(session)
    return _BOOKS[session]


def bind_viewer(viewer: "ViewerModel", session: "ViewerSession") -> None:
    """Bind the keys that work with any layer active."""
    keys_of(session).bind(viewer, is_viewer=True)


def bind_layer(layer: "Layer", session: "ViewerSession") -> None:
    """Bind the familiar keys on a layer of ours; on masks only those that painting leaves."""
    keys_of(session).bind(layer, is_viewer=False)


def with_key(text: str, key: str) -> str:
    """The text of a button, with its key."""
    return f"{text} ({key})" if key else text


def _is_key(key: str) -> bool:
    from app_model.types import KeyBinding

    return bool(str(KeyBinding.from_str(key)))
