"""Objects that touch: a click on one says of another, whose mask hides it, where that ends.

A tracker answers each object by itself, and a first click on one of two cells that touch may find
both. Where both are clicked on, the two answers would lie on each other.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from sam2_plugins.napari_plugin.edits import FrameObject
from sam2_plugins.napari_plugin.frame_labels import mask_at
from sam2_plugins.napari_plugin.layers import nearest
from sam2_plugins.napari_plugin.prompts import Click, Orders
from sam2_plugins.napari_plugin.session import PlaneSession


def make_room(session: PlaneSession, frame_index: int) -> int:
    """Bring clicks on other objects that objects of a frame are told of to what is hidden now.

    An object with a mask of its own, painted or locked, is what it is. So are one inside another,
    as a nucleus in a cell: neither hides what was clicked on for the other.

    Returns:
        How many changes of the session that took.
    """
    said = session.orders_on(frame_index)
    if len(said) < 2 and not any(orders.others for orders in said.values()):
        return 0
    count = sum(
        session.leave_to_others(frame_index, object_id, kept)
        for object_id, kept in _still_said(said).items()
    )
    said = session.orders_on(frame_index)
    found: dict[int, list[Click]] = {}
    for first, second in _hiding(session, frame_index, said):
        for one, other in ((first, second), (second, first)):
            found.setdefault(one, []).extend(_covered(session, frame_index, one, said[other]))
    return count + sum(
        session.leave_to_others(
            frame_index, object_id, tuple(dict.fromkeys((*said[object_id].others, *clicks)))
        )
        for object_id, clicks in found.items()
    )


def recall_others(session: PlaneSession, said: Mapping[FrameObject, Orders]) -> None:
    """Tell apart, in what a tracker from a file was told, clicks on other objects.

    Args:
        session: Its orders are as the tracker has them.
        said: What a person said, by frame and object.
    """
    for key, orders in said.items():
        told = session.orders.get(key, Orders())
        own, others = told.clicks[: len(orders.clicks)], told.clicks[len(orders.clicks) :]
        there = session.orders_on(key[0]).values()
        on_others = {(x, y) for known in there for x, y, _ in on_object(known)}
        if others and own == orders.clicks and {(x, y) for x, y, _ in others} <= on_others:
            kept = tuple(click._replace(label=1) for click in others)
            session.orders[key] = replace(told, clicks=own, others=kept)


def _still_said(said: Mapping[int, Orders]) -> dict[int, tuple[Click, ...]]:
    """Of what each object is told of others, that which they still say."""
    return {
        object_id: tuple(
            click
            for click in orders.others
            if any(click in on_object(said[other]) for other in said if other != object_id)
        )
        for object_id, orders in said.items()
    }


def _hiding(
    session: PlaneSession, frame_index: int, said: Mapping[int, Orders]
) -> Iterator[tuple[int, int]]:
    """Pairs of objects: one that is drawn where the other was clicked on, and the other."""
    found = session.labels(frame_index)
    for object_id, orders in said.items():
        drawn = {found.label_at(nearest(c.x), nearest(c.y)) for c in on_object(orders)}
        for other in sorted(drawn & set(said) - {object_id}):
            yield other, object_id


def _covered(session: PlaneSession, frame_index: int, object_id: int, other: Orders) -> list[Click]:
    """Clicks on another object that are inside the mask of this one."""
    masks = session.tracker.masks(frame_index)
    return [c for c in on_object(other) if mask_at(masks, object_id, nearest(c.x), nearest(c.y))]


def on_object(orders: Orders) -> list[Click]:
    """The clicks that say where an object is."""
    return [click for click in orders.clicks if click.label]
