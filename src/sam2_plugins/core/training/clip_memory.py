"""What is remembered while the clips of a batch are walked through, all objects together."""

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from sam2_plugins.core.model.sam2 import MapMemory, PointerMemory


class FrameMemory(NamedTuple):
    """What is remembered of one frame of B objects.

    Attributes:
        frame_index: Which frame.
        features: (B, memory_dim, h, w), the map.
        pointers: (B, C), the object pointers.
    """

    frame_index: int
    features: Tensor
    pointers: Tensor


@dataclass
class ClipMemory:
    """What is remembered of the objects of a batch while their clips are walked through."""

    num_memories: int
    conditioning: list[FrameMemory] = field(default_factory=list)
    tracked: list[FrameMemory] = field(default_factory=list)

    def remember(self, memory: FrameMemory, *, is_conditioning: bool) -> None:
        """Keep the memory of a frame."""
        (self.conditioning if is_conditioning else self.tracked).append(memory)

    def maps(self, frame_index: int) -> list[MapMemory]:
        """Maps to attend to from a frame: all conditioning frames and the most recent others."""
        recent = [
            MapMemory(memory.features, frame_index - memory.frame_index)
            for memory in self.tracked
            if frame_index - memory.frame_index < self.num_memories
        ]
        return [MapMemory(memory.features, 0) for memory in self.conditioning] + recent

    def pointers(self, frame_index: int) -> list[PointerMemory]:
        """Pointers to attend to from a frame, those of conditioning frames first."""
        return [
            PointerMemory(memory.pointers, float(frame_index - memory.frame_index))
            for memory in [*self.conditioning, *self.tracked[::-1]]
        ]
