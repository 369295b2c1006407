"""The decoder's transformer: tokens read the image, then the image reads the tokens."""

from torch import Tensor, nn

from sam2_plugins.core.config import ModelConfig
from sam2_plugins.core.model.layers import MLP, Attention

_DEPTH = 2


class TwoWayBlock(nn.Module):
    """Self-attention of tokens, tokens to image, MLP of tokens, image to tokens."""

    def __init__(self, config: ModelConfig, *, is_first: bool) -> None:
        super().__init__()
        dim, heads, half = config.model_dim, config.decoder_heads, config.model_dim // 2
        self.is_first = is_first
        self.self_attn = Attention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, heads, inner_dim=half)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP((dim, config.feedforward_dim, dim))
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, heads, inner_dim=half)

    def forward(
        self, tokens: Tensor, image: Tensor, *, token_positions: Tensor, image_positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update tokens (B, N, C) and image (B, L, C)."""
        if self.is_first:
            # The tokens are their own positions here, and nothing is worth keeping beside them.
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + token_positions
            tokens = tokens + self.self_attn(q, q, tokens)
        tokens = self.norm1(tokens)
        k = image + image_positions
        reading = self.cross_attn_token_to_image(tokens + token_positions, k, image)
        tokens = self.norm2(tokens + reading)
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = image + self.cross_attn_image_to_token(k, tokens + token_positions, tokens)
        return tokens, self.norm4(image)


class TwoWayTransformer(nn.Module):
    """Two blocks and a last look of the tokens at the image."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.model_dim
        self.layers = nn.ModuleList(TwoWayBlock(config, is_first=i == 0) for i in range(_DEPTH))
        self.final_attn_token_to_image = Attention(dim, config.decoder_heads, inner_dim=dim // 2)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self, image: Tensor, image_positions: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Exchange between tokens and image.

        Args:
            image: (B, C, h, w) features with the dense prompt added.
            image_positions: (1, C, h, w).
            tokens: (B, N, C).

        Returns:
            Tokens (B, N, C) and image (B, C, h, w).
        """
        height, width = image.shape[-2:]
        image = image.flatten(2).transpose(1, 2)
        positions = image_positions.flatten(2).transpose(1, 2)
        first_tokens = tokens
        for layer in self.layers:
            tokens, image = layer(
                tokens, image, token_positions=first_tokens, image_positions=positions
            )
        reading = self.final_attn_token_to_image(tokens + first_tokens, image + positions, image)
        tokens = self.norm_final_attn(tokens + reading)
        return tokens, image.transpose(1, 2).unflatten(-1, (height, width))
