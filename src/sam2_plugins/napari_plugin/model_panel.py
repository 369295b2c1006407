"""Which model, where it runs, and what is being done."""

from pathlib import Path

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QProgressBar

from sam2_plugins.napari_plugin.forms import Panel, Words, button, fill_combo, notice, say
from sam2_plugins.napari_plugin.messages import Status
from sam2_plugins.napari_plugin.models import Download, ModelChoice, ModelFacts
from sam2_plugins.napari_plugin.viewer_session import ViewerSession

MEGABYTE, KILOBYTE = 1e6, 1000


class ModelCombo(QComboBox):
    """Asks for its entries when it is first opened: to know them, torch has to be imported."""

    opened = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setSizeAdjustPolicy(self.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)

    def showPopup(self) -> None:
        """Open the list."""
        self.opened.emit()
        super().showPopup()


class ModelPanel(Panel):
    """The model; it is loaded at the first prompt, or when asked for.

    Args:
        session: Of the viewer.
    """

    def __init__(self, session: ViewerSession) -> None:
        super().__init__()
        self._session = session
        self._facts: tuple[ModelFacts, ...] = ()
        self._is_asked = False
        controller = session.controller
        self.model = ModelCombo()
        self.load = button("Load", self._load, tip="It is loaded at the first prompt anyway")
        self.add("Model", self.model, self.load, stretch=1)
        self.facts = Words()
        self.column.addWidget(self.facts)
        self.progress = QProgressBar()
        self.stop = button("Cancel", controller.cancel_download, tip="Goes on there the next time")
        self.progress_row = self.add(self.progress, self.stop, stretch=0)
        self.progress_row.hide()
        self.status = Words()
        self.column.addWidget(self.status)
        self.notice = notice()
        self.column.addWidget(self.notice)
        self.model.opened.connect(self._ask)
        self.model.activated.connect(self._choose)
        self.listen(controller.status_changed, self.update_status)
        self.listen(controller.failed, self._on_failure)
        self.listen(controller.downloading, self._on_download)
        self.listen(controller.models_listed, self._on_listed)
        self.listen(controller.objects_changed, self._fill)
        self.listen(session.image_changed, self.update_status)
        self._fill()
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
        used = models.memory_bytes()
        where = f" · {models.device}" if models.is_loaded else ""
        if used is not None:
            where += f" · {used / MEGABYTE:.0f} MB"
        dot = "◐" if status.is_working else "●"
        self.status.setText(f"{dot} {text}{where}")
        self.load.setText("Unload" if models.is_loaded else "Load")
        self.load.setToolTip(
            "Free the model's memory" if models.is_loaded else "It is loaded at the first prompt"
        )
        self.load.setEnabled(not status.is_working)
        if status.is_working:
            say(self.notice, "")
        elif models.is_loaded:
            self._ask()
        if not models.is_loading:
            self.progress_row.hide()

    def _fill(self) -> None:
        """The models that are known, and the one that is chosen."""
        choice = self._session.controller.models.wanted
        if choice.checkpoint is not None:
            entries = [(Path(choice.checkpoint).name, "")]
            current = ""
        else:
            entries, current = [], choice.name
        names = [facts.name for facts in self._facts]
        if current and current not in names:
            names.insert(0, current)
        entries += [(name, name) for name in names]
        shown = [(self.model.itemText(i), self.model.itemData(i)) for i in range(len(self.model))]
        if shown != entries or self.model.currentData() != current:
            fill_combo(self.model, entries, current)
        texts = {facts.name: facts.text for facts in self._facts}
        for index in range(self.model.count()):
            text = texts.get(self.model.itemData(index), "")
            self.model.setItemData(index, text, Qt.ItemDataRole.ToolTipRole)
        self.facts.setText(texts.get(choice.name, "") if choice.checkpoint is None else "")
        self.facts.setVisible(bool(self.facts.text()))

    def _ask(self) -> None:
        if not self._is_asked:
            self._is_asked = True
            self._session.controller.list_models()

    def _on_listed(self, facts: tuple[ModelFacts, ...]) -> None:
        self._facts = facts
        view = self.model.view()
        is_open = view is not None and view.isVisible()
        if is_open:
            self.model.hidePopup()
        self._fill()
        if is_open:
            self.model.showPopup()

    def _choose(self) -> None:
        name = self.model.currentData()
        controller = self._session.controller
        old = controller.models.wanted
        if name and (name != old.name or old.checkpoint is not None):
            say(self.notice, "")
            controller.choose_model(ModelChoice(name, None, old.device, old.dtype))
            self._is_asked = False
            self._fill()

    def _load(self) -> None:
        controller = self._session.controller
        if controller.models.is_loaded:
            controller.unload_model()
        else:
            controller.load_model()

    def _on_download(self, download: Download) -> None:
        """Show how much has arrived; the bar goes when the work is over."""
        done, total = download.done_bytes, download.total_bytes
        # Not in bytes: Qt counts to 2**31.
        self.progress.setMaximum(max(total // KILOBYTE, 1))
        self.progress.setValue(done // KILOBYTE)
        self.progress.setFormat(f"{done / MEGABYTE:.0f} of {total / MEGABYTE:.0f} MB")
        self.progress.setToolTip(f"The weights of {download.name} are being downloaded")
        is_loading = self._session.controller.models.is_loading
        self.progress_row.setVisible(is_loading and not download.is_over)

    def _on_failure(self, message: str) -> None:
        say(self.notice, message)
        self._fill()
