"""3D + t: carry every object of a volume from one time point to the next. The worker's thread."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.prompts import MaskPixels, Orders, PromptKey, SlicePrompts
from sam2_plugins.napari_plugin.session import PlaneSession

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sam2_plugins.core import FrameMasks


def at_time(plane: Plane, time_axis: int, time: int) -> Plane:
    """The same planes at another time point."""
    fixed = tuple((a, time if a == time_axis else i) for a, i in plane.fixed)
    return replace(plane, fixed=fixed)


def along_time(plane: Plane, time_axis: int, frame_index: int) -> Plane:
    """One slice of a volume, as it is over time."""
    assert plane.frame_axis is not None
    held = dict(plane.fixed)
    held.pop(time_axis)
    held[plane.frame_axis] = frame_index
    return replace(plane, frame_axis=time_axis, fixed=tuple(sorted(held.items())))


def largest_slice(session: PlaneSession, object_id: int) -> "tuple[int, NDArray[np.bool_]] | None":
    """The slice on which an object is largest, and its mask there; None if it is on none."""
    best: tuple[int, NDArray[np.bool_]] | None = None
    size = 0
    if object_id not in session.tracker.object_ids:
        return None
    for frame_index in session.tracker.known_frames(object_id):
        mask = mask_of(session.tracker.masks(frame_index), object_id)
        if mask is not None and np.count_nonzero(mask) > size:
            best, size = (frame_index, mask), int(np.count_nonzero(mask))
    return best


def mask_of(masks: "FrameMasks", object_id: int) -> "NDArray[np.bool_] | None":
    """(H, W) bool of an object; None if it is not known on that frame."""
    rows = np.flatnonzero(masks.object_ids == object_id)
    return masks.masks[rows[0]] if len(rows) else None


def carry(
    get_session: Callable[[Plane], PlaneSession],
    get_follower: Callable[[Plane], PlaneSession],
    plane: Plane,
    *,
    time_axis: int,
    object_ids: tuple[int, ...],
    step: int = 1,
) -> Iterator[tuple[PlaneSession, PromptKey | None, SlicePrompts | None, "FrameMasks | None"]]:
    """Propagate through depth within each time point, then carry the volume to the next.

    The slice on which an object is largest is tracked from one time point to the next; its mask
    there is the prompt of the next volume.

    Args:
        get_session: Gives the tracker of a plane.
        get_follower: Gives a tracker of one slice over time.
        plane: Of the time point to begin with; it has prompts.
        time_axis: One of the plane's fixed axes.
        object_ids: Of these objects, as long as they are there.
        step: 1 to later time points, -1 to earlier ones.

    Yields:
        (session, None, None, masks) for every slice that got something new, and (session, key,
        prompts, None) for every prompt that was carried.
    """
    times = range(dict(plane.fixed)[time_axis], *((plane.shape[time_axis],) if step > 0 else (-1,)),
                  step)  # fmt: skip
    for time in times:
        here = get_session(at_time(plane, time_axis, time))
        known = [i for i in object_ids if i in here.tracker.object_ids]
        if not known:
            return
        for masks in here.tracker.propagate(object_ids=known):
            yield here, None, None, masks
        if time == times[-1]:
            return
        there = get_session(at_time(plane, time_axis, time + step))
        for object_id in known:
            found = _follow(
                get_follower, here, object_id, time_axis=time_axis, time=time, step=step
            )
            if found is None or object_id in there.tracker.object_ids:
                # What a person has said of the next time point goes first.
                continue
            frame_index, mask = found
            packed = MaskPixels.pack(mask)
            there.apply(frame_index, object_id, Orders(mask=packed))
            key = PromptKey(there.plane, frame_index, object_id)
            yield there, key, SlicePrompts(mask=packed), None


def _follow(
    get_follower: Callable[[Plane], PlaneSession],
    here: PlaneSession,
    object_id: int,
    *,
    time_axis: int,
    time: int,
    step: int,
) -> "tuple[int, NDArray[np.bool_]] | None":
    largest = largest_slice(here, object_id)
    if largest is None:
        return None
    frame_index, mask = largest
    tracker = get_follower(along_time(here.plane, time_axis, frame_index)).tracker
    if object_id in tracker.object_ids:
        tracker.remove_object(object_id)
    tracker.set_mask(time, object_id, mask)
    span = sorted((time, time + step))
    for _ in tracker.propagate(start=span[0], stop=span[1] + 1, object_ids=[object_id]):
        pass
    found = mask_of(tracker.masks(time + step), object_id)
    return None if found is None or not found.any() else (frame_index, found)
