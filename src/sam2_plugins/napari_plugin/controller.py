"""The controller: what a person can do, without a window.

Prompts come from layers or from code; the worker answers; `process` hands the answers over in the
thread that calls it, which the widget does for its own. Without a window, call `wait`.
"""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from sam2_plugins.napari_plugin.background import Background
from sam2_plugins.napari_plugin.document import Document, ObjectFacts, Step
from sam2_plugins.napari_plugin.engine import Engine
from sam2_plugins.napari_plugin.frames import ImageStack
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.messages import RunRequest, Status
from sam2_plugins.napari_plugin.models import ModelChoice
from sam2_plugins.napari_plugin.prompts import PromptKey, SlicePrompts
from sam2_plugins.napari_plugin.runs import Run, everything, propagate, through_time

if TYPE_CHECKING:
    from sam2_plugins.core import SAM2


class Controller(Background):
    """Prompts in, masks out, for one image at a time."""

    # The image

    def open(self, stack: ImageStack) -> Document:
        """Work on an image; returns its document, to come back to with `resume`."""
        document = Document(stack)
        post = partial(self._outbox.post, document=document)
        engine = self._engines[document] = Engine(stack, self.models.get, post)
        if self.autosave_folder is not None:
            self._worker.submit(partial(engine.open_journal, self.autosave_folder))
        self.resume(document)
        return document

    def resume(self, document: Document | None) -> None:
        """Work on an image that was opened before; None for none."""
        if document is not self.document:
            self.cancel()
            self.document, self.plane = document, None
        self.objects_changed.emit()
        self.scores_changed.emit()

    def restore(self) -> None:
        """Go on with what was saved of this image earlier."""
        self._worker.submit(self._engine.restore)

    def close_document(self, document: Document) -> None:
        """Forget an image with all that was said of it."""
        if document is self.document:
            self.resume(None)
        engine = self._engines.pop(document, None)
        if engine is not None and not self._is_closed:
            self._worker.submit(engine.forget_model)

    def set_view(self, plane: Plane | None, slice_index: int = 0) -> None:
        """Say what is on show: new prompts without a plane of their own are on this one."""
        is_new = plane != self.plane
        has_moved = is_new or slice_index != self.slice_index
        self.plane, self.slice_index = plane, slice_index
        if has_moved:
            self.prepare_slice()
            self.slice_changed.emit()
        if is_new:
            self.plane_changed.emit()
            self.scores_changed.emit()

    def prepare_slice(self) -> None:
        """Encode the slice on show as soon as there is nothing else to do."""
        if self.plane is not None and self.models.is_loaded and not self._is_closed:
            self._worker.when_idle(
                partial(self._engine.encode, self.plane, self.slice_index), "encode"
            )

    # Prompts

    def set_prompts(
        self, changes: Iterable[tuple[PromptKey, SlicePrompts]], what: str = "prompts"
    ) -> None:
        """Say something new of objects on frames; each is predicted at once.

        Args:
            changes: All prompts of an object on a frame; empty ones take back what was said.
            what: The change in words, for undo.
        """
        document = self._open_document
        after = {
            key: new for key, new in changes if document.prompts.get(key, SlicePrompts()) != new
        }
        if not after:
            return
        before = {key: document.prompts.get(key, SlicePrompts()) for key in after}
        step = Step(what, before, after)
        document.set_prompts(after)
        self._record(step)
        self._submit_and_redraw(partial(self._engine.apply, step))
        self.objects_changed.emit()

    def clear_slice(self) -> None:
        """Take back what was said of the current object on the slice on show."""
        document = self._open_document
        if self.plane is not None:
            key = PromptKey(self.plane, self.slice_index, document.current_object)
            self.set_prompts([(key, SlicePrompts())], "clear slice")
            self.prompts_changed.emit()

    def undo(self) -> bool:
        """Take the last step back; False if there is none. A run is stopped first."""
        document = self._open_document
        if not document.done:
            return False
        self.cancel()
        step = document.done.pop()
        document.undone.append(step)
        document.set_prompts(step.before)
        self._submit_and_redraw(partial(self._engine.undo, step))
        self._after_edit()
        return True

    def redo(self) -> bool:
        """Make the last undone step again; False if there is none."""
        document = self._open_document
        if not document.undone:
            return False
        self.cancel()
        step = document.undone.pop()
        document.done.append(step)
        document.set_prompts(step.after)
        self._submit_and_redraw(partial(self._engine.redo, step))
        self._after_edit()
        return True

    # Objects

    @property
    def current_object(self) -> int:
        """Id of the object that new prompts are of."""
        return self._open_document.current_object

    def select_object(self, object_id: int) -> None:
        """Make new prompts of this object."""
        document = self._open_document
        document.objects.setdefault(object_id, ObjectFacts())
        document.current_object = object_id
        self.objects_changed.emit()
        self.scores_changed.emit()

    def new_object(self) -> int:
        """Make new prompts of a new object; returns its id. One without prompts is used first."""
        document = self._open_document
        free = [
            i for i, facts in document.objects.items()
            if not document.has_prompts(i) and not facts.is_committed and not document.frames_of(i)
        ]  # fmt: skip
        object_id = min(free) if free else document.next_object()
        document.objects.setdefault(object_id, ObjectFacts())
        document.current_object = object_id
        self._after_edit()
        return object_id

    def commit(self) -> int:
        """Finish the current object and go on with a new one; returns the finished one's id.

        Its prompts leave the layers, later runs leave its masks alone, and `reopen` brings both
        back.
        """
        document = self._open_document
        object_id = document.current_object
        if document.has_prompts(object_id):
            document.objects[object_id].is_committed = True
        self.new_object()
        return object_id

    def reopen(self, object_id: int) -> None:
        """Go on with a finished object, with its prompts."""
        document = self._open_document
        document.objects[object_id].is_committed = False
        document.current_object = object_id
        self._after_edit()

    def remove_object(self, object_id: int | None = None) -> None:
        """Remove an object (the current one if not given) with its prompts and masks."""
        document = self._open_document
        object_id = document.current_object if object_id is None else object_id
        before = {k: p for k, p in document.prompts.items() if k.object_id == object_id}
        if not before:
            return
        step = Step(f"remove object {object_id}", before, dict.fromkeys(before, SlicePrompts()))
        document.set_prompts(step.after)
        engine = self._engine
        self._record(step)
        self._submit_and_redraw(partial(engine.remove, step, object_id))
        self._after_edit()

    def set_name(self, object_id: int, name: str) -> None:
        """Give an object a name or class."""
        self._open_document.objects[object_id].name = name
        self.objects_changed.emit()

    def flip_polarity(self) -> None:
        """New clicks say the opposite: object or background."""
        self._open_document.flip_polarity()
        self.objects_changed.emit()

    def confirm(
        self,
        slice_index: int | None = None,
        *,
        object_id: int | None = None,
        is_confirmed: bool = True,
    ) -> None:
        """Lock the mask of a slice (that on show if not given): it is not changed again.

        Args:
            slice_index: In the plane on show.
            object_id: The current one if not given.
            is_confirmed: False unlocks it.
        """
        document, plane = self._open_document, self._shown_plane
        frame_index = self.slice_index if slice_index is None else int(slice_index)
        object_id = document.current_object if object_id is None else object_id
        step = Step("lock slice" if is_confirmed else "unlock slice")
        self._do(
            step,
            partial(
                self._engine.confirm,
                *(step, plane),
                object_id=object_id,
                frame_index=frame_index,
                is_confirmed=is_confirmed,
            ),
        )

    # Runs

    def propagate(
        self,
        direction: str = "both",
        start: int | None = None,
        stop: int | None = None,
        *,
        object_ids: Iterable[int] | None = None,
        stop_after_absent: int | None = None,
        min_iou: float = 0.0,
    ) -> None:
        """Track objects away from their prompts, in the background; `run_ended` tells the end.

        Args:
            direction: "both", "forward" or "backward".
            start: First slice; the first of all if not given.
            stop: Slice after the last; the end if not given.
            object_ids: Of these objects; those that are not committed if not given.
            stop_after_absent: Give up on an object after so many slices without it.
            min_iou: End a way at the first mask with a predicted IoU below.

        Raises:
            ValueError: There is nothing to propagate.
        """
        document = self._open_document
        planes = document.planes()
        if not planes:
            raise ValueError("there are no prompts yet: click on an object first")
        if self.plane in planes:
            planes = [self.plane]
        ids = document.open_objects() if object_ids is None else list(object_ids)
        step = Step("propagate")
        request = RunRequest(
            *(tuple(planes), tuple(ids)),
            direction=direction,
            start=start,
            stop=stop,
            stop_after_absent=stop_after_absent,
            min_iou=min_iou,
        )
        self._record(step)
        self.status_changed.emit(Status("propagating", is_working=True))
        self._worker.start(Run(self._engine, step, partial(propagate, request=request)))

    def propagate_through_time(self, direction: str = "forward") -> None:
        """Propagate the volume on show through depth, then carry it from time point to time point.

        Args:
            direction: "forward" or "backward" in time.

        Raises:
            ValueError: The image has no volumes over time, or there is nothing to carry.
        """
        document, plane = self._open_document, self._shown_plane
        time_axis = document.stack.time_axis(plane)
        if time_axis is None or plane.frame_axis is None:
            raise ValueError("the image has no volumes over time: it needs 4 axes or more")
        if plane not in document.planes():
            raise ValueError("there are no prompts at this time point: click on an object first")
        step = Step("propagate through time")
        ids = tuple(document.open_objects())
        request = RunRequest((plane,), ids, direction=direction, time_axis=time_axis)
        self._record(step)
        self.status_changed.emit(Status("propagating", is_working=True))
        self._worker.start(Run(self._engine, step, partial(through_time, request=request)))

    def segment_everything(self) -> None:
        """Find everything on the slice on show; each mask becomes a new object with a prompt."""
        document, plane = self._open_document, self._shown_plane
        step = Step("everything on the slice")
        has_any = bool(document.prompts)
        self._record(step)
        make = partial(
            everything,
            plane=plane,
            frame_index=self.slice_index,
            first_object=document.next_object() if has_any else document.current_object,
        )
        self._worker.start(Run(self._engine, step, make))

    def export(self, path: str) -> None:
        """Write the masks of the plane on show; the ending of the path chooses the format."""
        self._worker.submit(partial(self._engine.export, self._shown_plane, path))

    def cancel(self) -> None:
        """Stop the run within a slice; what is finished stays."""
        self._worker.cancel()

    def suggest_slice(self) -> None:
        """Ask for the slice most worth checking; `suggested` brings the answer."""
        document, plane = self._open_document, self._shown_plane
        self._worker.submit(partial(self._engine.suggest, plane, document.current_object))

    # The model

    def choose_model(self, choice: ModelChoice, model: "SAM2 | None" = None) -> None:
        """Use another model from now on; prompts are answered anew by it."""
        self.cancel()
        self.models.choice = choice
        self._worker.submit(partial(self.models.replace, model))
        for document, engine in self._engines.items():
            self._worker.submit(engine.forget_model)
            document.done.clear()
            document.undone.clear()
            if document.prompts:
                step = Step("another model", after=dict(document.prompts))
                self._submit_and_redraw(partial(engine.apply, step), engine)
        self.objects_changed.emit()

    def load_model(self) -> None:
        """Load the model now instead of at the first prompt."""
        self._worker.submit(self._load)

    def unload_model(self) -> None:
        """Free the model's memory until it is needed again; a run is stopped."""
        self.cancel()
        self._worker.submit(self.models.unload)
