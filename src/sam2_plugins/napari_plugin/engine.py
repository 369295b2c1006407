"""The worker's side: the model, a tracker per plane, and messages to the window's thread."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sam2_plugins.napari_plugin.document import PlaneObject, Step
from sam2_plugins.napari_plugin.earlier_work import EarlierWork
from sam2_plugins.napari_plugin.frame_labels import FrameLabels, Score, blank_frame
from sam2_plugins.napari_plugin.frames import ImageStack
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.messages import Failure, Known, Status, Suggestion
from sam2_plugins.napari_plugin.neighbours import make_room
from sam2_plugins.napari_plugin.prompts import PromptKey, make_orders
from sam2_plugins.napari_plugin.resting import RestingSessions
from sam2_plugins.napari_plugin.restoring import open_session
from sam2_plugins.napari_plugin.saving import Saver
from sam2_plugins.napari_plugin.session import LockedMask, PlaneSession

if TYPE_CHECKING:
    from pathlib import Path

    from sam2_plugins.core import SAM2

REDRAW_CHUNK = 16
SLOW_S = 1.5


class Engine:
    """Everything that the worker's thread does for one image.

    Args:
        stack: The pixels.
        get_model: Gives the network, loading it first where needed.
        post: Leaves a message for the window's thread.
        saver: Saves what is found.
    """

    def __init__(
        self,
        stack: ImageStack,
        get_model: Callable[[], "SAM2"],
        *,
        post: Callable[[Any], None],
        saver: Saver,
    ) -> None:
        self.stack, self.saver = stack, saver
        self.sessions: dict[Plane, PlaneSession] = {}
        self.model = get_model
        self.post = post
        self._shown: dict[Plane, dict[int, dict[int, Score]]] = {}
        self._locked: dict[Plane, list[LockedMask]] = {}
        self._resting = RestingSessions()
        self._has_model, self._encode_s = False, 0.0
        self.earlier = EarlierWork()

    def session(self, plane: Plane) -> PlaneSession:
        """The tracker of a plane, made when first needed."""
        if plane not in self.sessions:
            if not self._has_model:
                self.post(Status("loading model", is_working=True))
            session = self._resting.wake(plane, self.model(), self.stack)
            if session is None:
                session = open_session(self.model(), self.stack, plane, self.earlier)
            session.adopt_locked(self._locked.pop(plane, []))
            self.sessions[plane], self._has_model = session, True
        return self.sessions[plane]

    def encode(self, plane: Plane, frame_index: int) -> None:
        """Encode a frame, so that its first click answers at once."""
        if self._encode_s > SLOW_S:
            # A slice that nobody clicks on would keep one that somebody does waiting.
            return
        self.post(Status("encoding slice", is_working=True))
        begun = time.monotonic()
        with suppress(Exception):
            self.session(plane).tracker.encode(frame_index)
            self._encode_s = time.monotonic() - begun
        self.post(Status("ready"))

    def apply(self, step: Step) -> list[Plane]:
        """Tell the trackers what a step says; frames are drawn as they are answered.

        Returns:
            Planes to be redrawn, because an object went with its last prompts.
        """
        shrunk = []
        if not self._open_all(step, (key.plane for key in step.after)):
            return []
        for key, prompts in step.after.items():
            session = self.sessions[key.plane]
            try:
                self.post(Status("encoding slice", is_working=True))
                session.tracker.encode(key.frame_index)
                before = session.tracker.object_ids
                edits = session.apply(*key[1:], make_orders(prompts, key.plane))
            except Exception as error:
                self.fail(error, key, step=step)
                if key.frame_index in range(key.plane.num_frames):
                    # What was painted is on the layer already.
                    self._draw(session, key.frame_index)
                continue
            step.edits.append((key.plane, edits))
            if gone := set(before) - set(session.tracker.object_ids):
                self.earlier.leave_out(step, (PlaneObject(key.plane, i) for i in gone))
                shrunk.append(key.plane)
            self._draw(session, key.frame_index)
        self._make_room(step, {(key.plane, key.frame_index) for key in step.after})
        self._report(step)
        return list(dict.fromkeys(shrunk))

    def _open_all(self, step: Step, planes: Iterable[Plane]) -> bool:
        try:
            for plane in planes:
                self.session(plane)
            return True
        except Exception as error:
            self.fail(error, *step.after, step=step)
            self.post(Status("ready"))
            return False

    def remove(self, step: Step, object_id: int) -> list[Plane]:
        """Remove an object everywhere; returns the planes to be redrawn."""
        locked = [p for p, masks in self._locked.items() if any(m[1] == object_id for m in masks)]
        planes = (*self._resting.planes, *self.earlier.waiting_with(object_id), *locked)
        if not self._open_all(step, planes):
            return []
        told = [(p, *key) for p, session in self.sessions.items() for key in session.orders]
        for plane, session in self.sessions.items():
            if edits := session.remove(object_id):
                step.edits.append((plane, edits))
        self._make_room(step, [(plane, frame) for plane, frame, of in told if of == object_id])
        return self._report(step, self.earlier.remove(step, object_id))

    def _make_room(self, step: Step, frames: Iterable[tuple[Plane, int]]) -> None:
        """Let objects know of clicks on others, where these were changed."""
        for plane, frame_index in frames:
            session = self.sessions[plane]
            if edits := make_room(session, frame_index):
                step.edits.append((plane, edits))
                self._draw(session, frame_index)

    def confirm(
        self, step: Step, plane: Plane, *, object_id: int, frame_index: int, is_confirmed: bool
    ) -> list[Plane]:
        """Lock or unlock a mask; returns the planes to be redrawn, which are none."""
        try:
            session = self.session(plane)
            edits = self.earlier.take_over(session, frame_index, object_id) if is_confirmed else 0
            edits += session.set_confirmed(object_id, frame_index, is_confirmed)
        except Exception as error:
            self.fail(error, step=step)
            return []
        step.edits.append((plane, edits))
        # A locked mask has a thing that others were found on too.
        self._draw(session, frame_index)
        self._report(step)
        return []

    def undo(self, step: Step) -> list[Plane]:
        """Take a step back; returns the planes to be redrawn."""
        for plane, edits in reversed(step.edits):
            self.session(plane).undo(edits)
        changed = self.earlier.undo(step)
        self._draw_first(step)
        return self._report(step, changed)

    def redo(self, step: Step) -> list[Plane]:
        """Make a step again; returns the planes to be redrawn."""
        for plane, edits in step.edits:
            self.session(plane).redo(edits)
        changed = self.earlier.redo(step)
        self._draw_first(step)
        return self._report(step, changed)

    def suggest(self, plane: Plane, object_id: int | None) -> None:
        """Find the frame most worth checking."""
        tracker = self.session(plane).tracker
        is_known = object_id in tracker.object_ids
        self.post(Suggestion(plane, tracker.suggest_frame(object_id if is_known else None)))

    def known_frames(self, plane: Plane) -> list[int]:
        """Frames of a plane with masks, ascending."""
        return self.earlier.known_frames(plane, self._opened(plane))

    def object_ids(self, plane: Plane) -> set[int]:
        """Objects of a plane."""
        return self.earlier.object_ids(plane, self._opened(plane))

    def labels(self, plane: Plane, frame_index: int) -> FrameLabels:
        """What is known of a frame: by its tracker, and of earlier work what still holds."""
        return self.earlier.labels(plane, frame_index, self._opened(plane))

    def _opened(self, plane: Plane) -> PlaneSession | None:
        """The tracker of a plane; None where earlier work is only looked at, without a model."""
        return None if self.earlier.is_waiting(plane, is_drawn=True) else self.session(plane)

    def redraw(self, plane: Plane, frames: list[int] | None = None) -> list[int]:
        """Draw frames that changed; returns those left, to be drawn in a further job."""
        if plane not in self.planes or self.earlier.is_waiting(plane, is_drawn=False):
            return []
        shown = self._shown.setdefault(plane, {})
        todo = sorted({*shown, *self.known_frames(plane)}) if frames is None else frames
        for frame_index in todo[:REDRAW_CHUNK]:
            self._show(self.labels(plane, frame_index))
        return todo[REDRAW_CHUNK:]

    def save(self) -> None:
        """Save what the trackers know; it takes longer than all else that is saved."""
        behind = {p for p, session in self.sessions.items() if self.earlier.is_needed(session)}
        self.saver.add_trackers(self.sessions, behind=behind)

    def finish(self) -> None:
        """Save what the trackers know, if anything was saved before, and save nothing more."""
        if self.sessions and self.saver.folder is not None:
            self.save()
        self.saver.close()

    def restore(self, folder: "Path | None" = None) -> None:
        """Read earlier work back; masks are drawn now, trackers are opened when needed."""
        try:
            saved = self.saver.read(folder)
        except (OSError, ValueError, KeyError) as error:
            self.fail(error)
            return
        self.earlier = EarlierWork(saved)
        self.sessions.clear()
        self._locked.clear()
        self._resting.forget()
        self.post(saved)
        shown, self._shown = self._shown, {}
        for place in ((plane, i) for plane, frames in shown.items() for i in frames):
            self.post(blank_frame(*place))
        for labels in saved.slices.values():
            self._shown.setdefault(labels.plane, {})[labels.frame_index] = labels.scores
            self.post(labels)
        self.post(Status("ready"))

    def rest(self) -> None:
        """Put the trackers away, so that nothing holds the model; what they know stays known.

        Raises:
            OSError: There is no place for them.
        """
        for plane in list(self.sessions):
            self._resting.put(self.sessions[plane])
            del self.sessions[plane]
        self._has_model = False

    @property
    def planes(self) -> list[Plane]:
        """Planes with a tracker, in memory, put away, or not opened yet."""
        opened = (*self.sessions, *self._resting.planes)
        return list(dict.fromkeys((*opened, *self._locked, *self.earlier.waiting)))

    def forget_model(self, stack: ImageStack | None = None) -> None:
        """Drop the trackers but for locked masks; the image may be seen in another way then."""
        self.stack = stack or self.stack
        self._locked |= self._resting.forget() | self.earlier.locked()
        for plane, session in self.sessions.items():
            self._locked[plane] = session.locked()
        self.sessions.clear()
        self.earlier = EarlierWork()
        self._has_model = False

    def close(self) -> None:
        """Let go of everything: the image is not worked on any more."""
        self.forget_model()
        self._locked.clear()
        self.saver.close()

    def _draw(self, session: PlaneSession, frame_index: int) -> None:
        self.show(session.labels(frame_index))

    def _draw_first(self, step: Step) -> None:
        for key in step.before:
            if key.plane in self.sessions:
                self._draw(self.sessions[key.plane], key.frame_index)

    def show(self, labels: FrameLabels) -> None:
        """Hand over what a tracker knows of a frame, and earlier work that holds; save both."""
        self._show(self.earlier.completed(labels, self.sessions.get(labels.plane)))

    def _show(self, labels: FrameLabels) -> None:
        self._shown.setdefault(labels.plane, {})[labels.frame_index] = labels.scores
        self.saver.add(labels)
        self.post(labels)

    def _report(self, step: Step, others: Iterable[Plane] = ()) -> list[Plane]:
        """Tell what is known after a step; returns the planes of its edits, and the others."""
        planes = list(dict.fromkeys(plane for plane, _ in step.edits))
        for plane in planes:
            self.post(Known(plane, self.sessions[plane].known()))
        self.post(Status("ready"))
        return list(dict.fromkeys((*planes, *others)))

    def fail(self, error: Exception, *refused: PromptKey, step: Step | None = None) -> None:
        """Tell the person what did not work, and which prompts of a step are not in force."""
        self.post(Failure.of(error, *refused, step=step))
