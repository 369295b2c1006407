"""Position encodings. All are computed in float32, whatever the network's dtype."""

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

_TEMPERATURE = 10_000.0

# Grids are kept between calls, and made outside of inference mode whoever asks first: autograd
# refuses tensors that were made inside of it.


def _frequencies(num_channels: int, device: torch.device) -> Tensor:
    """Wavelengths of sine encodings, each used twice (once for sine, once for cosine)."""
    exponent = torch.arange(num_channels, dtype=torch.float32, device=device) // 2 * 2
    return _TEMPERATURE ** (exponent / num_channels)


@lru_cache(maxsize=32)
def sine_grid(num_channels: int, height: int, width: int, device: torch.device) -> Tensor:
    """Sine encoding of a grid of cells, y in the first half of the channels, x in the second.

    Returns:
        (1, num_channels, height, width) float32. Shared between calls: do not write to it.
    """
    with torch.inference_mode(mode=False):
        return _sine_grid(num_channels, height, width, device)


def _sine_grid(num_channels: int, height: int, width: int, device: torch.device) -> Tensor:
    half = num_channels // 2
    wavelengths = _frequencies(half, device)

    def axis(length: int) -> Tensor:
        # 1-based and scaled so that the last cell is at one full turn.
        position = torch.arange(1, length + 1, dtype=torch.float32, device=device)
        angle = (position / (length + 1e-6) * 2 * math.pi)[:, None] / wavelengths
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=-1).flatten(1)

    rows = axis(height)[:, None].expand(-1, width, -1)
    columns = axis(width)[None].expand(height, -1, -1)
    return torch.cat((rows, columns), dim=-1).permute(2, 0, 1)[None].contiguous()


def sine_line(positions: Tensor, num_channels: int) -> Tensor:
    """Sine encoding of points on a line, all sines first, then all cosines.

    Args:
        positions: (N,) float32.
        num_channels: Channels of the encoding.

    Returns:
        (N, num_channels) float32.
    """
    angle = positions[:, None].float() / _frequencies(num_channels // 2, positions.device)
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


@lru_cache(maxsize=32)
def rotary_grid(dim: int, height: int, width: int, device: torch.device) -> Tensor:
    """Rotations of axial rotary embedding: x turns the first half of the pairs, y the second.

    Returns:
        (height * width, dim / 2) complex64. Shared between calls: do not write to it.
    """
    with torch.inference_mode(mode=False):
        return _rotary_grid(dim, height, width, device)


def _rotary_grid(dim: int, height: int, width: int, device: torch.device) -> Tensor:
    exponent = torch.arange(0, dim, 4, dtype=torch.float32, device=device)[: dim // 4] / dim
    frequencies = 1.0 / _TEMPERATURE**exponent
    cell = torch.arange(height * width, dtype=torch.float32, device=device)
    x, y = cell % width, torch.div(cell, width, rounding_mode="floor")
    angle = torch.cat((torch.outer(x, frequencies), torch.outer(y, frequencies)), dim=-1)
    return torch.polar(torch.ones_like(angle), angle)


def rotate(x: Tensor, rotations: Tensor) -> Tensor:
    """Turn adjacent channel pairs of x (B, K, L, C) by rotations (L, C / 2)."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * rotations).flatten(-2).to(x.dtype)


class FourierPositions(nn.Module):
    """Random Fourier encoding of points in the unit square (Tancik et al. 2020).

    The matrix is a buffer, so that casting the network's parameters leaves it in float32.
    """

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        matrix = torch.randn(2, num_channels // 2)
        self.register_buffer("positional_encoding_gaussian_matrix", matrix)

    def forward(self, points: Tensor) -> Tensor:
        """Encode points (..., 2), (x, y) in [0, 1]; returns (..., C) float32."""
        matrix = self.positional_encoding_gaussian_matrix.float()
        angle = 2 * math.pi * ((2 * points.float() - 1) @ matrix)
        return torch.cat((angle.sin(), angle.cos()), dim=-1)

    def grid(self, height: int, width: int) -> Tensor:
        """Encode the centres of a grid of cells; returns (1, C, height, width) float32."""
        device = self.positional_encoding_gaussian_matrix.device
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        points = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        return self(points).permute(2, 0, 1)[None]
