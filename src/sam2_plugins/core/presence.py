"""Whether a tracked object is still there, judged over several frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_SUREST = 6.0
"""One frame, however sure, does not outweigh many."""
_LEAST = -1.0
"""Nor is an object that was gone for long kept from coming back."""


@dataclass(frozen=True, slots=True)
class PresenceRule:
    """Lets go of an object that is seen but weakly for several frames.

    A small network that has slid from an object to its neighbour still finds something there, and
    gives it a score that is positive and low, frame after frame. So the scores are smoothed along
    the way that is walked, and an object is there where both its frame and those before say so.

    Attributes:
        inertia: Weight of the frames before, in [0, 1).
        weak: An object whose score stays below is let go in the end.
    """

    inertia: float
    weak: float

    def settle(self, score: Tensor, before: float) -> Tensor:
        """The object score of a frame, given that of the frame before.

        Args:
            score: Logits, as the network gives them.
            before: Logit that was settled on for the frame before.

        Returns:
            Logits of the same shape, not above `score`; > 0 means visible.
        """
        most = _SUREST - self.weak
        known = min(max(before, _LEAST), most)
        seen = score.clamp(max=_SUREST) - self.weak
        return score.minimum(self.inertia * known + (1 - self.inertia) * seen)
