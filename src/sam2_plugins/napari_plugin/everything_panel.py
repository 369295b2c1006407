"""Everything on the slice: the button, and how good a mask has to be."""

from qtpy.QtWidgets import QDoubleSpinBox

from sam2_plugins.napari_plugin.everything import AUTO, Thresholds
from sam2_plugins.napari_plugin.forms import Panel, button, fit_spin_box
from sam2_plugins.napari_plugin.viewer_session import ViewerSession


class EverythingPanel(Panel):
    """Finds everything; the thresholds are what suits the model until a person changes them.

    Args:
        session: Of the viewer.
    """

    def __init__(self, session: ViewerSession) -> None:
        super().__init__()
        self._session = session
        self._usual = AUTO
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
        return Thresholds(self.predicted_iou.value() or None, self.stability.value() or None)

    def update_thresholds(self, status: object = None) -> None:
        """Show what suits the model that is loaded, unless a person has said otherwise."""
        config = self._session.controller.models.config
        if config is None or self.thresholds not in (AUTO, self._usual):
            return
        self._usual = Thresholds(config.min_predicted_iou, config.min_stability)
        self.predicted_iou.setValue(config.min_predicted_iou)
        self.stability.setValue(config.min_stability)

    def _find(self) -> None:
        controller = self._session.controller
        try:
            controller.find_everything(self.thresholds)
        except (ValueError, RuntimeError) as error:
            controller.failed.emit(str(error))


def share_box(tip: str) -> QDoubleSpinBox:
    """A field for a number up to 1, or for what suits the model."""
    made = QDoubleSpinBox()
    made.setRange(0, 1)
    made.setSpecialValueText("auto")
    made.setSingleStep(0.05)
    fit_spin_box(made)
    made.setToolTip(tip)
    return made
