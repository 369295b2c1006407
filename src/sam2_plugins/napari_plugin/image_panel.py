"""Which image, which channels, which resolution, and along which axis."""

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem

from sam2_plugins.napari_plugin.forms import Panel, fill_combo, narrow_combo, notice, say
from sam2_plugins.napari_plugin.image_layers import level_arrays
from sam2_plugins.napari_plugin.layers import walkable_axes
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
        self.level = narrow_combo("Resolution level: 0 is the finest")
        self.axis = narrow_combo("Masks are carried from slice to slice along this axis")
        self.channels = QListWidget()
        self.channels.setToolTip("Image layers of the same shape that are channels of this one")
        self.notice = notice()
        self.add("Image", self.image, stretch=1)
        self._level_row = self.add("Level", self.level, stretch=1)
        self._channel_row = self.add("Channels", self.channels, stretch=1)
        self._axis_row = self.add("Propagate along", self.axis, stretch=1)
        self.column.addWidget(self.notice)
        self.image.activated.connect(self._choose_image)
        self.level.activated.connect(self._choose)
        self.axis.activated.connect(self._choose_axis)
        self.channels.itemChanged.connect(self._choose)
        self.listen(session.image_changed, self.update_entries)
        self.listen(session.problem_changed, self.update_entries)
        self.listen(session.controller.plane_changed, self.update_axis)
        self.update_entries()

    def update_entries(self) -> None:
        """Show the layers that there are."""
        session = self._session
        binding = session.active
        images = session.images()
        first = None if binding is None else binding.images[0]
        fill_combo(self.image, [(layer.name, layer) for layer in images], first)
        levels = [] if first is None else level_arrays(first)
        entries = [(f"{i}: {' x '.join(map(str, a.shape))}", i) for i, a in enumerate(levels)]
        fill_combo(self.level, entries, 0 if binding is None else binding.level)
        self._level_row.setVisible(len(levels) > 1)
        self._fill_channels(images, first)
        self.update_axis()

    def update_axis(self) -> None:
        """Show the axes that could be walked, and what is wrong with the view."""
        binding, plane = self._session.active, self._session.controller.plane
        axes = []
        if plane is not None and binding is not None:
            axes = walkable_axes(plane.shape, (plane.y_axis, plane.x_axis))
            labels = binding.document.stack.axis_labels
            entries = [(f"{labels[a]} ({plane.shape[a]} slices)", a) for a in axes]
            fill_combo(self.axis, entries, plane.frame_axis)
        self._axis_row.setVisible(len(axes) > 1)
        say(self.notice, self._session.problem or ("" if binding is None else binding.problem))

    def _fill_channels(self, images: "list[Image]", first: "Image | None") -> None:
        binding = self._session.active
        alike = []
        if first is not None and not first.rgb:
            alike = [
                layer
                for layer in images
                if layer is not first
                and not layer.rgb
                and level_arrays(layer)[0].shape == level_arrays(first)[0].shape
            ]
        self.channels.blockSignals(True)
        self.channels.clear()
        for layer in alike:
            item = QListWidgetItem(layer.name)
            item.setData(Qt.ItemDataRole.UserRole, layer)
            is_used = binding is not None and any(layer is image for image in binding.images)
            item.setCheckState(Qt.CheckState.Checked if is_used else Qt.CheckState.Unchecked)
            self.channels.addItem(item)
        self.channels.blockSignals(False)
        height = self.channels.sizeHintForRow(0) if alike else 0
        self.channels.setMaximumHeight(min(len(alike), MAX_LIST_ROWS) * height + 6)
        self._channel_row.setVisible(bool(alike))

    def _choose_image(self) -> None:
        layer = self.image.currentData()
        if layer is not None:
            self._session.choose([layer])

    def _choose(self) -> None:
        layer = self.image.currentData()
        if layer is None:
            return
        items = [self.channels.item(i) for i in range(self.channels.count())]
        checked = [
            item.data(Qt.ItemDataRole.UserRole)
            for item in items
            if item is not None and item.checkState() == Qt.CheckState.Checked
        ]
        self._session.choose([layer, *checked], level=self.level.currentData() or 0)

    def _choose_axis(self) -> None:
        binding = self._session.active
        if binding is not None:
            binding.frame_axis = self.axis.currentData()
            binding.update_view()
