"""Masks of stacks and videos drawn anew, of objects of a kind that the network for it knows.

It has learnt from few kinds of things. Of the mask that was found where a person said what to
follow, or that they vouch for, it is known to be about right: if what is drawn anew of that, as if
it had been tracked, is another mask, the object is none that is known, and what was found is better
left alone. Of what boxes find on dev, all nuclei but one agree with more than 0.85 IoU, two
prostates with 0.78 and 0.81, and a reflection with 0.77; drawn anew on every slice, the second
prostate falls from 0.44 to 0.11. It is asked before prompts are drawn anew: afterwards a mask would
always agree with itself.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

from torch import Tensor

from sam2_plugins.core.features import FeatureStore
from sam2_plugins.core.frame_results import FrameResult
from sam2_plugins.core.heeded_prompts import Statement
from sam2_plugins.core.knowing import agreement, restoration
from sam2_plugins.core.masklets import Masklet
from sam2_plugins.core.model.mask_decoder import Decoding
from sam2_plugins.core.retouching import (
    in_pixels,
    is_to_be_drawn_anew,
    redrawn,
    retouch,
    to_cells,
)
from sam2_plugins.core.rules import Rules

_LEAST_AGREEMENT = 0.84
"""IoU of a mask that a person has asked for, and of what is drawn anew of it."""
_LEAST_RESTORATION = 0.84
"""Of a mask that a person has drawn; see `knowing`. Of 24 nuclei of dev 23 have more, of 24
profiles of neurons in electron micrographs 10, of 24 mitochondria 12, and of what moves in 20 films
(the validation set of DAVIS 2016) nothing."""


class Redrawing:
    """Draws masks anew where that is to be trusted.

    Args:
        features: Of the frames.
        rules: Whether masks are drawn anew, and whether things stay where they are.
        seen_through: Lets `features` look through what a result was seen through.
    """

    def __init__(
        self,
        features: FeatureStore,
        rules: Rules,
        *,
        seen_through: Callable[[FrameResult], AbstractContextManager[None]],
    ) -> None:
        self._features = features
        self._rules = rules
        self._seen_through = seen_through
        self._is_known: dict[str, bool] = {}

    def redraw(
        self, decoding: Decoding, masklet: Masklet, frame_index: int, *, step: int
    ) -> Decoding:
        """What is believed of a tracked frame; see `redrawn`.

        Args:
            decoding: Of the frame, as it is looked at now.
            masklet: Results so far.
            frame_index: The frame.
            step: 1 walking forward, -1 walking backward.
        """
        if not self._rules.retouches:
            return decoding
        if not self.knows(masklet, masklet.vouched_start(frame_index, step=step)):
            return decoding
        picture = self._features.read(frame_index)
        earlier = self._features.picture(frame_index - step)
        return redrawn(decoding, picture, earlier, things_stay=bool(self._rules.keeps_alike))

    def redraw_answer(self, logits: Tensor, frame_index: int, said: Statement) -> Tensor | None:
        """A mask that was made from prompts, drawn anew; None where that is not to be trusted.

        Args:
            logits: (1, 1, h, w) low-res logits.
            frame_index: The frame, as it is looked at now.
            said: What the mask was made from.
        """
        if not self._rules.retouches or not is_to_be_drawn_anew(said):
            return None
        picture = self._features.read(frame_index)
        grey = self._features.picture(frame_index)
        if agreement(logits, picture, grey) < _LEAST_AGREEMENT:
            return None
        return to_cells(retouch(in_pixels(logits, picture), picture, said), logits)

    def knows(self, masklet: Masklet, start: int | None) -> bool:
        """Whether an object is of a kind that is known, by the mask that tracking set out from.

        Remembered: of a stream, the frame is soon gone.

        Args:
            masklet: Its results so far.
            start: From `Masklet.vouched_start`.
        """
        if start is None:
            return False
        result = masklet.results[start]
        if result.version not in self._is_known:
            with self._seen_through(result):
                picture = self._features.read(start)
                logits, grey = result.logits.read(), self._features.picture(start)
                known = agreement(logits, picture, grey) >= _LEAST_AGREEMENT
                if known and masklet.is_drawn(start):
                    known = restoration(logits, picture, grey) >= _LEAST_RESTORATION
            self._is_known[result.version] = known
        return self._is_known[result.version]
