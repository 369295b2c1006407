"""Masks that are made to agree with their prompts, where the network heeds these too little."""

from typing import NamedTuple

from torch import Tensor

from sam2_plugins.core.box_fitting import fit_to_box
from sam2_plugins.core.heeded_clicks import are_to_be_heeded, heed_clicks
from sam2_plugins.core.model.prompt_encoder import BOX_CORNER_LABELS


class Statement(NamedTuple):
    """What the network was given.

    Attributes:
        points: Corners of a box, and clicks, (x, y) in pixels of the input.
        labels: As the prompt encoder wants them.
        goes_on: Whether they came on top of a mask.
        has_new_box: Whether the box is said for the first time: later the mask has been fitted.
    """

    points: list[tuple[float, float]]
    labels: list[int]
    goes_on: bool
    has_new_box: bool

    @property
    def has_clicks_to_heed(self) -> bool:
        """Whether clicks add to something."""
        return are_to_be_heeded(self.labels, goes_on=self.goes_on)

    @property
    def says_more(self) -> bool:
        """Whether it says more than the network heeds."""
        return self.has_new_box or self.has_clicks_to_heed


def heed_prompts(logits: Tensor, picture: Tensor, said: Statement) -> Tensor:
    """Move a mask towards what the prompts say that it was made from.

    Args:
        logits: (1, 1, h, w) low-res logits.
        picture: (3, S, S), the model's input that was looked at.
        said: The prompts.

    Returns:
        (1, 1, h, w).
    """
    points, labels = said.points, said.labels
    if said.has_new_box:
        (x0, y0), (x1, y1) = (points[labels.index(label)] for label in BOX_CORNER_LABELS)
        logits = fit_to_box(logits, picture, (x0, y0, x1, y1))
    if said.has_clicks_to_heed:
        logits = heed_clicks(logits, picture, points=points, labels=labels)
    return logits
