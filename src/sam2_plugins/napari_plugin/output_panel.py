"""Where masks go."""

from qtpy.QtWidgets import QCheckBox

from sam2_plugins.napari_plugin.document import Document
from sam2_plugins.napari_plugin.forms import Panel, button, fill_combo, narrow_combo
from sam2_plugins.napari_plugin.viewer_session import ViewerSession

OWN = "SAM 2 masks (own layer)"


class OutputPanel(Panel):
    """The layer that masks are drawn into.

    Args:
        session: Of the viewer.
    """

    def __init__(self, session: ViewerSession) -> None:
        super().__init__()
        self._session = session
        self.target = narrow_combo("Masks are drawn into this Labels layer")
        self.preserve = QCheckBox("Never overwrite other labels")
        self.preserve.setChecked(True)
        self.add("Masks to", self.target, stretch=1)
        self.column.addWidget(self.preserve)
        self.restore = button(
            "Restore earlier work", self._restore, tip="Prompts, masks and locks that were saved"
        )
        self.column.addWidget(self.restore)
        self.restore.hide()
        self.listen(session.controller.restorable, self._offer)
        self.listen(session.controller.stepped, lambda _: self.restore.hide())
        self.target.activated.connect(self._choose)
        self.preserve.toggled.connect(self._set_preserve)
        self.listen(session.image_changed, self.update_entries)
        self.update_entries()

    def update_entries(self) -> None:
        """Show the Labels layers that fit."""
        from napari.layers import Labels

        binding = self._session.active
        self.setEnabled(binding is not None)
        if binding is None:
            return
        current = binding.masks.layer
        shape = binding.document.stack.shape
        fitting = [
            layer
            for layer in self._session.viewer.layers
            if isinstance(layer, Labels)
            and not layer.multiscale
            and tuple(layer.data.shape) == shape
        ]
        entries = [(layer.name, layer) for layer in fitting]
        if not binding.masks.is_own:
            entries.append((OWN, None))
        fill_combo(self.target, entries, current)
        self.preserve.setChecked(binding.masks.preserve)

    def _choose(self) -> None:
        binding = self._session.active
        if binding is None:
            return
        try:
            binding.use_labels(self.target.currentData())
        except ValueError as error:
            self._session.controller.failed.emit(str(error))
        self.update_entries()

    def _offer(self, document: Document) -> None:
        self.restore.setVisible(document is self._session.controller.document)

    def _restore(self) -> None:
        self.restore.hide()
        self._session.controller.restore()

    def _set_preserve(self, is_on: bool) -> None:
        binding = self._session.active
        if binding is not None:
            binding.masks.preserve = is_on
