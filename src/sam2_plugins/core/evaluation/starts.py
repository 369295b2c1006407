"""Which objects are evaluated, and the true masks that they start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2_plugins.core.evaluation.metrics import mask_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sam2_plugins.core.evaluation.sequences import ObjectSpan, VosSequence
    from sam2_plugins.core.frames import FrameSource

__all__ = ["PromptedMask", "check_frames", "pick_evenly", "prompted_frames", "read_starts"]


@dataclass(frozen=True, slots=True, eq=False)
class PromptedMask:
    """The true mask a track starts from.

    Attributes:
        object_id: Id of the object.
        frame_index: 0-based index of the frame.
        mask: (H, W) bool.
    """

    object_id: int
    frame_index: int
    mask: NDArray[np.bool_]


def pick_evenly(items: Sequence[Any], count: int | None) -> list[Any]:
    """At most `count` of the items, evenly spaced; all for None.

    Raises:
        ValueError: `count` is less than 1.
    """
    if count is not None and count < 1:
        raise ValueError(f"at most 1 or more, not {count}")
    if count is None or len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def prompted_frames(span: ObjectSpan, *, is_forward: bool, keyframes: int = 1) -> list[int]:
    """The frames that an object is prompted on.

    Args:
        span: Of the object.
        is_forward: Whether a single one is its first, else its largest.
        keyframes: How many; several are evenly spaced over those where the object is seen, from
            the first of these to the last, and fewer where there are not as many.
    """
    if keyframes == 1:
        return [span.first_frame if is_forward else span.largest_frame]
    places = np.linspace(0, len(span.visible_frames) - 1, keyframes).round().astype(int)
    return [span.visible_frames[place] for place in np.unique(places)]


def read_starts(
    sequence: VosSequence, spans: Sequence[ObjectSpan], *, is_forward: bool, keyframes: int = 1
) -> list[PromptedMask]:
    """The true masks that objects are prompted with; see `prompted_frames`."""
    starts = []
    for span in spans:
        for frame in prompted_frames(span, is_forward=is_forward, keyframes=keyframes):
            mask = mask_of(sequence.read_truth(frame), span.object_id)
            starts.append(PromptedMask(span.object_id, frame, mask))
    return starts


def check_frames(
    sequence: VosSequence, frames: FrameSource, starts: Sequence[PromptedMask]
) -> None:
    """Raise ValueError where frames and truth differ in number or size."""
    last = sequence.annotated_frames[-1]
    if last >= frames.num_frames:
        raise ValueError(
            f"{sequence.name}: frame {last} is annotated, but there are {frames.num_frames} frames"
        )
    for start in starts:
        if start.mask.shape != tuple(frames.frame_size):
            raise ValueError(
                f"{sequence.name}: masks have size {start.mask.shape}, "
                f"frames {tuple(frames.frame_size)}"
            )
