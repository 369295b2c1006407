"""The network that tells how good a mask is, by its portrait and by what is measured of it."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from sam2_plugins.core.portraits import CHANNELS

WEIGHTS = Path(__file__).parent / "assets" / "choice.safetensors"
MEASURES = (
    "sureness",
    "agreement",
    "predicted_iou",
    "centredness",
    "clicked_share",
    "solidity",
    "edge",
    "edge_alignment",
    "share_of_window",
    "share_of_image",
    "mean_logit",
)
"""What is measured of a mask; see `choosing.measure`."""
_MOST_DEVIATIONS = 4.0
"""A measure further from its mean than so many deviations counts as no further."""
_WIDTHS = (16, 32, 64, 96)
_HIDDEN = 64
_DROPOUT = 0.2
_DARKEST_SPREAD = 0.02
"""Added to the spread of a picture's values, 0 to 1: one without any has none to scale by."""
_BATCH = 256


class ChoiceNetwork(nn.Module):
    """Portraits and measures in, one number for each mask out.

    Its sigmoid is what it thinks of the mask's IoU; the highest of several is to be chosen.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(len(MEASURES)))
        self.register_buffer("deviation", torch.ones(len(MEASURES)))
        layers: list[nn.Module] = []
        width = CHANNELS
        for number, wider in enumerate(_WIDTHS):
            for _ in range(2 if number else 1):
                layers += [
                    nn.Conv2d(width, wider, 3, padding=1, bias=False),
                    nn.BatchNorm2d(wider),
                    nn.ReLU(),
                ]
                width = wider
            layers.append(nn.MaxPool2d(2))
        self.looks = nn.Sequential(*layers)
        self.decides = nn.Sequential(
            nn.Linear(2 * width + len(MEASURES), _HIDDEN),
            nn.ReLU(),
            nn.Dropout(_DROPOUT),
            nn.Linear(_HIDDEN, 1),
        )

    def forward(self, portraits: Tensor, measures: Tensor | None = None) -> Tensor:
        """Judge masks.

        Args:
            portraits: (M, CHANNELS, SIDE, SIDE) float32, from `prepare`.
            measures: (M, len(MEASURES)) float32; None where nothing was measured.

        Returns:
            (M,).
        """
        if measures is None:
            scaled = torch.zeros(len(portraits), len(MEASURES))
        else:
            scaled = (measures - self.mean) / self.deviation
        looked = self.looks(portraits)
        facts = scaled.clamp(-_MOST_DEVIATIONS, _MOST_DEVIATIONS)
        features = [looked.mean(dim=(2, 3)), looked.amax(dim=(2, 3)), facts]
        thought: Tensor = self.decides(torch.cat(features, 1))
        return thought[:, 0]


def prepare(portraits: NDArray[np.uint8]) -> Tensor:
    """Portraits (M, CHANNELS, SIDE, SIDE) as the network takes them: pictures by their spread."""
    values = torch.from_numpy(portraits).float() / 255
    picture, drawn = values[:, :3], values[:, 3:]
    mean = picture.mean(dim=(1, 2, 3), keepdim=True)
    spread = picture.std(dim=(1, 2, 3), keepdim=True) + _DARKEST_SPREAD
    limited = ((picture - mean) / spread).clamp(-_MOST_DEVIATIONS, _MOST_DEVIATIONS)
    return torch.cat([limited, 2 * drawn - 1], 1)


@torch.inference_mode()
def judge(
    portraits: NDArray[np.uint8], measures: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """What to think of masks: the IoU that each is likely to have.

    Args:
        portraits: (M, CHANNELS, SIDE, SIDE) uint8, see `portraits.draw_portrait`.
        measures: (M, len(MEASURES)) float32; None where nothing was measured.

    Returns:
        (M,) float32 in [0, 1].
    """
    network = _network()
    judged = [
        network(
            prepare(portraits[first : first + _BATCH]),
            None if measures is None else torch.from_numpy(measures[first : first + _BATCH]),
        )
        for first in range(0, len(portraits), _BATCH)
    ]
    return torch.cat(judged).sigmoid().numpy() if judged else np.zeros(0, np.float32)


@cache
def _network() -> ChoiceNetwork:
    network = ChoiceNetwork()
    network.load_state_dict({name: value.float() for name, value in load_file(WEIGHTS).items()})
    return network.eval()
