"""Which objects are evaluated, and the true masks that they start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sam2_plugins.core.evaluation.metrics import mask_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sam2_plugins.core.evaluation.sequences import ObjectSpan, VosSequence
    from sam2_plugins.core.frames import FrameSource

__all__ = ["PromptedMask", "check_frames", "pick_evenly", "read_starts"]


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


def read_starts(
    sequence: VosSequence, spans: Sequence[ObjectSpan], *, is_forward: bool
) -> list[PromptedMask]:
    """The true mask that each object is prompted with."""
    starts = []
    for span in spans:
        frame_index = span.first_frame if is_forward else span.largest_frame
        mask = mask_of(sequence.read_truth(frame_index), span.object_id)
        starts.append(PromptedMask(span.object_id, frame_index, mask))
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
