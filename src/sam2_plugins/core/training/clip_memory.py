"""What is remembered while the clips of a batch are walked through, all objects together."""

from dataclasses import dataclass, field

from torch import Tensor

from sam2_plugins.core.model.sam2 import MapMemory, PointerMemory


@dataclass
class ClipMemory:
    """What is remembered of the objects of a batch while their clips are walked through."""

    num_memories: int
    conditioning: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)
    tracked: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)

    def maps(self, frame_index: int) -> list[MapMemory]:
        """Maps to attend to from a frame: all conditioning frames and the most recent others."""
        recent = [
            MapMemory(features, frame_index - index)
            for index, features, _ in self.tracked
            if frame_index - index < self.num_memories
        ]
        return [MapMemory(features, 0) for _, features, _ in self.conditioning] + recent

    def pointers(self, frame_index: int) -> list[PointerMemory]:
        """Pointers to attend to from a frame, those of conditioning frames first."""
        return [
            PointerMemory(pointer, float(frame_index - index))
            for index, _, pointer in [*self.conditioning, *self.tracked[::-1]]
        ]
