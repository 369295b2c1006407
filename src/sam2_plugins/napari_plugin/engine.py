"""The worker's side: the model, a tracker per plane, and messages to the window's thread."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sam2_plugins.napari_plugin.document import Document, Step
from sam2_plugins.napari_plugin.frames import ImageStack
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.prompts import PromptKey, SlicePrompts, make_orders
from sam2_plugins.napari_plugin.session import (
    FrameLabels,
    Knowledge,
    LockedMask,
    PlaneSession,
    Score,
    frame_labels,
    propagate_above,
)

if TYPE_CHECKING:
    from sam2_plugins.core import SAM2, FrameMasks

_LOGGER = logging.getLogger(__name__)
REDRAW_CHUNK = 16
Letter = tuple[Document | None, Any]


@dataclass(frozen=True)
class Status:
    """What is being done, in words; `is_working` while it lasts."""

    text: str
    is_working: bool = False


@dataclass(frozen=True)
class Progress:
    """Of a run: frames done, of how many."""

    done: int
    total: int


@dataclass(frozen=True)
class Failure:
    """Something did not work: why, and the prompts that are not wanted any more."""

    message: str
    restore: tuple[tuple[PromptKey, SlicePrompts], ...] = ()


@dataclass(frozen=True)
class Known:
    """A session's prompts and locks changed."""

    plane: Plane
    knowledge: Knowledge


@dataclass(frozen=True)
class RunEnded:
    """A run is over, or was cancelled; `num_frames` got something new."""

    step: Step
    num_frames: int
    was_cancelled: bool


@dataclass(frozen=True)
class Suggestion:
    """The frame most worth checking; None where nothing was tracked."""

    plane: Plane
    frame_index: int | None


@dataclass(frozen=True)
class RunRequest:
    """What to propagate.

    Attributes:
        planes: Whose frames.
        object_ids: Of these objects.
        direction: "both", "forward" or "backward".
        start: First frame; the first of all if not given.
        stop: Frame after the last; the end if not given.
        stop_after_absent: Give up on an object after so many frames without it.
        min_iou: End a way at the first mask with a predicted IoU below.
    """

    planes: tuple[Plane, ...]
    object_ids: tuple[int, ...]
    direction: str = "both"
    start: int | None = None
    stop: int | None = None
    stop_after_absent: int | None = None
    min_iou: float = 0.0


