"""Long jobs: propagation, volumes through time, everything on a slice. The worker's thread."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from sam2_plugins.napari_plugin.document import Document, Step
from sam2_plugins.napari_plugin.frame_labels import frame_labels
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.messages import (
    Known,
    Progress,
    RunEnded,
    RunRequest,
    Status,
    Wish,
)
from sam2_plugins.napari_plugin.prompts import PromptKey, SlicePrompts, make_orders
from sam2_plugins.napari_plugin.session import PlaneSession
from sam2_plugins.napari_plugin.through_time import carry, times_from

if TYPE_CHECKING:
    from sam2_plugins.core import FrameMasks, TrackedFrames, VideoTracker
    from sam2_plugins.napari_plugin.engine import Engine

Said = dict[PromptKey, SlicePrompts]
MakeSteps = Callable[["Run"], Iterator[None]]
WAIT_S = 0.05
"""After so long a run that waits for the window lets others work, and is stopped if asked to."""


class Run:
    """A long job in steps. Closing it, begun or not, keeps what is finished and says that it ended.

    Args:
        engine: Does the work.
        step: Of undo; gets the edits that are made. The window may choose another one for edits
            to come, when it takes a wish.
        make: Makes the steps.
    """

    def __init__(self, engine: "Engine", step: Step, make: MakeSteps) -> None:
        self.engine = engine
        self.step = step
        self.num_new = 0
        self._planes: dict[Plane, None] = {}
        self._steps = make(self)
        self._has_ended = False

    def __iter__(self) -> "Run":
        return self

    def __next__(self) -> None:
        if self._has_ended:
            raise StopIteration
        try:
            next(self._steps)
        except StopIteration:
            self._end(was_cancelled=False)
            raise
        except Exception as error:
            self.engine.fail(error)
            self._end(was_cancelled=False, has_failed=True)
            raise StopIteration from None

    def close(self) -> None:
        """Stop here."""
        if not self._has_ended:
            self._steps.close()  # type: ignore[attr-defined]
            self._end(was_cancelled=True)

    def show(self, plane: Plane, masks: "FrameMasks") -> None:
        """Hand a frame's masks over."""
        self.num_new += 1
        self._planes[plane] = None
        self.engine.show(frame_labels(plane, masks))

    def track(
        self, plane: Plane, tracker: "VideoTracker", found: "TrackedFrames"
    ) -> Generator["FrameMasks | None", None, None]:
        """What is found of a plane, with a step after each object: others may work between them.

        Where this is closed amid a frame, what was found of it is shown.
        """
        try:
            yield from found.steps()
        finally:
            for frame_index in found.under_way:
                self.show(plane, tracker.masks(frame_index))

    def begin(
        self, planes: Sequence[Plane], object_ids: Sequence[int]
    ) -> Generator[None, None, bool]:
        """Make what is tracked next a step of undo; False if there is nothing to track."""
        make = partial(_checkpoint, self.engine, planes=planes, object_ids=object_ids)
        return (yield from self._wish(lambda _: {}, lambda step, _: make(step)))

    def say(self, choose: Callable[[Document], Said]) -> Generator[None, None, bool]:
        """Say something of the image as it will be then; False where that is refused."""
        return (yield from self._wish(choose, partial(_tell, self.engine)))

    def _wish(
        self, choose: Callable[[Document], Said], make: Callable[[Step, Said], bool]
    ) -> Generator[None, None, bool]:
        wish = Wish(self, choose, make)
        self.engine.post(wish)
        while not wish.is_taken.wait(WAIT_S):
            yield
        self._planes |= dict.fromkeys(key.plane for key in self.step.after)
        yield
        return wish.is_granted

    def _end(self, *, was_cancelled: bool, has_failed: bool = False) -> None:
        self._has_ended = True
        engine = self.engine
        for plane in self._planes:
            if plane in engine.sessions:
                engine.post(Known(plane, engine.sessions[plane].known()))
        engine.post(RunEnded(self.step, self.num_new, was_cancelled, has_failed))
        engine.post(Status("stopped" if was_cancelled else "ready"))


def _checkpoint(
    engine: "Engine", step: Step, *, planes: Sequence[Plane], object_ids: Sequence[int]
) -> bool:
    try:
        found = [(plane, engine.session(plane).checkpoint(object_ids)) for plane in planes]
    except Exception as error:
        engine.fail(error, step=step)
        return False
    step.edits += found
    return any(count for _, count in found)


def _tell(engine: "Engine", step: Step, said: Said) -> bool:
    """Like `Engine.apply`, but nothing is drawn: a run draws what is finished."""
    is_refused = False
    for key, prompts in said.items():
        try:
            orders = make_orders(prompts, key.plane)
            edits = engine.session(key.plane).apply(key.frame_index, key.object_id, orders)
        except Exception as error:
            engine.fail(error, key, step=step)
            is_refused = True
        else:
            step.edits.append((key.plane, edits))
    return not is_refused


