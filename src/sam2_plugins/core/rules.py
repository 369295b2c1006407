"""How the tracker works, apart from the network."""

from dataclasses import dataclass
from typing import Literal

from sam2_plugins.core.memory import MemoryRule
from sam2_plugins.core.model.sam2 import SAM2

CONDITIONING_FRAMES = 4
FILL_HOLE_AREA = 8


@dataclass(frozen=True, slots=True)
class Rules:
    """How the tracker works.

    Attributes:
        memory: Which memories a frame attends to.
        fill_hole_area: Background regions of at most this many low-res cells are filled.
        exact: Work as the published implementation does, where we know better or not.
    """

    memory: MemoryRule
    fill_hole_area: int
    exact: bool

    @property
    def options(self) -> dict[str, int | None]:
        """The options of `VideoTracker` that make these rules."""
        return {
            "exact": self.exact,
            "max_conditioning_frames": self.memory.max_conditioning_frames,
            "memory_frames": self.memory.memory_frames,
            "memory_stride": self.memory.memory_stride,
            "fill_hole_area": self.fill_hole_area,
        }


def make_rules(
    model: SAM2,
    *,
    exact: bool,
    max_conditioning_frames: int | Literal["default"] | None,
    memory_frames: int | None,
    memory_stride: int,
    fill_hole_area: int,
    num_frames: int | None,
) -> Rules:
    """Fill in what the caller left open.

    Args:
        model: The network.
        exact: See `Rules`.
        max_conditioning_frames: "default" for 4, or for all where `exact`; None for all.
        memory_frames: None for as many as the model has places for.
        memory_stride: See `MemoryRule`.
        fill_hole_area: See `Rules`.
        num_frames: Of the stack; None for a stream. The published implementation scales time by
            the length of clips shorter than the reach of pointers.

    Raises:
        ValueError: A number is out of range, or the model cannot track.
    """
    config = model.config
    if not model.has_memory:
        raise ValueError(
            f"these weights of {config.name} are for images only: tracking needs those for video"
        )
    if max_conditioning_frames == "default":
        max_conditioning_frames = None if exact else CONDITIONING_FRAMES
    most = config.num_memories - 1
    if memory_frames is None:
        memory_frames = most
    if memory_frames > most:
        raise ValueError(f"memory_frames must be 0 to {most}, not {memory_frames}")
    if fill_hole_area < 0:
        raise ValueError(f"fill_hole_area must be 0 or more, not {fill_hole_area}")
    pointers = config.max_pointers
    if exact and num_frames is not None:
        pointers = min(pointers, num_frames)
    rule = MemoryRule(max_conditioning_frames, memory_frames, memory_stride, pointers)
    return Rules(rule, fill_hole_area, exact)
