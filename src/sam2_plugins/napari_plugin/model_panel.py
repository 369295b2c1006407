"""Which model, where it runs, and what is being done."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

from sam2_plugins.napari_plugin.forms import Panel, button, fill_combo, narrow_combo, notice, say
from sam2_plugins.napari_plugin.messages import Status
from sam2_plugins.napari_plugin.models import DEFAULT_MODEL, ModelChoice
from sam2_plugins.napari_plugin.viewer_session import ViewerSession

NAMES = (
    DEFAULT_MODEL,
    *(f"{version}-{size}" for version in ("sam2.1", "sam2")
      for size in ("tiny", "small", "base-plus", "large")),
)  # fmt: skip

_MEGABYTES = {"tiny": 156, "small": 184, "base-plus": 324, "large": 898}
SIZES = {DEFAULT_MODEL: "Part of the package · Apache-2.0"} | {
    name: f"{_MEGABYTES[name.partition('-')[2]]} MB, downloaded once · Apache-2.0"
    for name in NAMES[1:]
}


class ModelPanel(Panel):
    """The model; it is loaded at the first prompt, or when asked for.

    Args:
        session: Of the viewer.
    """

    def __init__(self, session: ViewerSession) -> None:
        super().__init__()
        self._session = session
        controller = session.controller
        self.model = narrow_combo("nano is part of the package; others are downloaded once")
        self.unload = button("Unload", controller.unload_model, tip="Free the model's memory")
        self.add("Model", self.model, self.unload, stretch=1)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.column.addWidget(self.status)
        self.notice = notice()
        self.column.addWidget(self.notice)
        entries = [(name, name) for name in NAMES]
        fill_combo(self.model, entries, controller.models.choice.name)
        self._describe()
        self.model.activated.connect(self._choose)
        self.listen(controller.status_changed, self.update_status)
        self.listen(controller.failed, self._on_failure)
        self.listen(session.image_changed, self.update_status)
        self.update_status()

    def update_status(self, status: Status | None = None) -> None:
        """Say what is being done."""
        controller = self._session.controller
        status = status or controller.status
        models = controller.models
        text = status.text
        if controller.document is None:
            text = "no image"
        elif text == "no image":
            text = "ready: the model is loaded at the first prompt"
        where = f" · {models.device}" if models.is_loaded else ""
        dot = "◐" if status.is_working else "●"
        self.status.setText(f"{dot} {text}{where}")
        self.unload.setEnabled(models.is_loaded)
        if status.is_working:
            say(self.notice, "")

    def _describe(self) -> None:
        """Each model's size and licence, without importing what is heavy."""
        for index in range(self.model.count()):
            size = SIZES.get(self.model.itemData(index), "")
            self.model.setItemData(index, size, Qt.ItemDataRole.ToolTipRole)

    def _choose(self) -> None:
        name = self.model.currentData()
        controller = self._session.controller
        if name != controller.models.choice.name:
            old = controller.models.choice
            controller.choose_model(ModelChoice(name, None, old.device, old.dtype))

    def _on_failure(self, message: str) -> None:
        say(self.notice, message)
