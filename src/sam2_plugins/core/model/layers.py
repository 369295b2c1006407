"""Small layers that several parts of the network share."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


def resize(
    pictures: Tensor, size: tuple[int, int], *, mode: str = "bilinear", antialias: bool = False
) -> Tensor:
    """Resize (B, C, H, W) as no Apple GPU could before PyTorch 2.6 (bicubic) and 2.7 (antialiased).

    There it is done by the CPU, whatever the version: few and small pictures are resized so.
    """
    near = pictures.cpu() if pictures.device.type == "mps" else pictures
    resized = functional.interpolate(
        near, size=size, mode=mode, align_corners=False, antialias=antialias
    )
    return resized.to(pictures)


def sample_within(pictures: Tensor, places: Tensor) -> Tensor:
    """Pictures at places, and at the nearest place of their edge for those outside.

    Args:
        pictures: (B, C, H, W).
        places: (B, h, w, 2), (x, y) from -1 to 1 over the picture, as `grid_sample` has them.

    Returns:
        (B, C, h, w).
    """
    if pictures.device.type != "mps":
        return functional.grid_sample(pictures, places, padding_mode="border", align_corners=False)
    # Apple GPUs have no padding by the border before PyTorch 2.13; the middles of the outermost
    # pixels are as far as it reaches.
    x, y = places.unbind(-1)
    far_x, far_y = (1 - 1 / side for side in (pictures.shape[-1], pictures.shape[-2]))
    inside = torch.stack([x.clamp(-far_x, far_x), y.clamp(-far_y, far_y)], -1)
    return functional.grid_sample(pictures, inside, align_corners=False)


class MLP(nn.Module):
    """Linear layers with an activation between them."""

    def __init__(
        self,
        dims: tuple[int, ...],
        activation: Callable[[Tensor], Tensor] = functional.relu,
        *,
        sigmoid_output: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in pairwise(dims))
        self.activation = activation
        self.sigmoid_output = sigmoid_output

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dims[0]) to (..., dims[-1])."""
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        x = last(x)
        return x.sigmoid() if self.sigmoid_output else x


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of (B, C, H, W)."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each pixel's channels; shape stays."""
        x = x.permute(0, 2, 3, 1)
        x = functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, L, C) -> (B, K, L, C / K)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, K, L, C / K) -> (B, L, C)."""
    return x.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Multi-head attention whose inner width can be smaller than its input's.

    Args:
        dim: Channels of the queries and of the output.
        num_heads: Heads.
        inner_dim: Channels inside; `dim` if not given.
        source_dim: Channels of keys and values; `dim` if not given.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        inner_dim: int | None = None,
        source_dim: int | None = None,
    ) -> None:
        super().__init__()
        inner_dim = inner_dim or dim
        source_dim = source_dim or dim
        self.num_heads = num_heads
        self.q_proj = nn.Linear(dim, inner_dim)
        self.k_proj = nn.Linear(source_dim, inner_dim)
        self.v_proj = nn.Linear(source_dim, inner_dim)
        self.out_proj = nn.Linear(inner_dim, dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from q (B, L, C) to k and v (B, S, source_dim); returns (B, L, C)."""
        q = split_heads(self.q_proj(q), self.num_heads)
        k = split_heads(self.k_proj(k), self.num_heads)
        v = split_heads(self.v_proj(v), self.num_heads)
        return self.out_proj(merge_heads(functional.scaled_dot_product_attention(q, k, v)))
