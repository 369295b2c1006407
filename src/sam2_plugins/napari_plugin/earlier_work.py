"""Earlier work that was restored: what was drawn then holds until a tracker finds otherwise.

A tracker goes on from its own file, and that is older than the last finished slices where napari
was killed in a run. So each slice is shown as it was saved, object by object, as long as the
tracker says the same of it as when it was opened: that is found by comparing, and so whatever is
undone brings the saved picture back.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sam2_plugins.napari_plugin.document import PlaneObject, Step
from sam2_plugins.napari_plugin.edits import FrameObject
from sam2_plugins.napari_plugin.frame_labels import FrameLabels, Score, blank_frame, extent
from sam2_plugins.napari_plugin.journal import Saved
from sam2_plugins.napari_plugin.layers import Plane, union
from sam2_plugins.napari_plugin.prompts import Orders
from sam2_plugins.napari_plugin.session import LockedMask, PlaneSession


class _Opening(NamedTuple):
    """What a tracker knew when it was opened: scores by frame and object, and its orders."""

    scores: dict[int, dict[int, Score]]
    orders: dict[FrameObject, Orders]


class EarlierWork:
    """What was saved of an image, and which of it still holds.

    Args:
        saved: As it was read; nothing if not given.

    Attributes:
        saved: The same, but for the slices.
    """

    def __init__(self, saved: Saved | None = None) -> None:
        self.saved = None if saved is None else replace(saved, slices={})
        self._drawn: dict[Plane, dict[int, FrameLabels]] = {}
        self._openings: dict[Plane, _Opening] = {}
        self._gone: dict[Step, set[PlaneObject]] = {}
        self._gone_undone: dict[Step, set[PlaneObject]] = {}
        self._planes: list[Plane] = []
        if saved is not None:
            for (plane, frame_index), found in saved.slices.items():
                self._drawn.setdefault(plane, {})[frame_index] = found
            said = (key.plane for key in saved.prompts)
            planes = (*said, *saved.confirmed, *saved.sessions, *self._drawn)
            self._planes = list(dict.fromkeys(planes))

    # Planes whose tracker was not opened yet

    @property
    def waiting(self) -> list[Plane]:
        """Planes of which something was saved, and whose tracker was not opened yet."""
        return [plane for plane in self._planes if plane not in self._openings]

    def is_waiting(self, plane: Plane, *, is_drawn: bool) -> bool:
        """Whether a plane's tracker was not opened yet.

        Args:
            plane: The plane.
            is_drawn: Whether something is to be on show of it meanwhile.
        """
        return plane in self.waiting and is_drawn == (plane in self._drawn)

    def waiting_with(self, object_id: int) -> list[Plane]:
        """Planes whose tracker, once it is opened, is told of an object."""
        if self.saved is None:
            return []
        told = {key.plane for key in self.saved.prompts if key.object_id == object_id}
        for plane, locked in self.saved.confirmed.items():
            if any(of == object_id for of, _ in locked):
                told.add(plane)
        return [plane for plane in self.waiting if plane in told]

    def locked(self) -> dict[Plane, list[LockedMask]]:
        """Locked masks of planes whose tracker was not opened yet."""
        found: dict[Plane, list[LockedMask]] = {}
        for plane in self.waiting:
            confirmed = [] if self.saved is None else self.saved.confirmed.get(plane, [])
            for object_id, frame_index in confirmed:
                drawn = self.drawn(plane, frame_index)
                if drawn is not None:
                    locked = LockedMask(frame_index, object_id, drawn.mask(object_id))
                    found.setdefault(plane, []).append(locked)
        return found

    def meet(self, session: PlaneSession, *, is_loaded: bool) -> None:
        """Take note of what a tracker knows that was opened just now.

        Args:
            session: Of the plane.
            is_loaded: From its own file: only what was drawn later can be news to it.
        """
        plane = session.plane
        drawn = self._newer(plane) if is_loaded else self._drawn.get(plane, {})
        self._drawn.pop(plane, None)
        known, scores = set(session.known_frames()), {}
        for frame_index, found in list(drawn.items()):
            now = session.labels(frame_index).scores if frame_index in known else {}
            if now == found.scores:
                del drawn[frame_index]
                continue
            # A prompt that was never answered is answered now.
            scores[frame_index] = {
                i: score
                for i, score in now.items()
                if i in found.scores or (frame_index, i) not in session.orders
            }
        if drawn:
            self._drawn[plane] = drawn
        self._openings[plane] = _Opening(scores, dict(session.orders))

    def was_taken_back(self, session: PlaneSession) -> bool:
        """Whether a tracker from its file knows masks that were not on show any more."""
        newer, tracker = self._newer(session.plane), session.tracker
        return any(
            frame_index in newer
            and object_id not in newer[frame_index].scores
            and (frame_index, object_id) not in session.orders
            for object_id in tracker.object_ids
            for frame_index in tracker.known_frames(object_id)
        )

    # What holds

    def drawn(self, plane: Plane, frame_index: int) -> FrameLabels | None:
        """A slice as it was saved; None if it was not, or is the tracker's again."""
        return self._drawn.get(plane, {}).get(frame_index)

    def known_frames(self, plane: Plane, session: PlaneSession | None) -> list[int]:
        """Frames that were drawn or that the tracker (None: not opened yet) knows, ascending."""
        own = [] if session is None else session.known_frames()
        return sorted({*own, *self._drawn.get(plane, ())})

    def object_ids(self, plane: Plane, session: PlaneSession | None = None) -> set[int]:
        """Objects that were drawn on any of them, and those of the tracker."""
        own = [] if session is None else session.tracker.object_ids
        drawn = self._drawn.get(plane, {}).values()
        return {*own, *(i for found in drawn for i in self._kept(found, set()))}

    def labels(self, plane: Plane, frame_index: int, session: PlaneSession | None) -> FrameLabels:
        """What is on show of a frame: see `completed`."""
        if session is None:
            return self.completed(blank_frame(plane, frame_index), None)
        return self.completed(session.labels(frame_index), session)

    def completed(self, found: FrameLabels, session: PlaneSession | None) -> FrameLabels:
        """A frame with what was drawn on it before and still holds.

        Args:
            found: What the tracker knows.
            session: The tracker; None where it was not opened yet.
        """
        drawn = self.drawn(found.plane, found.frame_index)
        if drawn is None:
            return found
        new = self._news(found, session)
        kept = self._kept(drawn, new)
        if not new and len(kept) == len(drawn.scores):
            return drawn
        return _join(drawn, kept, found, new)

    def take_over(self, session: PlaneSession, frame_index: int, object_id: int) -> int:
        """Tell the tracker of a mask on show that it does not have, so that it can be locked.

        Returns:
            How many changes that took.
        """
        drawn, tracker = self.drawn(session.plane, frame_index), session.tracker
        if drawn is None or frame_index in tracker.confirmed.get(object_id, []):
            return 0
        mask = drawn.mask(object_id)
        if object_id not in self._unknown(drawn, session) or not mask.any():
            return 0
        return session.take_mask(frame_index, object_id, mask)

    def is_needed(self, session: PlaneSession) -> bool:
        """Whether something is on show that the tracker does not know."""
        drawn = self._drawn.get(session.plane, {})
        if not drawn:
            return False
        tracker, was = session.tracker, self._openings[session.plane].scores
        known = {i: frozenset(tracker.known_frames(i)) for i in tracker.object_ids}
        # Masks are only looked at where the tracker had one before: that takes time.
        return any(
            i not in was[frame_index] and frame_index not in known.get(i, ())
            for frame_index, found in drawn.items()
            for i in self._kept(found, set())
        ) or any(self._unknown(found, session) for index, found in drawn.items() if was[index])

    # Objects that go

    def leave_out(self, step: Step, objects: Iterable[PlaneObject]) -> list[Plane]:
        """Objects are gone by a step of undo; returns planes on which they were drawn."""
        gone = {known for known in objects if known.object_id in self.object_ids(known.plane)}
        if gone:
            self._gone[step] = self._gone.get(step, set()) | gone
        return [plane for plane in self._planes if any(plane == known.plane for known in gone)]

    def remove(self, step: Step, object_id: int) -> list[Plane]:
        """An object is gone everywhere by a step of undo; returns planes on which it was drawn."""
        return self.leave_out(step, (PlaneObject(plane, object_id) for plane in self._planes))

    def undo(self, step: Step) -> list[Plane]:
        """A step is undone; returns planes with objects that are back."""
        gone = self._gone.pop(step, set())
        if gone:
            self._gone_undone[step] = gone
        return list(dict.fromkeys(known.plane for known in gone))

    def redo(self, step: Step) -> list[Plane]:
        """A step is made again; returns planes with objects that are gone again."""
        return self.leave_out(step, self._gone_undone.pop(step, set()))

    # Inside

    def _newer(self, plane: Plane) -> dict[int, FrameLabels]:
        """Slices that were drawn after the plane's tracker was saved."""
        frames = frozenset() if self.saved is None else self.saved.newer.get(plane, frozenset())
        return {i: found for i, found in self._drawn.get(plane, {}).items() if i in frames}

    def _news(self, found: FrameLabels, session: PlaneSession | None) -> set[int]:
        """Objects of which the tracker says something else than when it was opened."""
        if session is None:
            return set()
        frame_index, opening = found.frame_index, self._openings[found.plane]
        was, now = opening.scores[frame_index], found.scores
        keys = {key for key in (*opening.orders, *session.orders) if key[0] == frame_index}
        ordered = {k[1] for k in keys if opening.orders.get(k) != session.orders.get(k)}
        return ordered | {i for i in {*was, *now} if was.get(i) != now.get(i)}

    def _unknown(self, drawn: FrameLabels, session: PlaneSession) -> set[int]:
        """Objects that are on show as they were drawn, and otherwise or not in the tracker."""
        found = session.labels(drawn.frame_index)
        kept = self._kept(drawn, self._news(found, session))
        return {i for i in kept if not is_same_mask(drawn.scores[i], found.scores.get(i))}

    def _kept(self, drawn: FrameLabels, new: set[int]) -> set[int]:
        plane = drawn.plane
        gone = {of.object_id for objects in self._gone.values() for of in objects if of[0] == plane}
        return set(drawn.scores) - new - gone


