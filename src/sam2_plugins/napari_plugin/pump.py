"""Hands the worker's answers over in the window's thread, not more often than is seen."""

from contextlib import suppress

from qtpy.QtCore import QObject, Qt, QTimer, Signal  # type: ignore[attr-defined]

from sam2_plugins.napari_plugin.controller import Controller

RUNNING_MS = 100
CLICKING_MS = 15


class Pump(QObject):
    """Calls `controller.process` soon after the worker has something to say.

    Args:
        controller: Closed when the window that owns the pump is destroyed.
        parent: The window.
    """

    _woken = Signal()

    def __init__(self, controller: Controller, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._is_woken = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._process)
        self._woken.connect(self._on_woken, Qt.ConnectionType.QueuedConnection)
        controller.on_wake = self._wake
        self.destroyed.connect(lambda: controller.close())
        if controller.is_busy:
            self._wake()

    def _wake(self) -> None:
        """Called in the worker's thread."""
        if not self._is_woken or self._controller.is_awaited:
            self._is_woken = True
            # The window may have been destroyed a moment ago.
            with suppress(RuntimeError):
                self._woken.emit()

    def _on_woken(self) -> None:
        if not (self._timer.isActive() and self._can_wait()):
            self._process()

    def _process(self) -> None:
        self._is_woken = False
        is_more = self._controller.process()
        if is_more:
            self._is_woken = True
        if is_more or self._controller.is_busy:
            self._timer.start(RUNNING_MS if self._can_wait() else CLICKING_MS)

    def _can_wait(self) -> bool:
        """A run's slices are shown several at a time; for anything else, somebody waits."""
        return self._controller.is_running and not self._controller.is_awaited
