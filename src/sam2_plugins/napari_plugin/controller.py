"""The controller: what a person can do, without a window.

Prompts come from layers or from code; the worker answers; `process` hands the answers over in the
thread that calls it, which the widget does for its own. Without a window, call `wait`.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sam2_plugins.napari_plugin.annotating import Annotating
from sam2_plugins.napari_plugin.document import Document, Step
from sam2_plugins.napari_plugin.engine import Engine
from sam2_plugins.napari_plugin.exporting import export_plane
from sam2_plugins.napari_plugin.frames import ImageStack, LargePlanes
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.messages import READY, RunRequest, Status
from sam2_plugins.napari_plugin.model_loading import ModelLoad
from sam2_plugins.napari_plugin.models import ModelChoice
from sam2_plugins.napari_plugin.runs import propagate, through_time
from sam2_plugins.napari_plugin.saving import Saver

if TYPE_CHECKING:
    from sam2_plugins.core import SAM2


class Controller(Annotating):
    """Prompts in, masks out, for one image at a time."""

    # The image

    def open(self, stack: ImageStack) -> Document:
        """Work on an image; returns its document, to come back to with `resume`."""
        document = Document(replace(stack, large_planes=self.large_planes))
        post = partial(self._outbox.post, document=document)
        saver = Saver(document.stack, post, path=stack.path)
        engine = Engine(document.stack, self.models.get, post=post, saver=saver)
        self._engines[document] = engine
        if self.places.folder is not None:
            self._worker.submit(partial(saver.open, self.places))
        self.resume(document)
        return document

    def resume(self, document: Document | None) -> None:
        """Work on an image that was opened before; None for none."""
        if document is not self.document:
            self.cancel()
            self.document, self.plane = document, None
        self.objects_changed.emit()
        self.scores_changed.emit()

    def restore(self, folder: Path | None = None) -> None:
        """Go on with what was saved of this image earlier; work on show can be restored then.

        Args:
            folder: Of one of `document.earlier.sessions`; the newest if not given.
        """
        self.cancel()
        self._worker.submit(partial(self._engine.restore, folder))

    def close_document(self, document: Document) -> None:
        """Forget an image with all that was said of it."""
        if document is self.document:
            self.resume(None)
        engine = self._engines.pop(document, None)
        if engine is not None and not self._is_closed:
            self._worker.submit(engine.close)

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

    def set_pixel_size(
        self, document: Document, scale: tuple[float, ...], *, units: tuple[str, ...]
    ) -> None:
        """Say how large the pixels of an image are, for exports."""
        document.stack = replace(document.stack, scale=scale, units=units)
        if not self._is_closed:
            self._worker.submit(partial(setattr, self._engines[document], "stack", document.stack))

    def prepare_slice(self) -> None:
        """Encode the slice on show as soon as there is nothing else to do."""
        if self.plane is not None and self.models.is_loaded and not self._is_closed:
            self._worker.when_idle(
                partial(self._engine.encode, self.plane, self.slice_index), "encode"
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
        request = RunRequest(
            *(tuple(planes), tuple(ids)),
            direction=direction,
            start=start,
            stop=stop,
            stop_after_absent=stop_after_absent,
            min_iou=min_iou,
        )
        self._start(Step("propagate"), partial(propagate, request=request), doing="propagating")

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
        ids = tuple(document.open_objects())
        request = RunRequest((plane,), ids, direction=direction, time_axis=time_axis)
        make = partial(through_time, request=request)
        self._start(Step("propagate through time"), make, doing="propagating")

    def export(self, path: str) -> None:
        """Write the masks of the plane on show; the ending of the path chooses the format."""
        sources = self._sources_beside(path)
        export = partial(export_plane, self._engine, path, plane=self._shown_plane, sources=sources)
        self._worker.submit(export)

    def suggest_slice(self) -> None:
        """Ask for the slice most worth checking; `suggested` brings the answer."""
        document, plane = self._open_document, self._shown_plane
        self._worker.submit(partial(self._engine.suggest, plane, document.current_object))

    # The model

    def choose_model(self, choice: ModelChoice, model: "SAM2 | None" = None) -> None:
        """Use another model: at once if given, else when it is loaded; prompts are answered anew.

        Until then, and where it cannot be loaded, the model that is in use answers.
        """
        is_needed = self.models.is_loaded or any(known.prompts for known in self._engines)
        if model is None and is_needed:
            own = choice.checkpoint
            what = choice.name if own is None else Path(own).name
            self._hand_over(None, Status(f"loading {what}", is_working=True))
            self.models.prepare(choice, self._outbox.post)
        else:
            self._use_model(choice, model)

    def _use_model(self, choice: ModelChoice, model: "SAM2 | None") -> None:
        self.cancel()
        self.models.choice = choice
        self._worker.submit(partial(self._replace, model))
        self._begin_anew()

    def _take_model(self, load: ModelLoad) -> None:
        if not self.models.take(load):
            return
        try:
            model = load.result()
        except Exception as error:
            self.failed.emit(str(error))
        else:
            self._use_model(load.choice, model)
        self._outbox.post(READY)

    def set_large_planes(self, large_planes: LargePlanes) -> None:
        """Say which planes are seen through windows; prompts are answered anew."""
        if large_planes == self.large_planes:
            return
        self.cancel()
        self.large_planes = large_planes
        self._begin_anew()

    def set_channels(self, channels: Iterable[int]) -> None:
        """Say which channels of an axis of channels are seen; prompts are answered anew.

        Raises:
            ValueError: There are no such channels, or too many.
        """
        document = self._open_document
        stack = document.stack.with_channels(tuple(channels))
        if stack.channels != document.stack.channels:
            self.cancel()
            document.stack = stack
            self._begin_anew([document])

    def load_model(self) -> None:
        """Load the model now instead of at the first prompt."""
        self._worker.submit(self._load)

    def list_models(self) -> None:
        """Ask which models there are; `models_listed` brings a `ModelFacts` of each."""
        self._worker.submit(self._list_models)

    def cancel_download(self) -> None:
        """Give up the model that is being loaded; a download goes on there the next time."""
        self.models.cancel()

    def unload_model(self) -> None:
        """Free the model's memory until it is needed again; a run is stopped.

        Masks and prompts stay; steps before cannot be undone any more.
        """
        self.cancel()
        for document in self._engines:
            document.done.clear()
            document.undone.clear()
        self._worker.submit(self._unload)
        self.objects_changed.emit()

    def _begin_anew(self, documents: Iterable[Document] | None = None) -> None:
        """Answer all prompts of images (of all, if not given) again; locked masks stay."""
        for document in list(self._engines if documents is None else documents):
            engine = self._engines[document]
            document.stack = replace(document.stack, large_planes=self.large_planes)
            self._worker.submit(partial(engine.forget_model, document.stack))
            document.done.clear()
            document.undone.clear()
            if document.prompts:
                # What cannot be answered now stays said.
                said = dict(document.prompts)
                step = Step("another model", before=said, after=said)
                self._submit_and_redraw(partial(engine.apply, step), engine)
        self.objects_changed.emit()
