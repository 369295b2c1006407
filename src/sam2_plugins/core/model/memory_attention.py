"""Memory attention: a frame's features read what is remembered of an object."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sam2_plugins.core.config import ModelConfig
from sam2_plugins.core.model.layers import Attention, merge_heads, split_heads
from sam2_plugins.core.model.positions import rotary_grid, rotate, sine_grid


class RotaryAttention(Attention):
    """Attention in which cells of a grid carry axial rotary positions (Su et al. 2021)."""

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, *, grid: tuple[int, int], num_unplaced: int = 0
    ) -> Tensor:
        """Attend from the cells of a grid to the cells of whole grids and unplaced tokens.

        Args:
            q: (B, h * w, C).
            k: (B, R * h * w + num_unplaced, source_dim).
            v: As k.
            grid: (h, w).
            num_unplaced: Keys at the end, object pointers, that have no place in the grid.

        Returns:
            (B, h * w, C).
        """
        q = split_heads(self.q_proj(q), self.num_heads)
        k = split_heads(self.k_proj(k), self.num_heads)
        v = split_heads(self.v_proj(v), self.num_heads)
        rotations = rotary_grid(q.shape[-1], *grid, q.device)
        num_placed = k.shape[2] - num_unplaced
        q = rotate(q, rotations)
        if num_placed:
            repeated = rotations.repeat(num_placed // len(rotations), 1)
            placed, unplaced = k.split((num_placed, num_unplaced), dim=2)
            k = torch.cat((rotate(placed, repeated), unplaced), dim=2)
        return self.out_proj(merge_heads(functional.scaled_dot_product_attention(q, k, v)))


class MemoryAttentionLayer(nn.Module):
    """Self-attention, attention to memory, feed-forward; each after a norm, with a residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.model_dim
        self.self_attn = RotaryAttention(dim, 1)
        self.cross_attn_image = RotaryAttention(dim, 1, source_dim=config.memory_dim)
        self.linear1 = nn.Linear(dim, config.feedforward_dim)
        self.linear2 = nn.Linear(config.feedforward_dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)

    def look_around(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Self-attention: does not depend on the memory. (B, L, C) -> the same shape."""
        y = self.norm1(x)
        return x + self.self_attn.attend(y, y, y, grid=grid)

    def recall(
        self, x: Tensor, keys: Tensor, values: Tensor, *, grid: tuple[int, int], num_unplaced: int
    ) -> Tensor:
        """Attention to the memory and feed-forward. (B, L, C) -> the same shape."""
        x = x + self.cross_attn_image.attend(
            self.norm2(x), keys, values, grid=grid, num_unplaced=num_unplaced
        )
        return x + self.linear2(functional.relu(self.linear1(self.norm3(x))))


class MemoryAttention(nn.Module):
    """Conditions features on memory.

    The work is split where objects begin to differ: `prepare` is the same for every object of a
    frame, `forward` is not.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MemoryAttentionLayer(config) for _ in range(config.memory_attention_layers)
        )
        self.norm = nn.LayerNorm(config.model_dim)

    def _typed_layers(self) -> list[MemoryAttentionLayer]:
        return cast("list[MemoryAttentionLayer]", list(self.layers))

    def prepare(self, features: Tensor) -> Tensor:
        """Features (B, C, h, w) to the tokens (B, L, C) that go into the first recall."""
        _, dim, height, width = features.shape
        positions = sine_grid(dim, height, width, features.device).to(features.dtype)
        tokens = (features + 0.1 * positions).flatten(2).transpose(1, 2)
        return self._typed_layers()[0].look_around(tokens, (height, width))

    def forward(
        self,
        prepared: Tensor,
        memory: Tensor,
        positions: Tensor,
        *,
        grid: tuple[int, int],
        num_pointer_tokens: int,
    ) -> Tensor:
        """Condition a frame's tokens on the memory of an object.

        Args:
            prepared: (B, L, C), from `prepare`.
            memory: (B, S, memory_dim): whole maps, then tokens of object pointers.
            positions: As `memory`; added to the keys, not to the values.
            grid: (h, w).
            num_pointer_tokens: How many of the last of S are pointers.

        Returns:
            (B, C, h, w).
        """
        x, keys = prepared, memory + positions
        for index, layer in enumerate(self._typed_layers()):
            if index:
                x = layer.look_around(x, grid)
            x = layer.recall(x, keys, memory, grid=grid, num_unplaced=num_pointer_tokens)
        return self.norm(x).transpose(1, 2).unflatten(-1, grid)
