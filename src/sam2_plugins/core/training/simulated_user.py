"""A user who prompts a frame and then clicks where the mask is wrong."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from sam2_plugins.core.model.mask_decoder import Decoding
from sam2_plugins.core.model.sam2 import SAM2, ImageFeatures, Segmentation
from sam2_plugins.core.model.values import LOGIT_LIMIT
from sam2_plugins.core.training.prompting import (
    PromptKind,
    click_inside,
    correct,
    loose_box,
    uniform,
)


@dataclass(frozen=True)
class Frame:
    """A frame of B objects, as the network sees it and as it really is.

    Attributes:
        features: Of B rows.
        conditioned: (B, C, h, w), what the decoder looks at.
        masks: (B, S, S) bool, the truth.
    """

    features: ImageFeatures
    conditioned: Tensor
    masks: Tensor


class Answer(NamedTuple):
    """What the network said of a frame.

    Attributes:
        decodings: Every decoding made, in order; all of them are learnt from.
        kept: The last one's best masks.
    """

    decodings: list[Decoding]
    kept: Segmentation


class SimulatedUser:
    """Prompts a network the way a user would who knows the truth.

    Args:
        model: The network.
        generator: Randomness of the prompts.
        truth_chance: Chance that a correction is a click anywhere on the object.
    """

    def __init__(
        self, model: SAM2, generator: torch.Generator, *, truth_chance: float = 0.0
    ) -> None:
        self._model = model
        self._generator = generator
        self._truth_chance = truth_chance

    def prompt(self, frame: Frame, *, kind: PromptKind, num_corrections: int = 0) -> Answer:
        """Give the mask, which is taken as it is and has no loss; or a click or a box, corrected.

        Args:
            frame: What is prompted.
            kind: Kind of the first prompt.
            num_corrections: Clicks after a click or a box.
        """
        if kind == "mask":
            return Answer([], self._model.adopt_masks(frame.features, frame.masks[:, None].float()))
        draw = loose_box if kind == "box" else click_inside
        points, labels = draw(frame.masks, self._generator)
        first = self._model.decode(
            frame.features,
            frame.conditioned,
            points=points,
            point_labels=labels,
            multimask=kind == "click",
        )
        answer = Answer([first], self._model.summarise(first))
        return self.correct(
            frame, answer, num_corrections=num_corrections, prompts=(points, labels)
        )

    def correct(
        self,
        frame: Frame,
        answer: Answer,
        *,
        num_corrections: int,
        prompts: tuple[Tensor, Tensor] | None = None,
    ) -> Answer:
        """Add clicks where the mask is wrong, one at a time, each with the mask before it.

        Args:
            frame: What is corrected.
            answer: What the network said so far.
            num_corrections: Number of clicks.
            prompts: Points (B, N, 2) and labels (B, N) given so far.
        """
        decodings, kept = list(answer.decodings), answer.kept
        for _ in range(num_corrections):
            previous = kept.low_res_logits.detach().clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
            upscaled = functional.interpolate(
                previous, size=frame.masks.shape[-2:], mode="bilinear", align_corners=False
            )
            points, labels = self._click(upscaled[:, 0] > 0, frame.masks)
            if prompts is not None:
                points = torch.cat([prompts[0], points], 1)
                labels = torch.cat([prompts[1], labels], 1)
            prompts = (points, labels)
            decoding = self._model.decode(
                frame.features,
                frame.conditioned,
                points=points,
                point_labels=labels,
                mask_logits=previous,
                multimask=points.shape[1] <= 1,
            )
            decodings.append(decoding)
            kept = self._model.summarise(decoding)
        return Answer(decodings, kept)

    def _click(self, predicted: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Click where the mask is wrong; now and then anywhere on the object."""
        if self._truth_chance:
            size = torch.Size(())
            draw = float(uniform(size, self._generator, self._generator.device))
            if draw < self._truth_chance:
                return click_inside(masks, self._generator)
        return correct(predicted, masks, generator=self._generator)
