"""What goes on behind the controller: the worker, and handing its answers over."""

import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sam2_plugins.napari_plugin.answers import Answers
from sam2_plugins.napari_plugin.document import Document, Step
from sam2_plugins.napari_plugin.engine import Engine
from sam2_plugins.napari_plugin.frames import LargePlanes
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.messages import READY, Failure, Made, Outbox, RunEnded, Status, Wish
from sam2_plugins.napari_plugin.model_holder import ModelHolder
from sam2_plugins.napari_plugin.models import ModelChoice, describe_models
from sam2_plugins.napari_plugin.runs import MakeSteps, Run
from sam2_plugins.napari_plugin.saving import Places
from sam2_plugins.napari_plugin.worker import SerialWorker

if TYPE_CHECKING:
    from sam2_plugins.core import SAM2

PROCESS_BUDGET_S = 0.02
ASLEEP_S = 0.005


class Background(Answers):
    """One worker for all images, and what it answers.

    Args:
        model: Loaded already; otherwise it is loaded at the first prompt.
        loader: Loads a `ModelChoice` in place of `models.load`.
    """

    def __init__(
        self,
        model: "SAM2 | None" = None,
        *,
        loader: Callable[[ModelChoice], "SAM2"] | None = None,
    ) -> None:
        super().__init__()
        self.models = ModelHolder(model, loader)
        self.on_wake: Callable[[], None] | None = None
        self.places = Places()
        self.large_planes = LargePlanes()
        self._worker = SerialWorker()
        self._worker.close = weakref.WeakMethod(self.close)
        self._outbox = Outbox(self._wake)
        self._runs: frozenset[Run] = frozenset()
        self.models.on_download = self._outbox.post
        self._is_closed = False

    @property
    def autosave_folder(self) -> Path | None:
        """Where the work on the image is saved; None for nowhere. Setting it is for new images."""
        saving = None if self.document is None else self.document.saving
        return self.places.folder if saving is None else saving.folder

    @autosave_folder.setter
    def autosave_folder(self, folder: Path | None) -> None:
        self.places = replace(self.places, folder=folder)

    def save_in(self, places: Places) -> None:
        """Save in other places from now on; what was saved of open images goes there too."""
        self.places = places
        for engine in self._engines.values():
            self._worker.submit(partial(engine.saver.move, places))

    @property
    def is_running(self) -> bool:
        """Whether a run goes on or waits."""
        return self._worker.is_running_long

    @property
    def is_awaited(self) -> bool:
        """Whether a run cannot go on before `process` was called."""
        return self._outbox.has_wish

    @property
    def is_busy(self) -> bool:
        """Whether anything is being computed, or has not been handed over yet."""
        # In this order: what the worker leaves, it leaves before it says that it is done.
        is_working = self._worker.is_busy or self.models.is_preparing
        return is_working or (not self._is_closed and bool(self._outbox))

    def process(self, budget_s: float = PROCESS_BUDGET_S) -> bool:
        """Hand over answers in this thread; returns whether there may be more at once."""
        until = time.monotonic() + budget_s
        while (letter := self._outbox.take()) is not None:
            self._hand_over(*letter)
            if time.monotonic() > until:
                break
        self.processed.emit()
        return letter is not None

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
        self._runs, self._doing = frozenset(), None
        self._worker.cancel()

    def redraw(self, document: Document) -> None:
        """Draw all that is known of an image again."""
        engine = self._engines[document]
        self._submit_and_redraw(lambda: engine.planes, engine)

    def close(self, timeout_s: float | None = None) -> None:
        """Stop everything; what is finished stays on the layers, and what was said is saved."""
        if self._is_closed:
            return
        self._is_closed, self._runs = True, frozenset()
        self.on_wake = None
        self.models.cancel()
        self._worker.cancel()
        said = [(engine, known.snapshot()) for known, engine in self._engines.items()]

        def save() -> None:
            # Trackers take longer, and nobody may wait for them.
            for engine, document in said:
                engine.saver.say_last(document)
            for engine, _ in said:
                engine.finish()

        self._worker.stop(timeout_s, last=save)

    # Inside

    @property
    def _open_document(self) -> Document:
        if self.document is None:
            raise RuntimeError("no image is open: choose an image layer in the SAM 2 widget first")
        return self.document

    @property
    def _shown_plane(self) -> Plane:
        if self.plane is None:
            raise RuntimeError(
                "no slice of the image is on show: its notice in the widget says why"
            )
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
        document.record(step)
        self.stepped.emit(step)
        self._autosave(document)

    def _do(self, step: Step, job: Callable[[], list[Plane]]) -> None:
        """Record a step, and have its edits made.

        The trackers take edits back in the order in which they were made, and steps are undone in
        the order in which they were recorded: therefore every edit of a step comes from here or
        from `_take_wish`.
        """
        self._record(step)
        self._make(step, job, self._engine)
        self.objects_changed.emit()

    def _make(self, step: Step, job: Callable[[], list[Plane]], engine: Engine) -> None:
        step.num_jobs += 1

        def make() -> list[Plane]:
            try:
                return job()
            finally:
                engine.post(Made(step))

        self._submit_and_redraw(make, engine)

    def _start(self, step: Step, make: MakeSteps, *, doing: str) -> None:
        """Begin a run; its edits belong to a step."""
        self._record(step)
        self._doing = Status(doing, is_working=True)
        self._hand_over(None, self._doing)
        step.num_jobs += 1
        run = Run(self._engine, step, make)
        self._runs |= {run}
        self._worker.start(run)

    def _take_wish(self, document: Document, wish: Wish) -> None:
        if wish.run not in self._runs:
            # It was stopped: what it would say now, nobody could expect.
            return
        step = self._last_step(document, wish.run)
        said = wish.choose(document)
        document.extend(step, said)
        self._make(step, partial(wish.work, step, said), self._engines[document])
        wish.is_taken.set()

    def _last_step(self, document: Document, run: Run) -> Step:
        """The step of a run: moved behind what was said since, or a further one if it has edits."""
        step = run.step
        if document.done[-1:] == [step]:
            return step
        if step.is_void and step.num_jobs == 1:
            document.drop(step)
        else:
            self._settle(document, step)
            run.step = step = Step(step.what, num_jobs=1)
        document.record(step)
        self.objects_changed.emit()
        return step

    def _end_run(self, document: Document, ended: RunEnded) -> None:
        self._runs = frozenset(run for run in self._runs if run.step is not ended.step)
        self._doing = self._doing if self._runs else None
        super()._end_run(document, ended)

    def _autosave(self, document: Document, *, with_trackers: bool = False) -> None:
        """Write what was said now, and what the trackers know when there is time."""
        engine = self._engines.get(document)
        if engine is None or self._is_closed or self.places.folder is None:
            return
        self._worker.submit(partial(engine.saver.say, document.snapshot()))
        if with_trackers:
            # They need longer; until then what was said and the finished slices are enough.
            self._worker.when_idle(engine.save, f"save {id(engine)}")

    def _take_back(self, document: Document, step: Step) -> None:
        engine = self._engines[document]
        self._submit_and_redraw(partial(engine.undo, step), engine)

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
        self._outbox.post(READY)

    def _replace(self, model: "SAM2 | None") -> None:
        self.models.replace(model)
        self._outbox.post(READY)

    def _unload(self) -> None:
        try:
            for engine in list(self._engines.values()):
                engine.rest()
            self.models.unload()
        except Exception as error:
            self._outbox.post(Failure(f"the model stays loaded: {error}"))
        self._outbox.post(READY)

    def _list_models(self) -> None:
        try:
            self._outbox.post(describe_models())
        except Exception as error:
            self._outbox.post(Failure(str(error)))
