"""The memory encoder: a frame's features and an object's mask become a memory map."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sam2_plugins.core.config import ModelConfig
from sam2_plugins.core.model.layers import LayerNorm2d

_NUM_HALVINGS = 4


class MaskDownsampler(nn.Module):
    """A mask at the input's size to a map at stride 16, by four halving convolutions."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for _ in range(_NUM_HALVINGS):
            layers += [
                nn.Conv2d(channels, channels * 4, kernel_size=3, stride=2, padding=1),
                LayerNorm2d(channels * 4),
                nn.GELU(),
            ]
            channels *= 4
        self.encoder = nn.Sequential(*layers, nn.Conv2d(channels, dim, kernel_size=1))

    def forward(self, masks: Tensor) -> Tensor:
        """(B, 1, S, S) -> (B, C, S / 16, S / 16)."""
        return self.encoder(masks)


class ConvNextBlock(nn.Module):
    """Depth-wise 7 x 7 convolution and a pixel-wise MLP, scaled, with a residual."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = LayerNorm2d(dim)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        y = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        y = self.pwconv2(functional.gelu(self.pwconv1(y)))
        return x + (self.gamma * y).permute(0, 3, 1, 2)


class Fuser(nn.Module):
    """A stack of ConvNeXt blocks."""

    def __init__(self, dim: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConvNextBlock(dim) for _ in range(num_layers))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        for layer in self.layers:
            x = layer(x)
        return x


class MemoryEncoder(nn.Module):
    """Fuses features and mask into a narrow map."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.model_dim
        self.mask_downsampler = MaskDownsampler(dim)
        self.pix_feat_proj = nn.Conv2d(dim, dim, kernel_size=1)
        self.fuser = Fuser(dim, config.fuser_layers)
        self.out_proj = nn.Conv2d(dim, config.memory_dim, kernel_size=1)

    def forward(self, features: Tensor, masks: Tensor) -> Tensor:
        """Encode a memory.

        Args:
            features: (B, C, h, w) stride-16 image features, not conditioned on memory.
            masks: (B, 1, S, S) mask values, already squashed and scaled.

        Returns:
            (B, memory_dim, h, w).
        """
        fused = self.fuser(self.pix_feat_proj(features) + self.mask_downsampler(masks))
        return self.out_proj(fused)
