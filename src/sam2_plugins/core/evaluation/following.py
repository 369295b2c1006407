"""Following objects from one prompted frame: by the tracker, or by what needs no model."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from sam2_plugins.core.evaluation.baselines import copy_masks, warp_masks
from sam2_plugins.core.evaluation.clicks import click_until_right
from sam2_plugins.core.evaluation.metrics import mask_of
from sam2_plugins.core.evaluation.through_time import follow_through_time
from sam2_plugins.core.masks import mask_to_box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from sam2_plugins.core.evaluation.starts import PromptedMask
    from sam2_plugins.core.frames import FrameSource
    from sam2_plugins.core.masks import FrameMasks

__all__ = ["BASELINES", "Tracker", "follow"]

BASELINES = ("copy", "flow")


class Tracker(Protocol):
    """What is evaluated: `VideoTracker`, or anything that takes the same prompts."""

    def add_points(
        self, frame_index: int, object_id: int, points: Any, point_labels: Any
    ) -> FrameMasks:
        """Adds clicks and gives the masks of that frame."""

    def set_box(self, frame_index: int, object_id: int, box: Any) -> FrameMasks:
        """Sets a box and gives the masks of that frame."""

    def set_mask(self, frame_index: int, object_id: int, mask: Any) -> FrameMasks:
        """Sets a mask and gives the masks of that frame."""

    def propagate(
        self, *, direction: Literal["both", "forward", "backward"] = "both"
    ) -> Iterator[FrameMasks]:
        """Tracks away from the prompts."""


def follow(
    frames: FrameSource,
    starts: Sequence[PromptedMask],
    *,
    method: Callable[[FrameSource], Tracker] | str,
    prompt: str,
    is_forward: bool,
    depth: int | None,
) -> Iterator[FrameMasks]:
    """Follows all objects of a sequence.

    Args:
        frames: Of the sequence.
        starts: Where each object starts; for baselines, each object once.
        method: Gives a new tracker for frames; or one of `BASELINES`.
        prompt: What a tracker is told of the start; baselines always get the mask.
        is_forward: Only to later frames; else both ways.
        depth: See `VosSequence`.

    Yields:
        Masks of the frames, in any order.
    """
    walk: Callable[..., Iterator[FrameMasks]]
    carry: Callable[..., Iterator[FrameMasks]]
    if isinstance(method, str):
        walk = carry = copy_masks if method == "copy" else warp_masks
    else:
        walk = partial(_track, make_tracker=method, prompt=prompt)
        carry = partial(_track, make_tracker=method, prompt="mask")
    if depth is None:
        return walk(frames, starts, backward=not is_forward)
    return follow_through_time(
        *(frames, starts),
        depth=depth,
        follow=partial(walk, backward=True),
        carry=partial(carry, backward=False),
    )


def _track(
    frames: FrameSource,
    starts: Sequence[PromptedMask],
    *,
    make_tracker: Callable[[FrameSource], Tracker],
    prompt: str,
    backward: bool,
) -> Iterator[FrameMasks]:
    tracker = make_tracker(frames)
    if not starts:
        return iter(())
    for start in starts:
        if prompt == "mask":
            tracker.set_mask(start.frame_index, start.object_id, start.mask)
        elif prompt == "box":
            box = mask_to_box(start.mask).astype(np.float64)
            tracker.set_box(start.frame_index, start.object_id, box)
        else:
            _click(tracker, start, int(prompt.partition("-")[0]))
    return tracker.propagate(direction="both" if backward else "forward")


def _click(tracker: Tracker, start: PromptedMask, num_clicks: int) -> None:
    def add(xy: tuple[int, int], point_label: int) -> NDArray[np.bool_]:
        preview = tracker.add_points(start.frame_index, start.object_id, [xy], [point_label])
        return mask_of(preview, start.object_id)

    click_until_right(start.mask, None, add, num_clicks=num_clicks)
