"""Hiera, the trunk of the image encoder: a plain vision transformer in four shrinking stages.

Ryali et al. 2023, "Hiera: A Hierarchical Vision Transformer without the Bells-and-Whistles", with
the windowed absolute position embedding of Bolya et al. 2023.
"""

from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional

from sam2_plugins.core.config import ModelConfig
from sam2_plugins.core.model.layers import MLP, resize


def _pool(x: Tensor) -> Tensor:
    """Halve the sides of x (B, H, W, C) by the maximum of each 2 x 2 cells."""
    return functional.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def split_windows(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) -> (B * windows, window, window, C), zero-padded at the bottom and right."""
    _, height, width, _ = x.shape
    x = functional.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window))  # (B, nh, wh, nw, ww, C)
    return x.transpose(2, 3).flatten(0, 2)


def join_windows(x: Tensor, height: int, width: int) -> Tensor:
    """Undo `split_windows`: (B * windows, window, window, C) -> (B, height, width, C)."""
    window = x.shape[1]
    rows, columns = -(-height // window), -(-width // window)
    x = x.unflatten(0, (-1, rows, columns)).transpose(2, 3)
    return x.flatten(3, 4).flatten(1, 2)[:, :height, :width]


class MultiScaleAttention(nn.Module):
    """Self-attention over the cells of a window; pools its queries where a stage begins."""

    def __init__(self, dim: int, dim_out: int, num_heads: int, *, pools: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.pools = pools
        self.qkv = nn.Linear(dim, 3 * dim_out)
        self.proj = nn.Linear(dim_out, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C_in) -> (B, H, W, C_out), or half the sides when it pools."""
        _, height, width, _ = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.pools:
            q, height, width = _pool(q), height // 2, width // 2
        q, k, v = (
            part.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (q, k, v)
        )
        out = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).flatten(2).unflatten(1, (height, width)))


class MultiScaleBlock(nn.Module):
    """Attention and MLP, each with a residual; the first of a stage changes width and stride."""

    def __init__(self, dim: int, dim_out: int, num_heads: int, *, window: int, pools: bool) -> None:
        super().__init__()
        self.window = window
        self.pools = pools
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = MultiScaleAttention(dim, dim_out, num_heads, pools=pools)
        self.norm2 = nn.LayerNorm(dim_out, eps=1e-6)
        self.mlp = MLP((dim_out, 4 * dim_out, dim_out), functional.gelu)
        self.proj = nn.Linear(dim, dim_out) if dim != dim_out else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C_in) -> (B, H, W, C_out), or half the sides when it pools."""
        shortcut = x
        x = self.norm1(x)
        if self.proj is not None:
            shortcut = self.proj(x)
        if self.pools:
            shortcut = _pool(shortcut)
        height, width = shortcut.shape[1:3]
        if self.window:
            x = join_windows(self.attn(split_windows(x, self.window)), height, width)
        else:
            x = self.attn(x)
        x = shortcut + x
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """Overlapping patches of the image as tokens, at stride 4."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=7, stride=4, padding=3)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, S / 4, S / 4, C)."""
        return self.proj(images).permute(0, 2, 3, 1)


class Hiera(nn.Module):
    """The trunk; returns the last features of each stage, strides 4, 8, 16 and 32."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, num_heads = config.embed_dim, config.num_heads
        window = config.window_sizes[0]
        self.patch_embed = PatchEmbed(dim)
        coarse = config.pos_embed_size
        self.pos_embed = nn.Parameter(torch.zeros(1, dim, coarse, coarse))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, dim, window, window))
        self._grid_cache: tuple[tuple[object, ...], Tensor] | None = None
        ends = list(accumulate(config.stages))
        self.last_blocks = frozenset(end - 1 for end in ends)
        self.blocks = nn.ModuleList()
        stage = 0
        for index in range(ends[-1]):
            # The block that opens a stage still works in the windows of the stage before.
            window = 0 if index in config.global_blocks else config.window_sizes[stage]
            opens = index in ends
            dim_out = dim * 2 if opens else dim
            if opens:
                stage += 1
                num_heads *= 2
            self.blocks.append(MultiScaleBlock(dim, dim_out, num_heads, window=window, pools=opens))
            dim = dim_out

    def position_grid(self, height: int, width: int) -> Tensor:
        """Coarse embedding, interpolated, plus the window embedding, tiled: (1, H, W, C)."""
        # Loading weights changes the parameters in place; their version counters tell.
        versions = self.pos_embed._version, self.pos_embed_window._version  # noqa: SLF001
        key = (height, width, versions, self.pos_embed.data_ptr(), self.pos_embed.dtype)
        caches = not torch.is_grad_enabled()
        if caches and self._grid_cache is not None and self._grid_cache[0] == key:
            return self._grid_cache[1]
        coarse = resize(self.pos_embed.float(), (height, width), mode="bicubic")
        side = self.pos_embed_window.shape[-1]
        window = self.pos_embed_window.float().tile(1, 1, height // side, width // side)
        grid = (coarse + window).permute(0, 2, 3, 1).to(self.pos_embed.dtype)
        if caches:
            self._grid_cache = (key, grid)
        return grid

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, S, S) -> four levels (B, C_i, S / stride, S / stride), finest first."""
        x = self.patch_embed(images)
        x = x + self.position_grid(*x.shape[1:3])
        levels = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.last_blocks:
                levels.append(x.permute(0, 3, 1, 2))
        return levels