class Outbox:
    """Messages to the window's thread, each with the document it is about.

    Of the labels of one frame only the latest count.

    Args:
        wake: Called from the worker's thread when there is something new.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self._messages: deque[Letter] = deque()
        self._labels: dict[tuple[Document | None, Plane, int], Letter] = {}
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        with self._lock:
            return bool(self._messages or self._labels)

    def post(self, message: Any, document: Document | None = None) -> None:
        """Leave a message."""
        with self._lock:
            if isinstance(message, FrameLabels):
                key = (document, message.plane, message.frame_index)
                self._labels[key] = (document, message)
            else:
                self._messages.append((document, message))
        self.wake()

    def take(self) -> "Letter | None":
        """The next message: labels first, so that the end of a run comes after its masks."""
        with self._lock:
            if self._labels:
                return self._labels.pop(next(iter(self._labels)))
            return self._messages.popleft() if self._messages else None


class Engine:
    """Everything that the worker's thread does for one image.

    Args:
        stack: The pixels.
        get_model: Gives the network, loading it first where needed.
        post: Leaves a message for the window's thread.
    """

    def __init__(
        self, stack: ImageStack, get_model: Callable[[], "SAM2"], post: Callable[[Any], None]
    ) -> None:
        self.stack = stack
        self.sessions: dict[Plane, PlaneSession] = {}
        self._get_model = get_model
        self._post = post
        self._shown: dict[Plane, dict[int, dict[int, Score]]] = {}
        self._locked: dict[Plane, list[LockedMask]] = {}
        self._has_model = False

    def session(self, plane: Plane) -> PlaneSession:
        """The tracker of a plane, made when first needed."""
        if plane not in self.sessions:
            if not self._has_model:
                self._post(Status("loading model", is_working=True))
            session = PlaneSession(self._get_model(), self.stack, plane)
            session.adopt_locked(self._locked.pop(plane, []))
            self.sessions[plane], self._has_model = session, True
        return self.sessions[plane]

    def encode(self, plane: Plane, frame_index: int) -> None:
        """Encode a frame, so that its first click answers at once."""
        self._post(Status("encoding slice", is_working=True))
        with suppress(Exception):
            self.session(plane).tracker.encode(frame_index)
        self._post(Status("ready"))

    def apply(self, step: Step) -> list[Plane]:
        """Tell the trackers what a step says; frames are drawn as they are answered.

        Returns:
            Planes to be redrawn, because an object went with its last prompts.
        """
        shrunk = []
        for key, prompts in step.after.items():
            try:
                session = self.session(key.plane)
                self._post(Status("encoding slice", is_working=True))
                session.tracker.encode(key.frame_index)
                orders = make_orders(prompts, key.plane)
                before = session.tracker.object_ids
                edits = session.apply(key.frame_index, key.object_id, orders)
            except Exception as error:
                self._fail(error, (key, step.before.get(key, SlicePrompts())))
                continue
            step.edits.append((key.plane, edits))
            self._draw(session, key.frame_index)
            if set(before) - set(session.tracker.object_ids):
                shrunk.append(key.plane)
        self._report(step)
        return list(dict.fromkeys(shrunk))

    def remove(self, step: Step, object_id: int) -> list[Plane]:
        """Remove an object everywhere; returns the planes to be redrawn."""
        for plane, session in self.sessions.items():
            if edits := session.remove(object_id):
                step.edits.append((plane, edits))
        return self._report(step)

    def confirm(
        self, step: Step, plane: Plane, *, object_id: int, frame_index: int, is_confirmed: bool
    ) -> None:
        """Lock or unlock a mask."""
        try:
            session = self.session(plane)
            edits = session.set_confirmed(object_id, frame_index, is_confirmed)
        except Exception as error:
            self._fail(error)
            return
        step.edits.append((plane, edits))
        self._report(step)

    def undo(self, step: Step) -> list[Plane]:
        """Take a step back; returns the planes to be redrawn."""
        for plane, edits in reversed(step.edits):
            orders = _orders_of(step.before, plane)
            self.session(plane).undo(edits, orders)
        self._draw_first(step)
        return self._report(step)

    def redo(self, step: Step) -> list[Plane]:
        """Make a step again; returns the planes to be redrawn."""
        for plane, edits in step.edits:
            self.session(plane).redo(edits, _orders_of(step.after, plane))
        self._draw_first(step)
        return self._report(step)

    def suggest(self, plane: Plane, object_id: int | None) -> None:
        """Find the frame most worth checking."""
        tracker = self.session(plane).tracker
        is_known = object_id in tracker.object_ids
        self._post(Suggestion(plane, tracker.suggest_frame(object_id if is_known else None)))

    def run(self, step: Step, request: RunRequest) -> Iterator[None]:
        """Propagate; a step per frame. Closing it keeps every finished frame."""
        num_new, was_cancelled = 0, True
        try:
            for plane in request.planes:
                session = self.session(plane)
                ids = [i for i in request.object_ids if i in session.tracker.object_ids]
                if not ids:
                    continue
                step.edits.append((plane, session.checkpoint(ids)))
                span = (request.start or 0, min(request.stop or plane.num_frames, plane.num_frames))
                seen: set[int] = set()
                for masks in _walk(session, ids, request, span):
                    num_new += 1
                    seen.add(masks.frame_index)
                    self._show(frame_labels(plane, masks))
                    self._post(Progress(len(seen), span[1] - span[0]))
                    yield
            was_cancelled = False
        except Exception as error:
            was_cancelled = False
            self._fail(error)
        finally:
            for plane in request.planes:
                if plane in self.sessions:
                    self._post(Known(plane, self.sessions[plane].known()))
            self._post(RunEnded(step, num_new, was_cancelled))
            self._post(Status("stopped" if was_cancelled else "ready"))

    def redraw(self, plane: Plane, frames: list[int] | None = None) -> list[int]:
        """Draw frames that changed; returns those left, to be drawn in a further job."""
        session = self.sessions.get(plane)
        if session is None:
            return []
        shown = self._shown.setdefault(plane, {})
        todo = sorted({*shown, *session.known_frames()}) if frames is None else frames
        for frame_index in todo[:REDRAW_CHUNK]:
            self._show(session.labels(frame_index))
        return todo[REDRAW_CHUNK:]

    def forget_model(self) -> None:
        """Drop the trackers but for locked masks; prompts have to be told again."""
        for plane, session in self.sessions.items():
            self._locked[plane] = session.locked()
        self.sessions.clear()
        self._has_model = False

    def _draw(self, session: PlaneSession, frame_index: int) -> None:
        self._show(session.labels(frame_index))

    def _draw_first(self, step: Step) -> None:
        for key in step.before:
            if key.plane in self.sessions:
                self._draw(self.sessions[key.plane], key.frame_index)

    def _show(self, labels: FrameLabels) -> None:
        self._shown.setdefault(labels.plane, {})[labels.frame_index] = labels.scores
        self._post(labels)

    def _report(self, step: Step) -> list[Plane]:
        planes = list(dict.fromkeys(plane for plane, _ in step.edits))
        for plane in planes:
            self._post(Known(plane, self.sessions[plane].known()))
        self._post(Status("ready"))
        return planes

    def _fail(self, error: Exception, *restore: tuple[PromptKey, SlicePrompts]) -> None:
        if not isinstance(error, ValueError | KeyError | FileNotFoundError | RuntimeError):
            _LOGGER.exception("unexpected error")
        message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        self._post(Failure(message or type(error).__name__, tuple(restore)))


def _walk(
    session: PlaneSession, ids: Sequence[int], request: RunRequest, span: tuple[int, int]
) -> Iterator["FrameMasks"]:
    if request.min_iou <= 0:
        yield from session.tracker.propagate(
            start=span[0],
            stop=span[1],
            direction=request.direction,  # type: ignore[arg-type]
            object_ids=list(ids),
            stop_after_absent=request.stop_after_absent,
        )
        return
    for object_id in ids:
        yield from propagate_above(
            session.tracker,
            object_id,
            min_iou=request.min_iou,
            direction=request.direction,
            span=span,
            stop_after_absent=request.stop_after_absent,
        )


def _orders_of(prompts: dict[PromptKey, SlicePrompts], plane: Plane) -> dict[tuple[int, int], Any]:
    return {
        (key.frame_index, key.object_id): make_orders(value, plane)
        for key, value in prompts.items()
        if key.plane == plane
    }
