"""A folder of stacks, propagated from labels by a process of its own."""

import json
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from qtpy.QtCore import QProcess
from qtpy.QtWidgets import QFileDialog, QLineEdit, QProgressBar

from sam2_plugins.napari_plugin.batch import LARGEST, WITH_LABELS, BatchEvent, find_pairs
from sam2_plugins.napari_plugin.exporting import FORMATS
from sam2_plugins.napari_plugin.forms import Panel, Words, button, fill_combo, narrow_combo
from sam2_plugins.napari_plugin.viewer_session import ViewerSession

SLICES = {
    "labelled slices": WITH_LABELS,
    "largest slice": LARGEST,
    "first slice": "first",
    "middle slice": "middle",
    "last slice": "last",
}
MAX_TOLD = 3
"""Of so many stacks it is told why they failed, and of so many why they were skipped."""
FOLDERS = {
    "images": "Stacks: files, or a folder of images each",
    "labels": "Labels of the same names: of one slice, or of all",
    "output": "Where masks go; what is there already is skipped",
}


class BatchPanel(Panel):
    """Chooses folders, and starts, follows and stops the process.

    Args:
        session: Of the viewer; its model is the one that is used.
    """

    def __init__(self, session: ViewerSession) -> None:
        super().__init__()
        self._session = session
        self.folders: dict[str, QLineEdit] = {}
        for name, tip in FOLDERS.items():
            line = self.folders[name] = QLineEdit()
            line.setPlaceholderText("a folder")
            line.setToolTip(tip)
            choose = button("…", partial(self._choose, name), tip="Choose a folder")
            self.add(name.capitalize(), line, choose, stretch=1)
        self.slices = narrow_combo("Labels there become prompts; each object is then propagated")
        fill_combo(self.slices, list(SLICES.items()), WITH_LABELS)
        self.add("Prompts from", self.slices, stretch=1)
        self.format = narrow_combo("What masks are written as")
        fill_combo(self.format, [(entry.title, entry.ending) for entry in FORMATS], ".tif")
        self.start = button("Run batch", self.run, tip="Images without labels are left out")
        self.add("Write", self.format, self.start, stretch=1)
        self.progress = QProgressBar()
        self.stop = button("Stop", self.cancel, tip="Stacks that are done stay")
        self._progress_row = self.add(self.progress, self.stop, stretch=0)
        self.report = Words()
        self.column.addWidget(self.report)
        self.process: QProcess | None = None
        self._counts = {"done": 0, "skipped": 0, "failed": 0}
        self._total = 0
        self._failures: list[str] = []
        self._skipped: list[str] = []
        self._progress_row.hide()
        self.report.hide()

    def run(self) -> None:
        """Start the process."""
        if self.process is not None:
            return
        images, labels, out = (Path(x.text()).expanduser() for x in self.folders.values())
        self._counts = dict.fromkeys(self._counts, 0)
        self._failures, self._skipped = [], []
        try:
            if not all(line.text() for line in self.folders.values()):
                raise ValueError("choose a folder of images, one of labels and one for the masks")
            self._total = len(find_pairs(images, labels, out))
        except (ValueError, OSError) as error:
            self._say(str(error))
            return
        choice = self._session.controller.models.choice
        options = [
            *("--ending", str(self.format.currentData()), "--slice", self.slices.currentData()),
            *("--model", choice.name, "--device", choice.device, "--dtype", choice.dtype),
            *(() if choice.checkpoint is None else ("--checkpoint", choice.checkpoint)),
            *(() if choice.image_size is None else ("--image-size", str(choice.image_size))),
        ]
        module = ["-m", "sam2_plugins.napari_plugin.batch"]
        process = self.process = QProcess(self)
        process.readyReadStandardOutput.connect(self._read)
        process.finished.connect(self._on_finished)
        process.errorOccurred.connect(self._on_error)
        process.start(sys.executable, [*module, str(images), str(labels), str(out), *options])
        self.start.setEnabled(False)
        self.progress.setMaximum(0)
        self._progress_row.show()
        self._say(f"0 of {self._total} stacks")

    def cancel(self) -> None:
        """Stop the process; stacks that are done stay, half a stack is not written."""
        if self.process is not None:
            self.process.kill()

    def release(self) -> None:
        """The widget is going, and the process with it."""
        super().release()
        # Qt may have ended it already, with the widget that it belonged to.
        with suppress(RuntimeError):
            self.cancel()

    def _choose(self, name: str) -> None:
        path = QFileDialog.getExistingDirectory(self, f"Folder of {name}")
        if path:
            self.folders[name].setText(path)

    def _read(self) -> None:
        process = self.process
        while process is not None and process.canReadLine():
            self._take(BatchEvent(**json.loads(process.readLine().data())))

    def _take(self, event: BatchEvent) -> None:
        if event.state == "slice":
            self.progress.setMaximum(event.total)
            self.progress.setValue(event.done)
            return
        if event.state in self._counts:
            self._counts[event.state] += 1
        if event.state == "failed":
            self._failures.append(f"{event.name}: {event.text}" if event.name else event.text)
        if event.state == "skipped":
            self._skipped.append(f"skipped {event.name}: {event.text}")
        num_done = sum(self._counts.values())
        self._say(f"{num_done} of {self._total} stacks", *self._failures[-MAX_TOLD:])

    def _on_finished(self, code: int = 0, status: object = None) -> None:
        process = self.process
        if process is None:
            return
        self._read()
        if code and not self._failures:
            said = bytes(process.readAllStandardError().data()).decode(errors="replace")
            was_stopped = status == QProcess.ExitStatus.CrashExit
            last = "stopped" if was_stopped else said.strip().rpartition("\n")[2]
            self._failures.append(last)
        self.process = None
        process.deleteLater()
        self._progress_row.hide()
        self.start.setEnabled(True)
        words = [f"{count} {state}" for state, count in self._counts.items() if count]
        told = [*self._failures[-MAX_TOLD:], *self._skipped[:MAX_TOLD]]
        if num_more := len(self._skipped[MAX_TOLD:]):
            told.append(f"and {num_more} more skipped")
        self._say(", ".join(words) or "nothing done", *told)

    def _on_error(self, error: object) -> None:
        if error == QProcess.ProcessError.FailedToStart and self.process is not None:
            self._failures.append(self.process.errorString())
            self._on_finished(1)

    def _say(self, *lines: str) -> None:
        self.report.setText("\n".join(lines))
        self.report.show()
