"""What was said and found of one object on one frame."""

from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np
from torch import Tensor

from sam2_plugins.core.logits_file import StoredLogits
from sam2_plugins.core.prompts import Box, MaskPrompt, Points
from sam2_plugins.core.stored_masks import StoredMask


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """One object on one frame.

    Attributes:
        version: Names what the result was computed from; equal versions mean equal results.
        mask: At the original image's size.
        predicted_iou: In [0, 1].
        object_score_logit: > 0 means visible.
        logits: Low-res mask logits.
        pointer: (1, C) float32 on the CPU.
        box: (x0, y0, x1, y1), half-open; zeros where the mask is empty.
        step: 1 tracked forward, -1 backward, 0 from prompts alone.
        is_given: The mask is a person's, to the pixel; the logits only follow it.
        walked: Frames from the prompt or lock that tracking set out from; 0 from prompts alone.
        meeting: Names both walks between prompts of which it was chosen from one; empty where
            there was one walk alone, or they have not met. See `core.meeting`.
    """

    version: str
    mask: StoredMask
    predicted_iou: float
    object_score_logit: float
    logits: StoredLogits
    pointer: Tensor
    box: tuple[int, int, int, int]
    step: int
    is_given: bool = False
    walked: int = 0
    meeting: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class FramePrompts:
    """Everything a person said of one object on one frame, in the order it is applied.

    Attributes:
        box: Comes first.
        mask: Instead of a box: the mask as given.
        strokes: Clicks, in the groups in which the decoder sees them.
        base: What tracking had found on this frame before the first prompt, if anything.
    """

    box: Box | None = None
    mask: MaskPrompt | None = None
    strokes: tuple[Points, ...] = ()
    base: FrameResult | None = None

    @property
    def points(self) -> Points | None:
        """All clicks together."""
        if not self.strokes:
            return None
        return Points(
            tuple(xy for stroke in self.strokes for xy in stroke.xy),
            tuple(label for stroke in self.strokes for label in stroke.labels),
        )

    @property
    def mend_a_mask(self) -> bool:
        """Whether clicks change a mask that they did not make: tracked, given, or from a box."""
        return self.base is not None or self.mask is not None or self.box is not None

    def with_strokes(self, strokes: tuple[Points, ...]) -> "FramePrompts":
        """Clicks add to what was said."""
        return replace(self, strokes=self.strokes + strokes)

    def with_box(self, box: Box) -> "FramePrompts":
        """A box takes the place of a box or mask; clicks stay."""
        return replace(self, box=box, mask=None)

    def with_mask(self, mask: MaskPrompt) -> "FramePrompts":
        """A mask takes the place of everything."""
        return replace(self, mask=mask, box=None, strokes=())

    def extend(self, other: "FramePrompts | None") -> TypeGuard["FramePrompts"]:
        """Whether these are others with clicks added."""
        if other is None:
            return False
        count = len(other.strokes)
        return (
            self.box == other.box
            and self.mask is other.mask
            and len(self.strokes) > count
            and self.strokes[:count] == other.strokes
        )

    def says(self, other: "FramePrompts") -> bool:
        """Whether both say the same."""
        mine, others = self.mask, other.mask
        return (self.box, self.strokes) == (other.box, other.strokes) and (
            mine is others
            or (mine is not None and others is not None and np.array_equal(mine.mask, others.mask))
        )
