"""What goes on behind the controller: the worker, its answers, and how they are handed over."""

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from sam2_plugins.napari_plugin.document import Document, Step
from sam2_plugins.napari_plugin.engine import Engine
from sam2_plugins.napari_plugin.frames import LargePlanes
from sam2_plugins.napari_plugin.journal import Saved
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.messages import (
    Carried,
    Failure,
    Known,
    Outbox,
    Progress,
    Restorable,
    RunEnded,
    Status,
    Suggestion,
)
from sam2_plugins.napari_plugin.models import (
    Download,
    ModelChoice,
    ModelHolder,
    describe_models,
)
from sam2_plugins.napari_plugin.prompts import SlicePrompts
from sam2_plugins.napari_plugin.session import FrameLabels
from sam2_plugins.napari_plugin.worker import Job, SerialWorker

if TYPE_CHECKING:
    from pathlib import Path

    from sam2_plugins.core import SAM2

PROCESS_BUDGET_S = 0.02
ASLEEP_S = 0.005


class Background:
    """One worker for all images, and what it answers.

    Args:
        model: Loaded already; otherwise it is loaded at the first prompt.
        loader: Loads a `ModelChoice` in place of `models.load`.
    """

    masks_changed = Signal(Document, FrameLabels)
    prompts_changed = Signal()
    objects_changed = Signal()
    scores_changed = Signal()
    status_changed = Signal(Status)
    progressed = Signal(Progress)
    run_ended = Signal(RunEnded)
    failed = Signal(str)
    suggested = Signal(Suggestion)
    plane_changed = Signal()
    slice_changed = Signal()
    stepped = Signal(Step)
    processed = Signal()
    restorable = Signal(Document)
    downloading = Signal(Download)
    models_listed = Signal(tuple)

    def __init__(
        self,
        model: "SAM2 | None" = None,
        *,
        loader: Callable[[ModelChoice], "SAM2"] | None = None,
    ) -> None:
        self.models = ModelHolder(model, loader)
        self.document: Document | None = None
        self.plane: Plane | None = None
        self.slice_index = 0
        self.status = Status("no image")
        self.on_wake: Callable[[], None] | None = None
        self.autosave_folder: Path | None = None
        self.large_planes = LargePlanes()
        self._worker = SerialWorker()
        self._outbox = Outbox(self._wake)
        self.models.on_download = self._outbox.post
        self._engines: dict[Document, Engine] = {}
        self._is_closed = False

    @property
    def is_running(self) -> bool:
        """Whether a run goes on or waits."""
        return self._worker.is_running_long

    @property
    def is_busy(self) -> bool:
        """Whether anything is being computed, or has not been handed over yet."""
        # In this order: what the worker leaves, it leaves before it says that it is done.
        return self._worker.is_busy or (not self._is_closed and bool(self._outbox))

    def process(self, budget_s: float = PROCESS_BUDGET_S) -> bool:
        """Hand over answers in this thread; returns whether any are left."""
        until = time.monotonic() + budget_s
        while (letter := self._outbox.take()) is not None:
            self._hand_over(*letter)
            if time.monotonic() > until:
                break
        self.processed.emit()
        return bool(self._outbox)

    def wait(self, timeout_s: float = 300.0) -> None:
        """Hand over answers until there is nothing left to do.

        Raises:
            TimeoutError: That took too long.
        """
        until = time.monotonic() + timeout_s
        while self.is_busy:
            if not self.process():
                time.sleep(ASLEEP_S)
            if time.monotonic() > until:
                raise TimeoutError(f"still busy after {timeout_s:g} s")

    def cancel(self) -> None:
        """Stop the run within a slice; what is finished stays."""
        self._worker.cancel()

    def redraw(self, document: Document) -> None:
        """Draw all that is known of an image again."""
        engine = self._engines[document]
        self._submit_and_redraw(lambda: engine.planes, engine)

    def close(self, timeout_s: float | None = None) -> None:
        """Stop everything; what is finished stays on the layers."""
        self._is_closed = True
        self.on_wake = None
        self.models.cancel()
        self._worker.cancel()
        self._worker.stop(timeout_s)

    # Inside

    @property
    def _open_document(self) -> Document:
        if self.document is None:
            raise RuntimeError("no image is open: choose an image layer in the SAM 2 widget first")
        return self.document

    @property
    def _shown_plane(self) -> Plane:
        if self.plane is None:
            raise RuntimeError("no plane of the image is on show")
        return self.plane

    @property
    def _engine(self) -> Engine:
        return self._engines[self._open_document]

    def _wake(self) -> None:
        on_wake = self.on_wake
        if on_wake is not None:
            on_wake()

    def _record(self, step: Step) -> None:
        document = self._open_document
        document.done.append(step)
        document.undone.clear()
        self.stepped.emit(step)
        self._autosave(document)

    def _do(self, step: Step, job: Job) -> None:
        self._record(step)
        self._worker.submit(job)
        self.objects_changed.emit()

    def _autosave(self, document: Document, *, with_trackers: bool = False) -> None:
        """Write what was said now, and what the trackers know when there is time."""
        engine = self._engines.get(document)
        if engine is None or self._is_closed or self.autosave_folder is None:
            return

        said = document.snapshot()

        def write() -> None:
            if engine.journal is not None:
                engine.save(engine.journal.describe(said))

        self._worker.submit(write)
        if with_trackers:
            # They need longer; until then what was said and the finished slices are enough.
            self._worker.when_idle(engine.save, "save")

    def _after_edit(self) -> None:
        if self.document is not None:
            self._autosave(self.document)
        self.prompts_changed.emit()
        self.objects_changed.emit()
        self.scores_changed.emit()

    def _submit_and_redraw(
        self, job: Callable[[], list[Plane]], engine: Engine | None = None
    ) -> None:
        engine = engine or self._engine

        def work() -> None:
            for plane in job():
                self._redraw(engine, plane)

        self._worker.submit(work)

    def _redraw(self, engine: Engine, plane: Plane, frames: list[int] | None = None) -> None:
        if self._is_closed:
            return
        left = engine.redraw(plane, frames)
        if left:
            # In small jobs, so that a click is answered in between.
            self._worker.submit(partial(self._redraw, engine, plane, left))

    def _load(self) -> None:
        self._outbox.post(Status("loading model", is_working=True))
        try:
            self.models.get()
        except Exception as error:
            self._outbox.post(Failure(str(error)))
        self._outbox.post(Status("ready"))

    def _unload(self) -> None:
        try:
            for engine in list(self._engines.values()):
                engine.rest()
            self.models.unload()
        except Exception as error:
            self._outbox.post(Failure(f"the model stays loaded: {error}"))
        self._outbox.post(Status("ready"))

    def _list_models(self) -> None:
        try:
            self._outbox.post(describe_models())
        except Exception as error:
            self._outbox.post(Failure(str(error)))

    def _hand_over(self, document: Document | None, message: Any) -> None:
        if isinstance(message, Status):
            self.status = message
            self.status_changed.emit(message)
        elif isinstance(message, Progress):
            self.progressed.emit(message)
        elif isinstance(message, Suggestion):
            self.suggested.emit(message)
        elif isinstance(message, Download):
            self.downloading.emit(message)
        elif isinstance(message, tuple):
            self.models_listed.emit(message)
        elif isinstance(message, Failure) and document is None:
            self.failed.emit(message.message)
        elif document is not None and document in self._engines:
            # Otherwise it is what is left to say of an image that was closed.
            self._hand_to(document, message)

    def _hand_to(self, document: Document, message: Any) -> None:
        if isinstance(message, FrameLabels):
            document.take_scores(message.plane, message.frame_index, message.scores)
            self.masks_changed.emit(document, message)
        elif isinstance(message, Known):
            before = document.knowledge.get(message.plane)
            document.knowledge[message.plane] = message.knowledge
            if before is None or before.confirmed != message.knowledge.confirmed:
                self._autosave(document)
            self.objects_changed.emit()
            self.scores_changed.emit()
        elif isinstance(message, Carried):
            was = document.prompts.get(message.key, SlicePrompts())
            message.step.before.setdefault(message.key, was)
            message.step.after[message.key] = message.prompts
            document.set_prompts({message.key: message.prompts})
        elif isinstance(message, RunEnded):
            self._end_run(document, message)
        elif isinstance(message, Failure):
            self._take_failure(document, message)
        elif isinstance(message, Saved):
            self._take_saved(document, message)
        elif isinstance(message, Restorable) and not document.prompts:
            self.restorable.emit(document)

    def _take_saved(self, document: Document, saved: Saved) -> None:
        document.prompts = dict(saved.prompts)
        document.objects = dict(saved.objects)
        document.current_object, document.ours = saved.current_object, set(saved.ours)
        document.knowledge = saved.knowledge()
        document.done.clear()
        document.undone.clear()
        self.stepped.emit(Step("restore"))
        self.prompts_changed.emit()
        self.objects_changed.emit()

    def _end_run(self, document: Document, ended: RunEnded) -> None:
        if document.done[-1:] == [ended.step] and not ended.num_frames:
            # Nothing came of it: there is nothing to undo.
            document.done.pop()
            engine = self._engines[document]
            self._submit_and_redraw(partial(engine.undo, ended.step), engine)
        self._autosave(document, with_trackers=True)
        self.run_ended.emit(ended)
        self.scores_changed.emit()
        self.objects_changed.emit()

    def _take_failure(self, document: Document, failure: Failure) -> None:
        if failure.restore:
            document.set_prompts(dict(failure.restore))
            if failure.step is not None and not failure.step.edits:
                document.done = [step for step in document.done if step is not failure.step]
            self.prompts_changed.emit()
            self.objects_changed.emit()
        self.failed.emit(failure.message)
