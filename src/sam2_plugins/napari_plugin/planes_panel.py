"""Large planes: whether objects are followed through windows at full resolution."""

from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox

from sam2_plugins.napari_plugin.forms import Panel, fit_spin_box
from sam2_plugins.napari_plugin.frames import LargePlanes
from sam2_plugins.napari_plugin.viewer_session import ViewerSession

TIP = (
    "Each object is seen through a window that follows it at full resolution, "
    "where the plane is much larger than the model's input"
)


class PlanesPanel(Panel):
    """The switch, and from which size on.

    Args:
        session: Of the viewer.
    """

    def __init__(self, session: ViewerSession) -> None:
        super().__init__()
        self._session = session
        large = session.controller.large_planes
        self.is_on = QCheckBox("Follow objects in planes above")
        self.is_on.setToolTip(TIP)
        self.is_on.setChecked(large.is_on)
        self.sides = QDoubleSpinBox()
        self.sides.setRange(1, 99)
        self.sides.setDecimals(1)
        self.sides.setSuffix(" x input")
        self.sides.setToolTip("The plane's longer side, in sides of the model's input")
        self.sides.setValue(large.sides)
        self.sides.setEnabled(large.is_on)
        fit_spin_box(self.sides)
        self.add(self.is_on, self.sides, stretch=0)
        self.is_on.toggled.connect(self._choose)
        # Once it is typed, not at every digit: all prompts are answered anew.
        self.sides.editingFinished.connect(self._choose)

    def _choose(self) -> None:
        self.sides.setEnabled(self.is_on.isChecked())
        chosen = LargePlanes(self.is_on.isChecked(), self.sides.value())
        self._session.controller.set_large_planes(chosen)
