"""Whether a tracked object is still there, judged over several frames."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_SUREST = 6.0
"""One frame, however sure, does not outweigh many."""
_LEAST = -1.0
"""Nor is an object that was gone for long kept from coming back."""
_UNLIKE = 0.3
"""Likeness that says nothing: neighbours look alike too."""
_REASSURANCE = 3.0
"""Logits that an object gains which looks as it did: those of films and time-lapses stay, where the
network lets go as it must in stacks. Measured with nano on clips made of held-out images: 3 and 6
differ little."""
_FRESHNESS = 2.0
"""Logits that an object gains next to where a person has seen it: it seldom ends just there, and
one that is lost at once is not followed at all."""
_FADING = 1.5
"""Frames after which all but a third of that is gone. Of two settings with nano, on held-out clips
and on dev, the one that loses nothing on either."""
_WEAK_IF_UNKNOWN = 0.8
"""Score below which an object of a kind that is not known is let go. In electron micrographs
neurons are followed over ten sections and more with scores of 1.2 to 1.8, and IoUs of 0.7 to 0.9;
what goes on where a mitochondrion has ended has 0 to 0.3."""


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

    @property
    def for_unknown(self) -> PresenceRule:
        """For objects of kinds that are not known: the network is never sure of them."""
        return replace(self, weak=min(self.weak, _WEAK_IF_UNKNOWN))

    def settle(
        self, score: Tensor, before: float, *, walked: float = math.inf, likeness: float = 0.0
    ) -> Tensor:
        """The object score of a frame, given that of the frame before.

        Args:
            score: Logits, as the network gives them.
            before: Logit that was settled on for the frame before.
            walked: Frames from where a person has seen the object.
            likeness: How far the object looks as it did, see `looking_back`.

        Returns:
            Logits of the same shape, not above `score` and what nearness and likeness add; > 0
            means visible.
        """
        score = score + _FRESHNESS * math.exp(-(walked - 1) / _FADING)
        score = score + _REASSURANCE * max(likeness - _UNLIKE, 0) / (1 - _UNLIKE)
        most = _SUREST - self.weak
        known = min(max(before, _LEAST), most)
        seen = score.clamp(max=_SUREST) - self.weak
        return score.minimum(self.inertia * known + (1 - self.inertia) * seen)
