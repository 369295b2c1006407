"""What the worker answers: brought into the image's document, and told to whoever listens."""

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from sam2_plugins.napari_plugin.document import Document, Step
from sam2_plugins.napari_plugin.frame_labels import FrameLabels
from sam2_plugins.napari_plugin.journal import Saved
from sam2_plugins.napari_plugin.messages import (
    READY,
    Failure,
    Known,
    Made,
    Progress,
    Restorable,
    RunEnded,
    Saving,
    Status,
    Suggestion,
    Wish,
)
from sam2_plugins.napari_plugin.model_loading import ModelLoad
from sam2_plugins.napari_plugin.models import Download

if TYPE_CHECKING:
    from sam2_plugins.napari_plugin.engine import Engine
    from sam2_plugins.napari_plugin.layers import Plane


class Answers:
    """The window's side of every answer. What is done about one is for those who derive."""

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
    earlier_changed = Signal()
    saving_changed = Signal()
    downloading = Signal(Download)
    models_listed = Signal(tuple)

    def __init__(self) -> None:
        self.document: Document | None = None
        self.plane: Plane | None = None
        self.slice_index = 0
        self.status = Status("no image")
        self._doing: Status | None = None
        self._engines: dict[Document, Engine] = {}

    def _autosave(self, document: Document, *, with_trackers: bool = False) -> None:
        raise NotImplementedError

    def _take_model(self, load: ModelLoad) -> None:
        raise NotImplementedError

    def _take_wish(self, document: Document, wish: Wish) -> None:
        raise NotImplementedError

    def _take_back(self, document: Document, step: Step) -> None:
        raise NotImplementedError

    def _hand_over(self, document: Document | None, message: Any) -> None:
        if isinstance(message, Status):
            # A click that was answered, or a model that could not be loaded, ends no run.
            self.status = self._doing if self._doing and message == READY else message
            self.status_changed.emit(self.status)
        elif isinstance(message, Progress):
            self.progressed.emit(message)
        elif isinstance(message, Suggestion):
            self.suggested.emit(message)
        elif isinstance(message, Download):
            self.downloading.emit(message)
        elif isinstance(message, ModelLoad):
            self._take_model(message)
        elif isinstance(message, tuple):
            self.models_listed.emit(message)
        elif isinstance(message, Failure) and document is None:
            self.failed.emit(message.message)
        elif isinstance(message, RunEnded) and document not in self._engines:
            self.run_ended.emit(message)
        elif document is not None and document in self._engines:
            # Otherwise it is what is left to say of an image that was closed.
            self._hand_to(document, message)

    def _hand_to(self, document: Document, message: Any) -> None:
        if isinstance(message, FrameLabels):
            document.take_scores(message.plane, message.frame_index, message.scores)
            self.masks_changed.emit(document, message)
        elif isinstance(message, Known):
            self._take_knowledge(document, message)
        elif isinstance(message, Wish):
            self._take_wish(document, message)
        elif isinstance(message, Made):
            self._settle(document, message.step)
        elif isinstance(message, RunEnded):
            self._end_run(document, message)
        elif isinstance(message, Failure):
            self._take_failure(document, message)
        elif isinstance(message, Saved):
            self._take_saved(document, message)
        elif isinstance(message, Saving):
            document.saving = message
            self.saving_changed.emit()
        elif isinstance(message, Restorable):
            self._take_earlier(document, message)

    def _take_earlier(self, document: Document, earlier: Restorable) -> None:
        document.earlier = earlier
        self.earlier_changed.emit()
        if earlier.sessions:
            self.restorable.emit(document)

    def _take_knowledge(self, document: Document, known: Known) -> None:
        before = document.knowledge.get(known.plane)
        document.knowledge[known.plane] = known.knowledge
        if before is None or before.confirmed != known.knowledge.confirmed:
            self._autosave(document)
        self.objects_changed.emit()
        self.scores_changed.emit()

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

    def _settle(self, document: Document, step: Step) -> None:
        """One of the worker's jobs for a step is over."""
        step.num_jobs -= 1
        if step.num_jobs:
            return
        if step.is_void:
            document.drop(step)
            self.objects_changed.emit()
        else:
            step.replaced = []

    def _end_run(self, document: Document, ended: RunEnded) -> None:
        step = ended.step
        self._settle(document, step)
        if document.done[-1:] == [step] and not ended.num_frames and not step.after:
            # Nothing came of it: there is nothing to undo.
            document.done.pop()
            self._take_back(document, step)
        self._autosave(document, with_trackers=True)
        self.run_ended.emit(ended)
        self.scores_changed.emit()
        self.objects_changed.emit()

    def _take_failure(self, document: Document, failure: Failure) -> None:
        if failure.step is not None and failure.refused:
            for key in failure.refused:
                document.refuse(failure.step, key)
            self._autosave(document)
            self.prompts_changed.emit()
            self.objects_changed.emit()
        self.failed.emit(failure.message)
