"""Which memories a frame attends to: a pure rule, apart from how memories are made and kept.

SAM 2 paper, section 4 (memory bank): all or the nearest prompted frames, the last few frames, and
object pointers of both.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemoryRule:
    """How much is remembered.

    Attributes:
        max_conditioning_frames: How many conditioning frames a frame attends to; None for all.
        memory_frames: How many of the last frames it attends to.
        memory_stride: Every how manyth of them; the frame just before always counts.
        max_pointers: Object pointers of recent frames reach back one less than this.
    """

    max_conditioning_frames: int | None
    memory_frames: int
    memory_stride: int
    max_pointers: int

    def __post_init__(self) -> None:
        limit = self.max_conditioning_frames
        if limit is not None and limit < 1:
            raise ValueError(f"max_conditioning_frames must be 1 or more, or None, not {limit}")
        if self.memory_frames < 0:
            raise ValueError(f"memory_frames must be 0 or more, not {self.memory_frames}")
        if self.memory_stride < 1:
            raise ValueError(f"memory_stride must be 1 or more, not {self.memory_stride}")


def select_conditioning(
    frame_index: int, conditioning_frames: Collection[int], limit: int | None
) -> list[int]:
    """The conditioning frames that a frame attends to, ascending.

    The nearest before, the nearest after, then whatever is nearest.

    Args:
        frame_index: The frame that attends; it is not a conditioning frame of itself.
        conditioning_frames: Of the object.
        limit: How many at most; None for all.
    """
    others = sorted(frame for frame in conditioning_frames if frame != frame_index)
    if limit is None or len(others) <= limit:
        return others
    nearest = sorted(others, key=lambda frame: (abs(frame - frame_index), frame))
    sides = [
        next((frame for frame in nearest if frame < frame_index), None),
        next((frame for frame in nearest if frame > frame_index), None),
    ]
    chosen = [frame for frame in sides if frame is not None]
    chosen.sort(key=lambda frame: abs(frame - frame_index))
    chosen += [frame for frame in nearest if frame not in chosen]
    return sorted(chosen[:limit])


def recent_frames(frame_index: int, step: int, rule: MemoryRule) -> list[tuple[int, int]]:
    """The recent frames whose maps a frame attends to, and the age that each counts as.

    Args:
        frame_index: The frame that attends.
        step: 1 walking forward, -1 walking backward.
        rule: How much is remembered.

    Returns:
        (frame index, age), oldest first. The frame just before has age 1; with a stride, the
        others are at multiples of the stride, and their age counts places, not frames.
    """
    previous = frame_index - step
    frames = [(previous, 1)] if rule.memory_frames else []
    stride = rule.memory_stride
    for age in range(2, rule.memory_frames + 1):
        if step > 0:
            anchor = (frame_index - 2) // stride * stride
        else:
            anchor = -(-(frame_index + 2) // stride) * stride
        frames.append((anchor - step * (age - 2) * stride, age))
    return frames[::-1]


def pointer_frames(frame_index: int, step: int, max_pointers: int) -> list[int]:
    """The recent frames whose pointers a frame attends to, nearest first."""
    return [frame_index - step * distance for distance in range(1, max_pointers)]


def past_conditioning(frame_index: int, step: int, conditioning_frames: Sequence[int]) -> list[int]:
    """The conditioning frames already passed: only their pointers are read."""
    return [frame for frame in conditioning_frames if (frame_index - frame) * step >= 0]
