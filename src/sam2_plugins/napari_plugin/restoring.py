"""Opening a tracker again from an autosave. Runs in the worker's thread."""

import logging
from typing import TYPE_CHECKING

from sam2_plugins.napari_plugin.earlier_work import EarlierWork, is_same_mask
from sam2_plugins.napari_plugin.frames import ImageStack
from sam2_plugins.napari_plugin.journal import Saved
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.neighbours import make_room, recall_others
from sam2_plugins.napari_plugin.prompts import Click, MaskPixels, Orders, make_orders
from sam2_plugins.napari_plugin.session import LockedMask, PlaneSession
from sam2_plugins.napari_plugin.trackers import load_tracker

if TYPE_CHECKING:
    from sam2_plugins.core import SAM2, VideoTracker

_LOGGER = logging.getLogger(__name__)


def open_session(
    model: "SAM2", stack: ImageStack, plane: Plane, earlier: EarlierWork
) -> PlaneSession:
    """A tracker of a plane: as it was saved, brought up to what was said since, or a new one."""
    saved = earlier.saved
    if saved is None:
        return PlaneSession(model, stack, plane)
    tracker = _load_tracker(model, stack, plane, saved)
    session = PlaneSession(model, stack, plane, tracker)
    _tell(session, earlier, saved)
    if tracker is not None and earlier.was_taken_back(session):
        # For such a tracker there is nothing to compute where there is nothing on show.
        session, tracker = PlaneSession(model, stack, plane), None
        _tell(session, earlier, saved)
    earlier.meet(session, is_loaded=tracker is not None)
    return session


def _tell(session: PlaneSession, earlier: EarlierWork, saved: Saved) -> None:
    """Bring a tracker up to what was said."""
    plane = session.plane
    session.orders = _orders_of(session.tracker)
    _lock(session, earlier, saved.confirmed.get(plane, []))
    said = {(k.frame_index, k.object_id): p for k, p in saved.prompts.items() if k.plane == plane}
    orders = {key: make_orders(prompts, plane) for key, prompts in said.items()}
    recall_others(session, orders)
    for key in [*said, *(set(session.orders) - set(said))]:
        if key[0] not in session.tracker.confirmed.get(key[1], []):
            session.apply(*key, orders.get(key, Orders()))
    for frame_index in sorted({frame_index for frame_index, _ in said}):
        make_room(session, frame_index)


def _load_tracker(
    model: "SAM2", stack: ImageStack, plane: Plane, saved: Saved
) -> "VideoTracker | None":
    path = saved.sessions.get(plane)
    if path is None:
        return None
    try:
        return load_tracker(path, model, stack, plane)
    except (OSError, ValueError, KeyError) as error:
        # Prompts and masks are known anyway; only the computing has to be done again.
        _LOGGER.warning("the tracker is begun anew: %s", error)
        return None


def _orders_of(tracker: "VideoTracker") -> dict[tuple[int, int], Orders]:
    found = {}
    for object_id, frames in tracker.prompts.items():
        for frame_index, said in frames.items():
            points, box, mask = said.points, said.box, said.mask
            clicks = () if points is None else zip(points.xy, points.labels, strict=True)
            found[frame_index, object_id] = Orders(
                None if mask is None else MaskPixels.pack(mask.mask),
                None if box is None else (box.x0, box.y0, box.x1, box.y1),
                tuple(Click(x, y, label) for (x, y), label in clicks),
            )
    return found


def _lock(session: PlaneSession, earlier: EarlierWork, confirmed: list[tuple[int, int]]) -> None:
    """Lock what was locked; a mask that the tracker does not have is taken from the slices."""
    tracker, missing = session.tracker, []
    for object_id, frame_index in confirmed:
        drawn = earlier.drawn(session.plane, frame_index)
        score = None if drawn is None else drawn.scores.get(object_id)
        known = object_id in tracker.object_ids and frame_index in tracker.known_frames(object_id)
        is_locked = frame_index in tracker.confirmed.get(object_id, [])
        own = session.labels(frame_index).scores[object_id] if known else None
        if known and (score is None or is_same_mask(score, own)):
            tracker.confirm(object_id, frame_index)
        elif drawn is not None and not is_locked:
            missing.append(LockedMask(frame_index, object_id, drawn.mask(object_id)))
    session.adopt_locked(missing)
