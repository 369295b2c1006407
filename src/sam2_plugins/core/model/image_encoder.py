"""The image encoder: trunk, then a feature pyramid that brings every level to one width."""

from torch import Tensor, nn
from torch.nn import functional

from sam2_plugins.core.config import ModelConfig
from sam2_plugins.core.model.hiera import Hiera

_TOP_DOWN_LEVEL = 2
"""Only the stride-16 level is enriched from above; finer levels go to the decoder as they are."""


class LateralConv(nn.Module):
    """The 1 x 1 convolution of one pyramid level."""

    def __init__(self, dim: int, dim_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim_out, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, h, w) -> (B, C_out, h, w)."""
        return self.conv(x)


class FpnNeck(nn.Module):
    """Feature pyramid; keeps strides 4, 8 and 16, the last with stride 32 added in."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths = [config.embed_dim * 2**stage for stage in range(4)]
        # Deepest level first, as in the checkpoints.
        self.convs = nn.ModuleList(LateralConv(w, config.model_dim) for w in reversed(widths))

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Four trunk levels, finest first, to three (B, C, h, w), finest first."""
        lateral = [conv(x) for conv, x in zip(reversed(self.convs), levels, strict=True)]
        # Nearest upsampling in float32: what the published weights were trained with.
        above = functional.interpolate(lateral[-1].float(), scale_factor=2.0, mode="nearest")
        lateral[_TOP_DOWN_LEVEL] = lateral[_TOP_DOWN_LEVEL] + above.to(lateral[-1].dtype)
        return lateral[:-1]


class ImageEncoder(nn.Module):
    """Pixels to image features of strides 4, 8 and 16."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.trunk = Hiera(config)
        self.neck = FpnNeck(config)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, S, S) -> three levels (B, C, S / stride, S / stride), finest first."""
        return self.neck(self.trunk(images))
