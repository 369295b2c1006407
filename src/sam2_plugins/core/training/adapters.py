"""Low-rank adapters (Hu et al. 2021): W + B A / r · scale, with only A and B learning."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sam2_plugins.core.model.sam2 import SAM2

RANK = 8
SCALE = 16.0


class LowRank(nn.Module):
    """Adds a product of two thin matrices to a weight; nothing at first, as one of them is zero.

    Args:
        weight: (out, in).
        rank: Rows of the first matrix.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(weight.new_empty(rank, weight.shape[1]))
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        nn.init.normal_(self.down, std=rank**-0.5)
        self.gain = SCALE / rank

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight, (out, in)."""
        return weight + self.gain * (self.up @ self.down)


def add_adapters(model: SAM2, *, rank: int = RANK, seed: int = 0) -> SAM2:
    """Freeze the image encoder's trunk, and adapt its linear layers of attention and MLP.

    Args:
        model: Changed in place.
        rank: Of the adapters.
        seed: Of their first values.

    Returns:
        The same model.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for parameter in model.image_encoder.trunk.parameters():
            parameter.requires_grad_(False)
        for module in list(model.image_encoder.trunk.blocks.modules()):
            if isinstance(module, nn.Linear):
                parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank))
    return model


def merge_adapters(model: SAM2) -> SAM2:
    """Put what the adapters add into the weights, in place; the layout is the usual one again."""
    for module in list(model.modules()):
        if isinstance(module, nn.Linear) and parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return model
