"""Opening a tracker again from an autosave. Runs in the worker's thread."""

import logging
from typing import TYPE_CHECKING

from sam2_plugins.napari_plugin.frames import ImageStack
from sam2_plugins.napari_plugin.journal import Saved
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.prompts import Click, MaskPixels, Orders, SlicePrompts, make_orders
from sam2_plugins.napari_plugin.session import LockedMask, PlaneSession
from sam2_plugins.napari_plugin.trackers import load_tracker

if TYPE_CHECKING:
    from sam2_plugins.core import SAM2, VideoTracker

_LOGGER = logging.getLogger(__name__)


def open_session(
    model: "SAM2", stack: ImageStack, plane: Plane, *, saved: Saved | None = None
) -> PlaneSession:
    """A tracker of a plane: as it was saved, brought up to what was said since, or a new one."""
    if saved is None:
        return PlaneSession(model, stack, plane)
    session = PlaneSession(model, stack, plane, _load_tracker(model, stack, plane, saved))
    session.orders = _orders_of(session.tracker)
    _lock(session, saved)
    said = {(k.frame_index, k.object_id): p for k, p in saved.prompts.items() if k.plane == plane}
    for key in [*said, *(set(session.orders) - set(said))]:
        if key[0] in session.tracker.confirmed.get(key[1], []):
            continue
        session.apply(*key, make_orders(said.get(key, SlicePrompts()), plane))
    return session


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


def _lock(session: PlaneSession, saved: Saved) -> None:
    """Lock what was locked; a mask that the tracker does not have is taken from the slices."""
    missing = []
    for object_id, frame_index in saved.confirmed.get(session.plane, []):
        known = session.tracker.object_ids
        if object_id in known and frame_index in session.tracker.known_frames(object_id):
            session.tracker.confirm(object_id, frame_index)
            continue
        slice_ = saved.slices.get((session.plane, frame_index))
        if slice_ is not None:
            missing.append(LockedMask(frame_index, object_id, slice_.mask(object_id)))
    session.adopt_locked(missing)
