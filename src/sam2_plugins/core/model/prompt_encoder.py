"""The prompt encoder: clicks, boxes and masks as tokens and as a map."""

from typing import cast

import torch
from torch import Tensor, nn

from sam2_plugins.core.config import ModelConfig
from sam2_plugins.core.model.layers import LayerNorm2d
from sam2_plugins.core.model.positions import FourierPositions

PADDING_LABEL = -1
BOX_CORNER_LABELS = (2, 3)
_NUM_POINT_KINDS = 4


class PromptEncoder(nn.Module):
    """Encodes the prompts of a batch of objects."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.model_dim
        self.pe_layer = FourierPositions(dim)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(_NUM_POINT_KINDS))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, kernel_size=2, stride=2),
            LayerNorm2d(4),
            nn.GELU(),
            nn.Conv2d(4, 16, kernel_size=2, stride=2),
            LayerNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, dim, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, dim)

    def encode_points(self, points: Tensor, point_labels: Tensor, image_size: int) -> Tensor:
        """Tokens of points, with one token of padding after them.

        The decoder was trained with at least one padding token, so no points at all are encoded
        as a padding point and this last token.

        Args:
            points: (B, N, 2) float, (x, y) in pixels of the model's input, N may be 0.
            point_labels: (B, N) int: 1 object, 0 background, 2 and 3 box corners, -1 padding.
            image_size: Side of the model's input.

        Returns:
            (B, N + 1, C), N at least 1.
        """
        num_padding = 2 if points.shape[1] == 0 else 1
        points = nn.functional.pad(points, (0, 0, 0, num_padding))
        labels = nn.functional.pad(point_labels, (0, num_padding), value=PADDING_LABEL)[..., None]
        # A click on a pixel means its centre.
        encoded = self.pe_layer((points + 0.5) / image_size)
        dtype = self.no_mask_embed.weight.dtype
        tokens = torch.where(labels == PADDING_LABEL, 0.0, encoded).to(dtype)
        tokens = tokens + (labels == PADDING_LABEL) * self.not_a_point_embed.weight
        for kind, embedding in enumerate(self.point_embeddings):
            tokens = tokens + (labels == kind) * cast("nn.Embedding", embedding).weight
        return tokens

    def encode_masks(self, mask_logits: Tensor) -> Tensor:
        """(B, 1, 4 h, 4 w) logits -> dense prompt (B, C, h, w)."""
        return self.mask_downscaling(mask_logits.to(self.no_mask_embed.weight.dtype))

    def no_mask(self, batch_size: int, height: int, width: int) -> Tensor:
        """The dense prompt that stands for no mask: (B, C, h, w)."""
        return self.no_mask_embed.weight[..., None, None].expand(batch_size, -1, height, width)

    def image_positions(self, height: int, width: int) -> Tensor:
        """Encoding of the cells of the stride-16 map: (1, C, h, w)."""
        return self.pe_layer.grid(height, width).to(self.no_mask_embed.weight.dtype)
