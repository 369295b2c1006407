"""Where the model runs and how precisely, weights of one's own, and the memory that is in use."""

from qtpy.QtWidgets import QFileDialog, QLabel

from sam2_plugins.napari_plugin.forms import Panel, button, fill_combo, narrow_combo
from sam2_plugins.napari_plugin.models import ModelChoice
from sam2_plugins.napari_plugin.viewer_session import ViewerSession

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
FILES = "Weights (*.pt *.safetensors)"


class AdvancedPanel(Panel):
    """Choices that most people never make.

    Args:
        session: Of the viewer.
    """

    def __init__(self, session: ViewerSession) -> None:
        super().__init__()
        self._session = session
        self.device = narrow_combo("auto is the first that is there of cuda, mps and cpu")
        self.precision = narrow_combo("auto is bfloat16 where the device is faster with it")
        self.weights = button("Weights of my own…", self._choose_file, tip=FILES)
        self.memory = QLabel()
        self.update_choice()
        self.add("Device", self.device, stretch=1)
        self.add("Precision", self.precision, stretch=1)
        self.add(self.weights, self.memory, stretch=1)
        self.device.activated.connect(self._choose)
        self.precision.activated.connect(self._choose)
        self.listen(session.controller.status_changed, self.update_memory)
        self.listen(session.controller.failed, self.update_choice)
        self.update_memory()

    def update_choice(self, failure: str = "") -> None:
        """Show what is chosen; where it could not be had, that is what was there before."""
        wanted = self._session.controller.models.wanted
        fill_combo(self.device, [(name, name) for name in DEVICES], wanted.device)
        fill_combo(self.precision, [(name, name) for name in PRECISIONS], wanted.dtype)

    def update_memory(self, status: object = None) -> None:
        """Say how much memory the model has."""
        used = self._session.controller.models.memory_bytes()
        self.memory.setText("" if used is None else f"{used / 2**20:.0f} MiB in use")

    def _choose(self) -> None:
        old = self._session.controller.models.wanted
        self._use(
            ModelChoice(
                old.name, old.checkpoint, self.device.currentData(), self.precision.currentData()
            )
        )

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Weights", "", FILES)
        if path:
            old = self._session.controller.models.wanted
            self._use(ModelChoice(old.name, path, old.device, old.dtype))

    def _use(self, choice: ModelChoice) -> None:
        if choice != self._session.controller.models.wanted:
            self._session.controller.choose_model(choice)
