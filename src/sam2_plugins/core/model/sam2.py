"""SAM 2: the parts wired together, and the steps that image and video prediction are made of.

Ravi et al. 2024, "SAM 2: Segment Anything in Images and Videos". Methods work on a batch of B
objects; who remembers what, and when, is decided outside (memory.py, tracker.py, training).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sam2_plugins.core.config import ModelConfig, check_image_size
from sam2_plugins.core.model.image_encoder import ImageEncoder
from sam2_plugins.core.model.layers import MLP, resize
from sam2_plugins.core.model.mask_decoder import Decoding, MaskDecoder, choose_masks
from sam2_plugins.core.model.memory_attention import MemoryAttention
from sam2_plugins.core.model.memory_encoder import MemoryEncoder
from sam2_plugins.core.model.positions import sine_grid, sine_line
from sam2_plugins.core.model.prompt_encoder import PromptEncoder
from sam2_plugins.core.model.values import (
    ABSENT_LOGIT,
    ImageFeatures,
    MapMemory,
    PointerMemory,
    Segmentation,
)

__all__ = ["ABSENT_LOGIT", "SAM2", "ImageFeatures", "MapMemory", "PointerMemory", "Segmentation"]

_MASK_SCALE, _MASK_BIAS = 20.0, -10.0
"""Mask probabilities enter the memory encoder scaled to [-10, 10]; a given mask leaves so too."""


class SAM2(nn.Module):
    """The network of one size.

    Args:
        config: A row of `MODELS`.
        image_size: Side of the square input; the config's own if not given.

    Attributes:
        has_memory: False once weights for images only were loaded: tracking is then impossible.
    """

    has_memory: bool = True

    def __init__(self, config: ModelConfig, *, image_size: int | None = None) -> None:
        super().__init__()
        dim = config.model_dim
        self.config = config
        self.image_size = check_image_size(image_size or config.image_size)
        self.image_encoder = ImageEncoder(config)
        self.memory_attention = MemoryAttention(config)
        self.memory_encoder = MemoryEncoder(config)
        self.sam_prompt_encoder = PromptEncoder(config)
        self.sam_mask_decoder = MaskDecoder(config)
        self.maskmem_tpos_enc = nn.Parameter(
            torch.zeros(config.num_memories, 1, 1, config.memory_dim)
        )
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, dim))
        # Not used, but every published checkpoint carries it.
        self.no_mem_pos_enc = nn.Parameter(torch.zeros(1, 1, dim))
        self.no_obj_ptr = nn.Parameter(torch.zeros(1, dim))
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.obj_ptr_proj = MLP((dim, dim, dim, dim))
        if config.has_pointer_time:
            self.obj_ptr_tpos_proj = nn.Linear(dim, config.memory_dim)
        if config.has_absence_embedding:
            self.no_obj_embed_spatial = nn.Parameter(torch.zeros(1, config.memory_dim))
        self._initialise()

    def _initialise(self) -> None:
        """Start training with small positions and stand-ins, as the published models did."""
        trunk = self.image_encoder.trunk
        small = [self.maskmem_tpos_enc, self.no_mem_embed, self.no_mem_pos_enc, self.no_obj_ptr]
        if self.config.has_absence_embedding:
            small.append(self.no_obj_embed_spatial)
        for parameter in (*small, trunk.pos_embed, trunk.pos_embed_window):
            nn.init.trunc_normal_(parameter, std=0.02)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.no_mem_embed.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.no_mem_embed.dtype

    def cast(self, dtype: torch.dtype) -> "SAM2":
        """Cast the weights in place; the Fourier matrix stays float32, where it matters."""
        for parameter in self.parameters():
            parameter.data = parameter.data.to(dtype)
        return self

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """Encode normalised images (B, 3, S, S), S any multiple of 32."""
        stride_4, stride_8, stride_16 = self.image_encoder(images.to(self.dtype))
        decoder = self.sam_mask_decoder
        return ImageFeatures(stride_16, decoder.conv_s1(stride_8), decoder.conv_s0(stride_4))

    def without_memory(self, features: ImageFeatures) -> Tensor:
        """Stride-16 features as the decoder wants them where nothing is remembered."""
        return features.stride_16 + self.no_mem_embed[0, 0, :, None, None]

    def with_memory(
        self,
        features: ImageFeatures,
        *,
        maps: Sequence[MapMemory],
        pointers: Sequence[PointerMemory],
        max_pointers: int | None = None,
        prepared: Tensor | None = None,
    ) -> Tensor:
        """Condition stride-16 features on what is remembered.

        Args:
            features: Of the frame.
            maps: At least one.
            pointers: May be empty.
            max_pointers: The span of distances that time is scaled by; the config's if not given.
            prepared: `memory_attention.prepare(features.stride_16)` if already at hand: it is the
                same for every object of a frame.

        Returns:
            (B, C, h, w).
        """
        if prepared is None:
            prepared = self.memory_attention.prepare(features.stride_16)
        grid = features.grid
        memory_dim = self.config.memory_dim
        place = sine_grid(memory_dim, *grid, self.device).to(self.dtype).flatten(2).mT
        tokens = [m.features.to(self.dtype).flatten(2).mT for m in maps]
        # Row k - 1 is for the frame k back; the last row is for conditioning frames.
        positions = [place + self.maskmem_tpos_enc[m.age - 1, 0] for m in maps]
        num_pointer_tokens = 0
        if pointers:
            split = self.config.model_dim // memory_dim
            stacked = torch.stack([p.pointer.to(self.dtype) for p in pointers], dim=1)
            tokens.append(stacked.unflatten(-1, (split, memory_dim)).flatten(1, 2))
            span = (max_pointers or self.config.max_pointers) - 1
            times = self._pointer_times([p.distance for p in pointers], span)
            positions.append(times.repeat_interleave(split, dim=0)[None])
            num_pointer_tokens = split * len(pointers)
        memory = torch.cat(tokens, dim=1)
        return self.memory_attention(
            prepared.expand(len(memory), -1, -1),
            memory,
            torch.cat(positions, dim=1),
            grid=grid,
            num_pointer_tokens=num_pointer_tokens,
        )

    def _pointer_times(self, distances: list[float], span: int) -> Tensor:
        """Encode the distances of pointers: (P, memory_dim)."""
        if not self.config.has_pointer_time:
            return self.no_mem_embed.new_zeros(len(distances), self.config.memory_dim)
        scaled = torch.tensor(distances, dtype=torch.float32, device=self.device) / max(span, 1)
        return self.obj_ptr_tpos_proj(sine_line(scaled, self.config.model_dim).to(self.dtype))

    def decode(
        self,
        features: ImageFeatures,
        conditioned: Tensor,
        *,
        points: Tensor | None = None,
        point_labels: Tensor | None = None,
        mask_logits: Tensor | None = None,
        multimask: bool = True,
        stable: bool = False,
    ) -> Decoding:
        """Decode masks from prompts.

        Args:
            features: B, or 1 for objects that share a frame.
            conditioned: (B, C, h, w), from `without_memory` or `with_memory`.
            points: (B, N, 2) float (x, y) in pixels of the model's input; None for no points.
            point_labels: (B, N) int, as in the prompt encoder.
            mask_logits: (B, 1, 4 h, 4 w), a previous or given mask; other sizes are resized.
            multimask: Return three masks (M = 3) instead of one.
            stable: See `choose_masks`.

        Returns:
            M masks for each object. Nothing is done about absence.
        """
        height, width = features.grid
        side = height * 16
        if points is None or point_labels is None:
            batch_size = len(conditioned) if mask_logits is None else len(mask_logits)
            points = conditioned.new_zeros(batch_size, 0, 2, dtype=torch.float32)
            point_labels = points.new_zeros(batch_size, 0, dtype=torch.int64)
        encoder = self.sam_prompt_encoder
        prompt_tokens = encoder.encode_points(points, point_labels, side)
        if mask_logits is None:
            dense = encoder.no_mask(len(points), height, width)
        else:
            if mask_logits.shape[-2:] != (4 * height, 4 * width):
                size = (4 * height, 4 * width)
                mask_logits = resize(mask_logits.float(), size, antialias=True)
            dense = encoder.encode_masks(mask_logits)
        decoding = self.sam_mask_decoder(
            conditioned + dense,
            (features.stride_4, features.stride_8),
            image_positions=encoder.image_positions(height, width),
            prompt_tokens=prompt_tokens,
        )
        return choose_masks(decoding, multimask=multimask, stable=stable)

    def summarise(self, decoding: Decoding) -> Segmentation:
        """Keep the mask with the highest predicted IoU, and make the object's pointer of it."""
        scores = decoding.object_score_logits[:, 0].float()
        is_visible = scores > 0
        best = decoding.predicted_iou.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        logits = decoding.low_res_logits[rows, best, None].float()
        return Segmentation(
            torch.where(is_visible[:, None, None, None], logits, ABSENT_LOGIT),
            decoding.predicted_iou[rows, best].float(),
            scores,
            self._pointers(decoding.tokens[rows, best], is_visible),
        )

    def adopt_masks(self, features: ImageFeatures, masks: Tensor) -> Segmentation:
        """Take given masks as they are, and make pointers of them.

        Args:
            features: B, or 1 for objects that share a frame.
            masks: (B, 1, S, S), 1 is object.

        Returns:
            The masks as logits of +-10, with predicted IoU 1.
        """
        masks = masks.float()
        logits = masks * _MASK_SCALE + _MASK_BIAS
        height, width = features.grid
        low_res = resize(logits, (4 * height, 4 * width), antialias=True)
        decoding = self.decode(
            features,
            features.stride_16.expand(len(masks), -1, -1, -1),
            mask_logits=self.mask_downsample(masks.to(self.dtype)),
            multimask=False,
        )
        is_visible = (masks > 0).flatten(1).any(dim=1)
        # The pointer is zeroed by presence twice, as decoded and as given.
        pointers = self.summarise(decoding).object_pointers
        pointers = torch.where(is_visible[:, None], pointers, self.no_obj_ptr)
        scores = torch.where(is_visible, _MASK_SCALE + _MASK_BIAS, _MASK_BIAS)
        return Segmentation(low_res, torch.ones_like(scores), scores, pointers)

    def _pointers(self, tokens: Tensor, is_visible: Tensor) -> Tensor:
        """Object pointers (B, C) from output tokens (B, C)."""
        return torch.where(is_visible[:, None], self.obj_ptr_proj(tokens), self.no_obj_ptr)

    def encode_memory(
        self,
        features: ImageFeatures,
        low_res_logits: Tensor,
        object_score_logits: Tensor,
        *,
        hard: bool,
    ) -> Tensor:
        """Make memory maps of masks.

        Args:
            features: B, or 1 for objects that share a frame.
            low_res_logits: (B, 1, 4 h, 4 w).
            object_score_logits: (B,).
            hard: Binarise the mask, as is done for frames with prompts.

        Returns:
            (B, memory_dim, h, w).
        """
        side = 16 * features.grid[0]
        logits = functional.interpolate(
            low_res_logits.float(), size=(side, side), mode="bilinear", align_corners=False
        )
        masks = (logits > 0).float() if hard else logits.sigmoid()
        maps = self.memory_encoder(
            features.stride_16, (masks * _MASK_SCALE + _MASK_BIAS).to(self.dtype)
        )
        if self.config.has_absence_embedding:
            is_absent = (object_score_logits <= 0)[:, None, None, None]
            maps = maps + is_absent * self.no_obj_embed_spatial[..., None, None]
        return maps