def is_same_mask(score: Score | None, other: Score | None) -> bool:
    """Whether two scores are of one mask, whatever of it is drawn: the model's part tells."""
    return score is not None and other is not None and score[:2] == other[:2]


def _join(drawn: FrameLabels, kept: set[int], found: FrameLabels, new: set[int]) -> FrameLabels:
    """Some objects of a frame as they were drawn, and others as they are found, on top."""
    scores = {i: drawn.scores[i] for i in sorted(kept)}
    scores |= {i: found.scores[i] for i in sorted(new) if i in found.scores}
    window = union(drawn.window, found.window)
    dtype = np.result_type(drawn.labels, found.labels)
    if window is None:
        return replace(found, scores=scores)
    y0, x0, y1, x1 = window
    labels = np.zeros((y1 - y0, x1 - x0), dtype)
    for part, ids in ((drawn, kept), (found, new)):
        if part.window is not None:
            top, left, bottom, right = part.window
            here = labels[top - y0 : bottom - y0, left - x0 : right - x0]
            np.copyto(here, part.labels, where=np.isin(part.labels, sorted(ids)))
    where = extent(labels > 0)
    if where is None:
        return replace(found, window=None, labels=np.zeros((0, 0), dtype), scores=scores)
    top, left, bottom, right = where
    window = (y0 + top, x0 + left, y0 + bottom, x0 + right)
    return replace(found, window=window, labels=labels[top:bottom, left:right], scores=scores)
