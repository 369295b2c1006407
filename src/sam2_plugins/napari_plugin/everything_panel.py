"""Everything on the slice: the button, and how good a mask has to be."""

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QDoubleSpinBox

from sam2_plugins.napari_plugin.everything import Thresholds, usual_thresholds
from sam2_plugins.napari_plugin.forms import Panel, button, fit_spin_box
from sam2_plugins.napari_plugin.viewer_session import ViewerSession


class EverythingPanel(Panel):
    """Finds everything; the thresholds are those of the model until a person changes them.

    Args:
        session: Of the viewer.
    """

    def __init__(self, session: ViewerSession) -> None:
        super().__init__()
        self._session = session
        self._network = ""
        self.start = button(
            "Everything on slice",
            self._find,
            tip="Each mask that is found becomes a new object; then propagate them all",
        )
        self.predicted_iou = share_box("What the model itself thinks of a mask; lower finds more")
        self.stability = share_box("How sharply a mask is outlined; lower finds more")
        self.column.addWidget(self.start)
        self.add("from IoU", self.predicted_iou, "and stability", self.stability)
        self.listen(session.controller.objects_changed, self.update_thresholds)
        self.listen(session.controller.status_changed, self.update_thresholds)
        self.update_thresholds()

    @property
    def thresholds(self) -> Thresholds:
        """What is set."""
        return Thresholds(self.predicted_iou.value(), self.stability.value())

    def update_thresholds(self, status: object = None) -> None:
        """Show what is usual for the model, when it is another."""
        network = self._session.controller.models.network
        if network == self._network:
            return
        self._network = network
        usual = usual_thresholds(network)
        for box, value in (
            (self.predicted_iou, usual.predicted_iou),
            (self.stability, usual.stability),
        ):
            with QSignalBlocker(box):
                box.setValue(value)

    def _find(self) -> None:
        controller = self._session.controller
        try:
            controller.find_everything(self.thresholds)
        except (ValueError, RuntimeError) as error:
            controller.failed.emit(str(error))


def share_box(tip: str) -> QDoubleSpinBox:
    """A field for a number from 0 to 1."""
    made = QDoubleSpinBox()
    made.setRange(0, 1)
    made.setSingleStep(0.05)
    fit_spin_box(made)
    made.setToolTip(tip)
    return made
