"""Which image, which channels, which resolution, and along which axis."""

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem

from sam2_plugins.napari_plugin.axes import axis_title, walkable_axes
from sam2_plugins.napari_plugin.axes_panel import AxesPanel
from sam2_plugins.napari_plugin.forms import Panel, fill_combo, narrow_combo, notice, say
from sam2_plugins.napari_plugin.frames import MAX_CHANNELS
from sam2_plugins.napari_plugin.image_layers import finest_level, level_arrays
from sam2_plugins.napari_plugin.viewer_session import ViewerSession

if TYPE_CHECKING:
    from napari.layers import Image

MAX_LIST_ROWS = 3


class ImagePanel(Panel):
    """The image that is worked on.

    Args:
        session: Of the viewer.
    """

    def __init__(self, session: ViewerSession) -> None:
        super().__init__()
        self._session = session
        self.image = narrow_combo("The image layer to segment")
        self.level = narrow_combo("Resolution level that is segmented: 0 is the finest")
        self.axis = narrow_combo("Masks are carried from slice to slice along this axis")
        self.channels = QListWidget()
        self.channels.setToolTip(
            f"What the model sees as red, green and blue: {MAX_CHANNELS} at most"
        )
        self.notice = notice()
        self.add("Image", self.image, stretch=1)
        self._level_row = self.add("Level", self.level, stretch=1)
        self._channel_row = self.add("Channels", self.channels, stretch=1)
        self._axis_row = self.add("Propagate along", self.axis, stretch=1)
        self.axes = AxesPanel(session)
        self.column.addWidget(self.axes)
        self.column.addWidget(self.notice)
        self.image.activated.connect(self._choose_image)
        self.level.activated.connect(self._choose)
        self.axis.activated.connect(self._choose_axis)
        self.channels.itemChanged.connect(self._choose)
        self.listen(session.image_changed, self.update_entries)
        self.listen(session.problem_changed, self._on_problem)
        self.listen(session.controller.plane_changed, self.update_axis)
        self._is_helping = False
        self._on_problem()

    def update_entries(self) -> None:
        """Show the layers that there are."""
        session = self._session
        binding = session.active
        images = session.images()
        first = None if binding is None else binding.images[0]
        fill_combo(self.image, [(layer.name, layer) for layer in images], first)
        levels = [] if first is None else level_arrays(first)
        finest = 0 if first is None else finest_level(first)
        entries = [(_level_text(i, a), i) for i, a in enumerate(levels) if i >= finest]
        fill_combo(self.level, entries, finest if binding is None else binding.level)
        self._level_row.setVisible(len(levels) > 1)
        self._fill_channels(self._channel_entries(images, first))
        self.update_axis()

    def update_axis(self) -> None:
        """Show the axes that could be walked, and what is wrong with the view."""
        binding, plane = self._session.active, self._session.controller.plane
        axes = []
        if plane is not None and binding is not None:
            shown = plane.y_axis, plane.x_axis
            axes = walkable_axes(plane.shape, shown, plane.channel_axis)
            labels = binding.document.stack.axis_labels
            entries = [(f"{axis_title(labels, a)} ({plane.shape[a]} slices)", a) for a in axes]
            fill_combo(self.axis, entries, plane.frame_axis)
        self._axis_row.setVisible(len(axes) > 1)
        say(self.notice, self._session.problem or ("" if binding is None else binding.problem))

    def _channel_entries(
        self, images: "list[Image]", first: "Image | None"
    ) -> "list[tuple[str, Image | int, bool]]":
        """Channels along an axis, or layers that are channels: what, and whether it is used."""
        binding = self._session.active
        if binding is None or first is None or first.rgb:
            return []
        stack = binding.document.stack
        if stack.channel_axis is not None:
            label, length = stack.axis_labels[stack.channel_axis], stack.shape[stack.channel_axis]
            return [(f"{label} {c}", c, c in stack.channels) for c in range(length)]
        shape = level_arrays(first)[0].shape
        return [
            (layer.name, layer, any(layer is image for image in binding.images))
            for layer in images
            if layer is not first and not layer.rgb and level_arrays(layer)[0].shape == shape
        ]

    def _fill_channels(self, entries: "list[tuple[str, Image | int, bool]]") -> None:
        with QSignalBlocker(self.channels):
            self.channels.clear()
            for text, what, is_used in entries:
                item = QListWidgetItem(text)
                item.setData(Qt.ItemDataRole.UserRole, what)
                item.setCheckState(Qt.CheckState.Checked if is_used else Qt.CheckState.Unchecked)
                self.channels.addItem(item)
        height = self.channels.sizeHintForRow(0) if entries else 0
        self.channels.setMaximumHeight(min(len(entries), MAX_LIST_ROWS) * height + 6)
        self._channel_row.setVisible(bool(entries))

    def _choose_image(self) -> None:
        layer = self.image.currentData()
        if layer is not None:
            self._session.choose([layer], level=finest_level(layer))

    def _on_problem(self) -> None:
        """Help where that is possible: take a level of a pyramid that can be drawn on."""
        session = self._session
        images = session.images()
        if session.active is None and images and not self._is_helping:
            selected = session.viewer.layers.selection.active
            layer = selected if selected in images else images[0]
            if level := finest_level(layer):
                self._is_helping = True
                session.choose([layer], level=level)
                self._is_helping = False
        self.update_entries()

    def _choose(self) -> None:
        layer, binding = self.image.currentData(), self._session.active
        if layer is None or binding is None:
            return
        items = [self.channels.item(i) for i in range(self.channels.count())]
        checked = [
            item.data(Qt.ItemDataRole.UserRole)
            for item in items
            if item is not None and item.checkState() == Qt.CheckState.Checked
        ]
        level = self.level.currentData()
        level = finest_level(layer) if level is None else level
        if binding.document.stack.channel_axis is None:
            self._session.choose([layer, *checked], level=level)
        elif level != binding.level:
            self._session.choose([layer], level=level)
        else:
            self._choose_channels(checked)

    def _choose_channels(self, channels: list[int]) -> None:
        """See other channels of the axis; what was said stays."""
        try:
            self._session.controller.set_channels(channels)
        except ValueError as error:
            self._session.controller.failed.emit(str(error))
        self.update_entries()

    def release(self) -> None:
        """Listen to nothing any more."""
        self.axes.release()
        super().release()

    def _choose_axis(self) -> None:
        binding = self._session.active
        if binding is not None:
            binding.frame_axis = self.axis.currentData()
            binding.update_view()


def _level_text(level: int, array: Any) -> str:
    size = " x ".join(str(side) for side in array.shape)
    return f"{level}: {size}" + ("" if level else ", full resolution")
