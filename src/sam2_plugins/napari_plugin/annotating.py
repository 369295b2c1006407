"""What a person says of an image: prompts, objects, and taking any of it back. No Qt."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np

from sam2_plugins.napari_plugin.background import Background
from sam2_plugins.napari_plugin.document import ObjectFacts, Step
from sam2_plugins.napari_plugin.everything import AUTO, Thresholds, find_everything
from sam2_plugins.napari_plugin.exporting import export_all
from sam2_plugins.napari_plugin.prompts import MaskPixels, PromptKey, SlicePrompts


class Annotating(Background):
    """Prompts of objects, with undo.

    Attributes:
        find_sources: Gives what is read at present and an output (its path) must not replace.
    """

    find_sources: Callable[[Path], list[Path]] | None = None

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
        self._do(step, partial(self._engine.apply, step))

    def clear_slice(self) -> None:
        """Take back what was said of the current object on the slice on show."""
        document = self._open_document
        if self.plane is not None:
            key = PromptKey(self.plane, self.slice_index, document.current_object)
            self.set_prompts([(key, SlicePrompts())], "clear slice")
            self.prompts_changed.emit()

    def mark_absent(self) -> None:
        """Say that the current object is not on the slice on show: runs end there.

        Raises:
            ValueError: Nothing says where the object is.
        """
        document, plane = self._open_document, self._shown_plane
        key = PromptKey(plane, self.slice_index, document.current_object)
        if not document.is_found_elsewhere(key):
            raise ValueError(
                f"object {key.object_id} has no prompts on other slices: click on it where it is"
            )
        nothing = MaskPixels.pack(np.zeros(plane.frame_size, np.bool_))
        self.set_prompts([(key, SlicePrompts(mask=nothing))], "not here")
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

    # Everything there is

    def find_everything(self, thresholds: Thresholds = AUTO) -> None:
        """Find everything on the slice on show; each mask becomes a new object with a prompt.

        A large slice is looked at in crops, so that small objects are seen; `cancel` stops between
        them.

        Args:
            thresholds: Masks below are left out; what suits the model if not given.
        """
        make = partial(
            find_everything,
            plane=self._shown_plane,
            frame_index=self.slice_index,
            thresholds=thresholds,
        )
        self._start(Step("everything on the slice"), make, doing="looking for everything")

    def export_all(self, path: str) -> None:
        """Write all masks of the image with its axes and pixel sizes.

        Args:
            path: Its ending chooses the format: `.tif`, `.zarr` or `…_RES`; others hold one stack,
                and `export` writes that on show.
        """
        planes = self._open_document.planes()
        if self.plane is not None:
            planes = [self.plane, *planes]
        sources = self._sources_beside(path)
        export = partial(export_all, self._engine, path, planes=planes, sources=sources)
        self._worker.submit(export)

    def _sources_beside(self, path: str) -> list[Path]:
        return [] if self.find_sources is None else self.find_sources(Path(path))

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
        step = Step(f"remove object {object_id}", before, dict.fromkeys(before, SlicePrompts()))
        document.set_prompts(step.after)
        # An object may have nothing but locks.
        self._do(step, partial(self._engine.remove, step, object_id))
        self._after_edit()

    def set_name(self, object_id: int, name: str) -> None:
        """Give an object a name or class."""
        facts = self._open_document.objects[object_id]
        if facts.name != name:
            facts.name = name
            self._after_edit()

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