def propagate(run: Run, request: RunRequest) -> Iterator[None]:
    """Track objects away from their prompts; a step per frame."""
    if not (yield from run.begin(request.planes, request.object_ids)):
        return
    for number, plane in enumerate(request.planes):
        session = run.engine.session(plane)
        ids = [i for i in request.object_ids if i in session.tracker.object_ids]
        if not ids:
            continue
        span = (request.start or 0, min(request.stop or plane.num_frames, plane.num_frames))
        with closing(_walk(run, session, ids, request, span)) as found:
            for masks, share in found:
                if masks is not None:
                    run.show(plane, masks)
                run.engine.post(Progress((number + share) / len(request.planes)))
                yield


def through_time(run: Run, request: RunRequest) -> Iterator[None]:
    """Propagate through depth and carry volumes through time; a step per slice."""
    time_axis, plane, engine = request.time_axis, request.planes[0], run.engine
    assert time_axis is not None
    # Slices are followed through time by trackers that are not kept: volumes are what counts.
    follow = cache(partial(PlaneSession, engine.model(), engine.stack))
    if not (yield from run.begin([plane], request.object_ids)):
        return
    step = -1 if request.direction == "backward" else 1
    total = plane.num_frames * len(times_from(plane, time_axis, step))
    seen: set[tuple[Plane, int]] = set()

    def track(session: PlaneSession, ids: Sequence[int]) -> Iterator["FrameMasks | None"]:
        return run.track(session.plane, session.tracker, session.tracker.propagate(object_ids=ids))

    for moment in carry(
        *(engine.session, follow, plane),
        track=track,
        time_axis=time_axis,
        object_ids=request.object_ids,
        step=step,
    ):
        here = moment.session.plane
        if moment.carried is not None:
            # By the next step of the carry it is made: that begins where it has been brought to.
            carried = moment.carried
            if (yield from run.say(partial(_as_it_is, moment.said))):
                moment.session.carried[carried[0]] = carried[1]
        if moment.masks is not None:
            seen.add((here, moment.masks.frame_index))
            run.show(here, moment.masks)
            engine.post(Progress(min(len(seen) / total, 1.0)))
        yield


def _as_it_is(said: Said, document: Document) -> Said:
    return said


def _walk(
    run: Run,
    session: PlaneSession,
    ids: Sequence[int],
    request: RunRequest,
    span: tuple[int, int],
) -> Generator[tuple["FrameMasks | None", float], None, None]:
    """What is found, None between two objects, and how much of all is done by then, 0 to 1."""
    if request.min_iou <= 0:
        found = session.tracker.propagate(
            start=span[0],
            stop=span[1],
            direction=request.direction,  # type: ignore[arg-type]
            object_ids=list(ids),
            stop_after_absent=request.stop_after_absent,
        )
        with closing(run.track(session.plane, session.tracker, found)) as steps:
            for masks in steps:
                yield masks, found.share
        return
    for number, object_id in enumerate(ids):
        above = propagate_above(
            session.tracker,
            object_id,
            min_iou=request.min_iou,
            direction=request.direction,
            span=span,
            stop_after_absent=request.stop_after_absent,
        )
        for masks, share in above:
            yield masks, (number + share) / len(ids)


def propagate_above(
    tracker: "VideoTracker",
    object_id: int,
    *,
    min_iou: float,
    direction: str,
    span: tuple[int, int],
    stop_after_absent: int | None = None,
) -> Iterator[tuple["FrameMasks", float]]:
    """Propagate one object, and end each way at the first mask below a predicted IoU.

    Between prompted frames nothing ends: what is said there on both sides holds.

    Yields:
        What is found, and how much is done by then, 0 to 1.
    """
    start, stop = span
    share = 0.0
    is_done = False
    while not is_done and start < stop:
        prompted = sorted({*tracker.prompts[object_id], *tracker.confirmed[object_id]})
        is_done = True
        run = tracker.propagate(
            start=start,
            stop=stop,
            direction=direction,  # type: ignore[arg-type]
            object_ids=[object_id],
            stop_after_absent=stop_after_absent,
        )
        for masks in run:
            # What one way has left out is done by the end of the other.
            share = max(share, run.share)
            yield masks, share
            row = int(np.flatnonzero(masks.object_ids == object_id)[0])
            frame = masks.frame_index
            if masks.predicted_iou[row] >= min_iou or prompted[0] <= frame <= prompted[-1]:
                continue
            # The other way is still to be done: go on without what lies beyond this frame.
            start, stop = (start, frame) if frame > prompted[-1] else (frame + 1, stop)
            is_done = False
            break
