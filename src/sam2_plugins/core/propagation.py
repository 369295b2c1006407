"""The order in which frames are tracked: pure planning, no network.

A walk starts at a frame with prompts and goes one way. With direction "both" the frames between two
prompts are reached from either side, and where the two walks meet is decided by what they have
found, see `meeting`. One direction alone, and `exact`, walk through later prompts to the end, as
the published implementation does.
"""

import hashlib
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from operator import index as as_index
from typing import Literal

from sam2_plugins.core.prompts import check_frame_index

Direction = Literal["both", "forward", "backward"]
Visit = tuple[int, int]
"""A step, 1 forward or -1 backward, and a frame to which it leads."""
Visits = Set[Visit]
DIRECTIONS: tuple[Direction, ...] = ("both", "forward", "backward")


@dataclass(frozen=True, slots=True)
class Walk:
    """Frames of one object in the order they are tracked.

    Attributes:
        object_id: The object.
        step: 1 forward, -1 backward.
        frames: From the frame with prompts that it starts at, in walking order.
        meets: Whether another walk comes the other way over the same frames, from the next prompts.
    """

    object_id: int
    step: int
    frames: range
    meets: bool = False

    @property
    def window(self) -> range:
        """The same frames, ascending."""
        return self.frames if self.step > 0 else self.frames[::-1]


def check_direction(direction: str) -> None:
    """Check a direction.

    Raises:
        ValueError: It is none.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be {', '.join(DIRECTIONS)}, not {direction!r}")


def check_span(start: int | None, stop: int | None, num_frames: int) -> range:
    """The frames that may be computed.

    Raises:
        ValueError: They are none, or not in the stack.
    """
    start = 0 if start is None else check_frame_index(start, num_frames)
    try:
        end = num_frames if stop is None else as_index(stop)
    except TypeError:
        end = -1
    if not start < end <= num_frames:
        raise ValueError(
            f"stop must be {start + 1} to {num_frames} (the frame after the last), not {stop!r}"
        )
    return range(start, end)


def plan_walks(
    object_id: int,
    conditioning_frames: Sequence[int],
    *,
    num_frames: int,
    direction: Direction,
    exact: bool,
) -> list[Walk]:
    """The walks of one object.

    Args:
        object_id: The object.
        conditioning_frames: Ascending.
        num_frames: Of the stack.
        direction: Which way.
        exact: Walk from the first prompts forward to the end and backward to the start.

    Returns:
        Walks that share no frame but those between two prompts, over which one goes each way.
    """
    if not conditioning_frames:
        return []
    first, last = conditioning_frames[0], conditioning_frames[-1]
    if direction == "forward":
        return [Walk(object_id, 1, range(first, num_frames))]
    if direction == "backward":
        return [Walk(object_id, -1, range(first if exact else last, -1, -1))]
    if exact:
        last = first
    walks = [Walk(object_id, 1, range(last, num_frames))]
    walks.append(Walk(object_id, -1, range(first, -1, -1)))
    if not exact:
        for left, right in pairwise(conditioning_frames):
            walks.append(Walk(object_id, 1, range(left, right), meets=True))
            walks.append(Walk(object_id, -1, range(right, left, -1), meets=True))
    return walks


def walking_order(walks: Sequence[Walk], step: int) -> Iterator[tuple[int, list[Walk]]]:
    """Frames of the walks that go one way, in order, each with the walks that pass it."""
    ours = [walk for walk in walks if walk.step == step and len(walk.frames)]
    if not ours:
        return
    begin = min(walk.window[0] for walk in ours)
    end = max(walk.window[-1] for walk in ours) + 1
    order = range(begin, end) if step > 0 else range(end - 1, begin - 1, -1)
    for frame_index in order:
        passing = [walk for walk in ours if frame_index in walk.frames]
        if passing:
            yield frame_index, passing


def plan_visits(walks: Sequence[Walk], span: range) -> Visits:
    """What walks visit of the frames that may be computed.

    The frame that a walk backward sets out from is not visited again where one forward has come by.
    """
    ahead = {frame for walk in walks if walk.step > 0 for frame in walk.frames}
    behind = {
        frame
        for walk in walks
        if walk.step < 0
        for frame in walk.frames
        if frame != walk.frames[0] or frame not in ahead
    }
    both = ((1, ahead), (-1, behind))
    return frozenset((step, frame) for step, frames in both for frame in frames.intersection(span))


def link(chain: str, *parts: object) -> str:
    """The next name in a chain of results: equal names mean equal histories."""
    return hashlib.sha256(repr((chain, parts)).encode()).hexdigest()[:32]
