"""The dock widget: panels in one column. It shows a viewer's session and keeps nothing itself."""

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QFrame, QMainWindow, QScrollArea, QVBoxLayout, QWidget
from superqt import QCollapsible

from sam2_plugins.napari_plugin.advanced_panel import AdvancedPanel
from sam2_plugins.napari_plugin.autosave_panel import AutosavePanel
from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.earlier_panel import EarlierPanel
from sam2_plugins.napari_plugin.forms import Panel
from sam2_plugins.napari_plugin.image_panel import ImagePanel
from sam2_plugins.napari_plugin.model_panel import ModelPanel
from sam2_plugins.napari_plugin.object_panel import ObjectPanel
from sam2_plugins.napari_plugin.output_panel import OutputPanel
from sam2_plugins.napari_plugin.planes_panel import PlanesPanel
from sam2_plugins.napari_plugin.prompt_panel import PromptPanel
from sam2_plugins.napari_plugin.propagate_panel import PropagatePanel
from sam2_plugins.napari_plugin.pump import Pump
from sam2_plugins.napari_plugin.viewer_session import session_for

if TYPE_CHECKING:
    import napari

WIDTH = 320


class Sam2Widget(QWidget):
    """SAM 2 in a viewer.

    Args:
        viewer: The viewer; several widgets in one viewer show the same.
    """

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__()
        self.session = session_for(viewer)
        session = self.session
        self.image = ImagePanel(session)
        self.earlier = EarlierPanel(session)
        self.model = ModelPanel(session)
        self.prompt = PromptPanel(session)
        self.objects = ObjectPanel(session)
        self.propagate = PropagatePanel(session)
        self.output = OutputPanel(session)
        self.autosave = AutosavePanel(session)
        self.advanced = AdvancedPanel(session)
        self.planes = PlanesPanel(session)
        self._build()
        panels = self.findChildren(Panel)
        self.destroyed.connect(lambda: release_all(panels))
        if session.pump is None:
            session.pump = Pump(session.controller)
        self._pump: Pump = session.pump
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._settle_in)
        self._soon.start(0)
        # napari selects a layer after it has told that it was inserted.
        self.image.listen(session.image_chosen, self._come_back_soon)

    @property
    def controller(self) -> Controller:
        """What a person can do, without the window."""
        return self.session.controller

    def showEvent(self, event: QShowEvent | None) -> None:
        """Once it is in a window, the pump belongs to that: it goes on when the dock is closed."""
        super().showEvent(event)
        self._give_pump_to_window()

    def _come_back_soon(self) -> None:
        self._soon.start(0)

    def _settle_in(self) -> None:
        self._give_pump_to_window()
        active = self.session.viewer.layers.selection.active
        if self.session.active is not None and active in self.session.active.images:
            self.session.activate_points()

    def _give_pump_to_window(self) -> None:
        window = self.window()
        if isinstance(window, QMainWindow):
            self._pump.setParent(window)

    def _build(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(6, 4, 6, 4)
        shown = self.image, self.earlier, self.model, self.prompt, self.objects, self.propagate
        for panel in shown:
            column.addWidget(panel)
        column.addWidget(collapsible("Output", self.output, self.autosave))
        column.addWidget(collapsible("Advanced", self.advanced, self.planes))
        column.addStretch()
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(Column(content))


class Column(QScrollArea):
    """Scrolls up and down only: it is as wide as the widest row that is shown in it.

    Args:
        content: What is in it.
    """

    def __init__(self, content: QWidget) -> None:
        super().__init__()
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        content.installEventFilter(self)
        self._widen()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Rows come and go, and are called differently with other keys."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self._widen()
        return super().eventFilter(watched, event)

    def _widen(self) -> None:
        content, bar = self.widget(), self.verticalScrollBar()
        if content is not None and bar is not None:
            # A style can put a border around what is scrolled.
            border = self.width() - self.maximumViewportSize().width()
            room = content.minimumSizeHint().width() + bar.sizeHint().width() + border
            self.setMinimumWidth(max(WIDTH, room))


def release_all(panels: list[Panel]) -> None:
    """Let panels listen to nothing any more."""
    for panel in panels:
        panel.release()


def collapsible(title: str, *panels: Panel) -> QCollapsible:
    """Panels that are folded until they are wanted."""
    folded = QCollapsible(title)
    layout = folded.layout()
    if layout is not None:
        layout.setContentsMargins(0, 0, 0, 0)
    for panel in panels:
        folded.addWidget(panel)
    return folded
