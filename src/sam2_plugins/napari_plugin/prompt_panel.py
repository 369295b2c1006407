"""Tools for prompts, and their undo."""

from functools import partial

from qtpy.QtWidgets import QButtonGroup

from sam2_plugins.napari_plugin.forms import Panel, button
from sam2_plugins.napari_plugin.keys import ACTIONS, keys_of, with_key
from sam2_plugins.napari_plugin.prompt_looks import BOXES, POINTS, SCRIBBLES
from sam2_plugins.napari_plugin.prompts import POSITIVE
from sam2_plugins.napari_plugin.viewer_session import ViewerSession

PAINT = "paint"
TOOLS = {
    POINTS: ("Point", "add", "Click on the object; Ctrl or right button: on the background"),
    BOXES: ("Box", "add_rectangle", "Drag a box around the object"),
    "lasso": ("Lasso", "add_polygon_lasso", "Draw around the object: becomes its mask"),
    SCRIBBLES: ("Scribble", "add_path", "Draw a line along the object; it becomes clicks"),
    PAINT: ("Paint", "paint", "Paint the mask itself in the masks layer"),
}


class PromptPanel(Panel):
    """Says what the next click means.

    Args:
        session: Of the viewer.
    """

    def __init__(self, session: ViewerSession) -> None:
        super().__init__("Prompt")
        self._session = session
        controller = session.controller
        self.polarity = button(
            "", controller.flip_polarity, tip="Next prompts: object or background"
        )
        self.tools = QButtonGroup(self)
        made = {}
        for name, (text, _, tip) in TOOLS.items():
            made[name] = button(text, partial(self.use, name), tip=tip, checkable=True)
            self.tools.addButton(made[name])
        self.tool_buttons = made
        self.add(*made.values(), stretch=0)
        self._keys = keys_of(session)
        make = partial(self.key_button, self._keys)
        self.clear = make(
            "clear",
            text="Clear",
            on_click=controller.clear_slice,
            tip="Take back what was said of this object on this slice",
        )
        self.absent = make(
            "absent",
            text="Not here",
            on_click=lambda: ACTIONS["absent"].run(session),
            tip="This object is not on this slice: runs end there",
        )
        self.add(self.polarity, self.absent, self.clear, stretch=0)
        self.undo = make(
            "undo", text="Undo", on_click=controller.undo, tip="Take back the last step"
        )
        self.redo = make("redo", text="Redo", on_click=controller.redo, tip="Do it again")
        self.add(self.undo, self.redo, stretch=0)
        made[POINTS].setChecked(True)
        self.listen(controller.objects_changed, self.update_state)
        self.listen(session.image_changed, self.update_state)
        self.listen(self._keys.changed, self.update_state)
        self.update_state()

    def use(self, name: str) -> None:
        """Take up a tool; the layer it works on becomes the active one."""
        binding = self._session.active
        if binding is None:
            return
        binding.ensure_layers()
        layer = binding.masks.layer if name == PAINT else None
        if layer is None:
            layer = binding.prompts.layers[BOXES if name == "lasso" else name]
        self._session.viewer.layers.selection.active = layer
        layer.mode = TOOLS[name][1]
        self.tool_buttons[name].setChecked(True)

    def update_state(self) -> None:
        """Show what can be done."""
        document = self._session.controller.document
        is_open = document is not None
        for widget in (self.polarity, *self.tool_buttons.values()):
            widget.setEnabled(is_open)
        is_positive = document is None or document.polarity == POSITIVE
        text = "+ object" if is_positive else "- background"
        self.polarity.setText(with_key(text, self._keys.text("flip")))
        # Of a document that is not there the button is greyed out, as the theme has it.
        colour = "#2a7f3a" if is_positive else "#a33"
        look = f"background: {colour}; color: white;" if is_open else ""
        self.polarity.setStyleSheet(f"QPushButton {{ {look} padding: 4px 5px; }}")
        self.undo.setEnabled(document is not None and bool(document.done))
        self.redo.setEnabled(document is not None and bool(document.undone))
        self.clear.setEnabled(is_open)
        self.absent.setEnabled(is_open)
        for made, steps in (
            (self.undo, [] if document is None else document.done),
            (self.redo, [] if document is None else document.undone),
        ):
            what = "Undo" if made is self.undo else "Redo"
            made.setToolTip(f"{what}: {steps[-1].what}" if steps else f"Nothing to {what.lower()}")
