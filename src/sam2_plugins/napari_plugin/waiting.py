"""Work that a person has to wait for, done beside the window, which goes on living."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")
Told = Callable[[float], None]

AT_ONCE_S = 0.1
"""What takes less is waited for without a word."""
LOOK_MS = 30
STEPS = 1000


class GivenUpError(RuntimeError):
    """A person did not want to wait any longer."""


def wait_for(job: Callable[[Told], Result], text: str) -> Result:
    """What a job returns. Where a window lives it is drawn meanwhile, and says how far this is.

    Args:
        job: Calls what it is given, again and again, with the share that is done, 0 to 1: that
            ends it where a person has cancelled it.
        text: What is being done.

    Raises:
        GivenUpError: It was cancelled.
    """
    if not _is_in_window():
        return job(lambda share: None)
    awaited = _Awaited(job, text)
    awaited.thread.start()
    awaited.thread.join(AT_ONCE_S)
    if awaited.thread.is_alive():
        _show(awaited, text)
    return awaited.result()


def _is_in_window() -> bool:
    """Whether this is the thread of a window; without Qt there is none."""
    try:
        from qtpy.QtCore import QThread
        from qtpy.QtWidgets import QApplication
    except ImportError:
        return False
    app = QApplication.instance()
    return app is not None and app.thread() is QThread.currentThread()


class _Awaited(Generic[Result]):
    """A job in a thread of its own."""

    def __init__(self, job: Callable[[Told], Result], text: str) -> None:
        self.share = 0.0
        self.is_cancelled = False
        self.thread = threading.Thread(target=self._run, args=(job,), name="sam2-wait", daemon=True)
        self._text = text
        self._results: list[Result] = []
        self._error: BaseException | None = None

    def result(self) -> Result:
        """What the job has returned; raises what it has raised."""
        if self._error is not None:
            raise self._error
        return self._results[0]

    def cancel(self) -> None:
        """End the job the next time that it tells how far it is."""
        self.is_cancelled = True

    def _tell(self, share: float) -> None:
        if self.is_cancelled:
            raise GivenUpError(f"{self._text}: cancelled")
        self.share = share

    def _run(self, job: Callable[[Told], Result]) -> None:
        try:
            self._results.append(job(self._tell))
        except BaseException as error:
            self._error = error


def _show(awaited: _Awaited[Result], text: str) -> None:
    """Say that a job is being done, until it is over; nothing else can be begun meanwhile."""
    from qtpy.QtCore import QEventLoop, QTimer
    from qtpy.QtWidgets import QApplication, QMainWindow, QProgressDialog

    loop, timer = QEventLoop(), QTimer()
    windows = (w for w in QApplication.topLevelWidgets() if isinstance(w, QMainWindow))
    parent = QApplication.activeWindow() or next((w for w in windows if w.isVisible()), None)
    dialog = QProgressDialog(f"{text} …", "Cancel", 0, STEPS, parent)
    dialog.setWindowTitle("SAM 2")
    dialog.setModal(True)
    dialog.setMinimumDuration(0)
    dialog.setAutoClose(False)
    dialog.setAutoReset(False)
    dialog.canceled.connect(awaited.cancel)

    def look() -> None:
        if not awaited.thread.is_alive():
            loop.quit()
            return
        if not awaited.is_cancelled:
            # This lets events through: the timer, too, if it ran.
            dialog.setValue(round(awaited.share * STEPS))
        timer.start(LOOK_MS)

    timer.setSingleShot(True)
    timer.timeout.connect(look)
    timer.start(LOOK_MS)
    loop.exec()
    dialog.hide()
    dialog.deleteLater()
