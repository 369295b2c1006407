"""Where masks go."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from qtpy.QtWidgets import QCheckBox, QFileDialog, QMessageBox

from sam2_plugins.napari_plugin.batch_panel import BatchPanel
from sam2_plugins.napari_plugin.everything_panel import EverythingPanel
from sam2_plugins.napari_plugin.exporting import (
    ONE_STACK,
    TIFF,
    chosen_path,
    file_filter,
    format_of,
)
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
        self.source = narrow_combo("Labels on this slice, or points or shapes: one object each")
        self.source.setPlaceholderText("no other layer")
        self.take = button("Use", self._import, tip="Each becomes a new object")
        self.add("Prompts from", self.source, self.take, stretch=1)
        self.export = button(
            "Export masks…",
            self._export,
            tip="TIFF, OME-Zarr, Cell Tracking Challenge, SA-V, COCO or DAVIS, as its name ends",
        )
        self.time = button(
            "Carry through time ▶", self._carry, tip="Through depth, then to the next time point"
        )
        self.everything = EverythingPanel(session)
        self.column.addWidget(self.everything)
        self.column.addWidget(self.export)
        self.column.addWidget(self.time)
        self.listen(session.controller.plane_changed, self.update_entries)
        self._of_image = (self.target, self.preserve, self.source, self.take, self.everything,
                          self.export, self.time)  # fmt: skip
        self.batch = BatchPanel(session)
        self.show_batch = button(
            "Batch over a folder…", self._toggle_batch, tip="From labels", checkable=True
        )
        self.column.addWidget(self.show_batch)
        self.column.addWidget(self.batch)
        self.batch.hide()
        self.target.activated.connect(self._choose)
        self.preserve.toggled.connect(self._set_preserve)
        self.listen(session.image_changed, self.update_entries)
        self.update_entries()

    def update_entries(self) -> None:
        """Show the Labels layers that fit."""
        from napari.layers import Labels, Points, Shapes

        binding = self._session.active
        for widget in self._of_image:
            widget.setEnabled(binding is not None)
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
        if binding.masks.own is None:
            entries.append((OWN, None))
        fill_combo(self.target, entries, current)
        self.preserve.setChecked(binding.masks.preserve)
        ours = binding.layers
        others = [
            layer
            for layer in self._session.viewer.layers
            if isinstance(layer, Labels | Points | Shapes)
            and not any(layer is known for known in ours)
        ]
        fill_combo(self.source, [(x.name, x) for x in others], self.source.currentData())
        if others and self.source.currentIndex() < 0:
            self.source.setCurrentIndex(0)
        self.take.setEnabled(bool(others))
        plane = self._session.controller.plane
        stack = binding.document.stack
        self.time.setVisible(plane is not None and stack.time_axis(plane) is not None)

    def _choose(self) -> None:
        binding = self._session.active
        if binding is None:
            return
        try:
            binding.use_labels(self.target.currentData())
        except (ValueError, RuntimeError) as error:
            self._session.controller.failed.emit(str(error))
        self.update_entries()

    def _import(self) -> None:
        binding, layer = self._session.active, self.source.currentData()
        if binding is not None and layer is not None:
            self._attempt(partial(binding.import_layer, layer))

    def _carry(self) -> None:
        self._attempt(self._session.controller.propagate_through_time)

    def _export(self) -> None:
        controller = self._session.controller
        plane = controller.plane
        is_more = plane is not None and any(plane.shape[axis] > 1 for axis, _ in plane.fixed)
        typed, chosen = QFileDialog.getSaveFileName(
            self, "Export masks", "masks.tif", file_filter(has_volumes=is_more), TIFF.filter
        )
        path = chosen_path(typed, chosen)
        if not typed or not (path == typed or self._may_replace(Path(path))):
            return
        meant = format_of(path)
        if meant.holds_all:
            self._attempt(partial(controller.export_all, path))
            return
        self._attempt(partial(controller.export, path))
        if is_more:
            controller.failed.emit(
                f"{path} holds {ONE_STACK}: {meant.title} cannot hold volumes over time"
            )

    def _may_replace(self, path: Path) -> bool:
        """The dialog has asked about the name as it was typed, not as it was completed."""
        if not path.exists():
            return True
        yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
        asked = f"{path.name} already exists.\nDo you want to replace it?"
        return bool(QMessageBox.question(self, "Export masks", asked, yes | no, no) == yes)

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except (ValueError, RuntimeError) as error:
            self._session.controller.failed.emit(str(error))

    def _toggle_batch(self) -> None:
        self.batch.setVisible(self.show_batch.isChecked())

    def _set_preserve(self, is_on: bool) -> None:
        binding = self._session.active
        if binding is not None:
            binding.masks.preserve = is_on
