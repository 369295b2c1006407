"""3D + t: carry every object of a volume from one time point to the next. The worker's thread."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from sam2_plugins.napari_plugin.frame_labels import mask_of
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.prompts import MaskPixels, Orders, PromptKey, SlicePrompts
from sam2_plugins.napari_plugin.session import Carriage, PlaneSession

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


@dataclass(frozen=True, eq=False)
class Moment:
    """A step of a carry: masks of a slice that got something new, or prompts that were carried.

    Neither of them between two objects of a slice.

    Attributes:
        session: Of the time point.
        masks: Of the slice.
        said: Prompts that are to be said before the carry goes on; empty ones where earlier ones
            are to be taken back.
        carried: The object they are of, and what to keep in mind once they are said.
    """

    session: PlaneSession
    masks: "FrameMasks | None" = None
    said: dict[PromptKey, SlicePrompts] = field(default_factory=dict)
    carried: tuple[int, Carriage] | None = None


def carry(
    get_session: Callable[[Plane], PlaneSession],
    get_follower: Callable[[Plane], PlaneSession],
    plane: Plane,
    *,
    track: "Callable[[PlaneSession, Sequence[int]], Iterator[FrameMasks | None]]",
    time_axis: int,
    object_ids: tuple[int, ...],
    step: int = 1,
) -> Iterator[Moment]:
    """Propagate through depth within each time point, then carry the volume to the next.

    The slice on which an object is largest is tracked from one time point to the next; its mask
    there is the prompt of the next volume. What was carried before, from the same mask, is not
    carried again: a carry that was stopped goes on where it was, and after a correction only what
    follows from it is done anew. What a person has said of a time point is left alone.

    Args:
        get_session: Gives the tracker of a plane.
        get_follower: Gives a tracker of one slice over time.
        plane: Of the time point to begin with; it has prompts.
        track: Propagates objects within a time point; may give None between two of a slice.
        time_axis: One of the plane's fixed axes.
        object_ids: Of these objects, as long as they are there.
        step: 1 to later time points, -1 to earlier ones.
    """
    times = times_from(plane, time_axis, step)
    for time in times:
        here = get_session(at_time(plane, time_axis, time))
        known = [i for i in object_ids if i in here.tracker.object_ids]
        if not known:
            return
        for masks in track(here, known):
            yield Moment(here, masks)
        if time == times[-1]:
            return
        there = get_session(at_time(plane, time_axis, time + step))
        for object_id in known:
            source = largest_slice(here, object_id)
            if source is None or not _is_wanted(there, object_id, source):
                continue
            follower = get_follower(along_time(here.plane, time_axis, source[0]))
            mask = _follow(follower, object_id, source[1], times=(time, time + step))
            if mask is not None:
                yield _place(there, object_id, source, mask)


def times_from(plane: Plane, time_axis: int, step: int) -> range:
    """Time points from that of a plane on."""
    end = plane.shape[time_axis] if step > 0 else -1
    return range(dict(plane.fixed)[time_axis], end, step)


def _is_wanted(
    there: PlaneSession, object_id: int, source: "tuple[int, NDArray[np.bool_]]"
) -> bool:
    """Whether an object is not there yet, or only by a carry from another mask than now."""
    if object_id not in there.tracker.object_ids:
        return True
    carried = there.carried.get(object_id)
    said = {key: orders for key, orders in there.orders.items() if key[1] == object_id}
    is_ours = carried is not None and said == {(carried.frame_index, object_id): carried.orders}
    if carried is None or not is_ours or there.tracker.confirmed.get(object_id):
        return False
    return (carried.frame_index, carried.source) != (source[0], MaskPixels.pack(source[1]))


def _place(
    there: PlaneSession,
    object_id: int,
    source: "tuple[int, NDArray[np.bool_]]",
    mask: "NDArray[np.bool_]",
) -> Moment:
    """Make a mask the prompt of a volume, in place of what was carried there before."""
    frame_index, packed = source[0], MaskPixels.pack(mask)
    earlier = there.carried.get(object_id)
    orders = Orders(mask=packed)
    said = {PromptKey(there.plane, frame_index, object_id): SlicePrompts(mask=packed)}
    if earlier is not None and earlier.frame_index != frame_index:
        # Last: an object goes with its only prompt.
        said[PromptKey(there.plane, earlier.frame_index, object_id)] = SlicePrompts()
    carriage = Carriage(frame_index, orders, MaskPixels.pack(source[1]))
    return Moment(there, said=said, carried=(object_id, carriage))


def _follow(
    follower: PlaneSession, object_id: int, mask: "NDArray[np.bool_]", *, times: tuple[int, int]
) -> "NDArray[np.bool_] | None":
    """A mask at the first time, tracked to the second; None where the object is gone."""
    tracker = follower.tracker
    if object_id in tracker.object_ids:
        tracker.remove_object(object_id)
    tracker.set_mask(times[0], object_id, mask)
    for _ in tracker.propagate(start=min(times), stop=max(times) + 1, object_ids=[object_id]):
        pass
    found = mask_of(tracker.masks(times[1]), object_id)
    return None if found is None or not found.any() else found
