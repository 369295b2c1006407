"""The network that draws a mask anew, given one that is nearly right."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS = Path(__file__).parent / "assets" / "retouch.safetensors"
SIDE = 64
"""Cells of what it looks at."""
CHANNELS = 8
"""Red, green, blue, the mask, clicks, the box, what is inside the picture, and an earlier look."""
_WIDTHS = (32, 48, 64, 96)
_FOLD = 2
"""Cells, each way, that are looked at as one: it is computed at half of the side."""


class RetouchNetwork(nn.Module):
    """A U-Net (Ronneberger et al., MICCAI 2015): a mask with its surroundings in, logits out."""

    def __init__(self) -> None:
        super().__init__()
        width = CHANNELS * _FOLD**2
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for wider in _WIDTHS:
            self.down.append(_two_layers(width, wider))
            width = wider
        for narrower in reversed(_WIDTHS[:-1]):
            self.up.append(_two_layers(width + narrower, narrower))
            width = narrower
        self.out = nn.Conv2d(width, _FOLD**2, 1)

    def forward(self, drawn: Tensor) -> Tensor:
        """Draw masks anew.

        Args:
            drawn: (B, CHANNELS, SIDE, SIDE) float32, see `retouching.draw`.

        Returns:
            (B, SIDE, SIDE) logits.
        """
        seen = functional.pixel_unshuffle(drawn, _FOLD)
        levels: list[Tensor] = []
        for layers in self.down:
            seen = layers(functional.max_pool2d(levels[-1], 2) if levels else seen)
            levels.append(seen)
        levels.pop()
        for layers in self.up:
            larger = functional.interpolate(seen, scale_factor=2.0, mode="nearest")
            seen = layers(torch.cat([larger, levels.pop()], 1))
        return functional.pixel_shuffle(self.out(seen), _FOLD)[:, 0]


def _two_layers(width: int, wider: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (width, wider):
        layers += [
            nn.Conv2d(before, wider, 3, padding=1, bias=False),
            nn.BatchNorm2d(wider),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


@torch.inference_mode()
def draw_anew(drawn: NDArray[np.float32]) -> NDArray[np.float32]:
    """Draw masks anew, with the bundled weights.

    Args:
        drawn: (B, CHANNELS, SIDE, SIDE), see `retouching.draw`.

    Returns:
        (B, SIDE, SIDE) logits.
    """
    images = torch.from_numpy(drawn).contiguous(memory_format=torch.channels_last)
    return np.asarray(_network()(images).numpy())


@cache
def _network() -> RetouchNetwork:
    network = RetouchNetwork().to(memory_format=torch.channels_last)
    network.load_state_dict({name: value.float() for name, value in load_file(WEIGHTS).items()})
    return network.eval()
