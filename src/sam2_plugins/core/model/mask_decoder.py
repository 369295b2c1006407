"""The mask decoder: prompts and features to masks, their predicted IoU and presence."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sam2_plugins.core.config import ModelConfig
from sam2_plugins.core.model.layers import MLP, LayerNorm2d
from sam2_plugins.core.model.two_way_transformer import TwoWayTransformer

NUM_MASK_TOKENS = 4
"""One for an unambiguous prompt, three for the parts and wholes an ambiguous one may mean."""
_STABILITY_DELTA = 0.05
_STABILITY_THRESHOLD = 0.98


class Decoding(NamedTuple):
    """What the decoder says of a batch of objects.

    Attributes:
        low_res_logits: (B, M, 4 h, 4 w); > 0 is object.
        predicted_iou: (B, M) in [0, 1].
        tokens: (B, M, C); output tokens, from which object pointers are made.
        object_score_logits: (B, 1); > 0 means visible.
    """

    low_res_logits: Tensor
    predicted_iou: Tensor
    tokens: Tensor
    object_score_logits: Tensor

    def row(self, index: int) -> "Decoding":
        """What is said of one object, B = 1."""
        return Decoding(*(tensor[index : index + 1] for tensor in self))


class MaskDecoder(nn.Module):
    """Decodes masks from features and prompts."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.model_dim
        self.transformer = TwoWayTransformer(config)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(NUM_MASK_TOKENS, dim)
        self.obj_score_token = nn.Embedding(1, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.conv_s0 = nn.Conv2d(dim, dim // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(dim, dim // 4, kernel_size=1)
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP((dim, dim, dim, dim // 8)) for _ in range(NUM_MASK_TOKENS)
        )
        hidden = config.iou_hidden_dim
        self.iou_prediction_head = MLP((dim, hidden, hidden, NUM_MASK_TOKENS), sigmoid_output=True)
        self.pred_obj_score_head = MLP((dim, dim, dim, 1))

    def forward(
        self,
        image: Tensor,
        high_res: tuple[Tensor, Tensor],
        *,
        image_positions: Tensor,
        prompt_tokens: Tensor,
    ) -> Decoding:
        """Decode all four masks.

        Args:
            image: (B, C, h, w) stride-16 features with the dense prompt added.
            high_res: Stride-4 (B, C / 8, 4 h, 4 w) and stride-8 (B, C / 4, 2 h, 2 w) features.
            image_positions: (1, C, h, w).
            prompt_tokens: (B, N, C).

        Returns:
            M = 4: the single mask first, then the three of an ambiguous prompt.
        """
        own = (self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight)
        own_tokens = torch.cat(own).expand(len(prompt_tokens), -1, -1)
        tokens, image = self.transformer(
            image, image_positions, torch.cat((own_tokens, prompt_tokens), dim=1)
        )
        object_token, iou_token, mask_tokens, _ = tokens.split(
            (1, 1, NUM_MASK_TOKENS, prompt_tokens.shape[1]), dim=1
        )
        up_8, norm, gelu_8, up_4, gelu_4 = self.output_upscaling
        stride_4, stride_8 = high_res
        pixels = gelu_8(norm(up_8(image) + stride_8))
        pixels = gelu_4(up_4(pixels) + stride_4)
        kernels = torch.stack(
            [mlp(mask_tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)],
            dim=1,
        )
        logits = (kernels @ pixels.flatten(2)).unflatten(-1, pixels.shape[-2:])
        return Decoding(
            logits,
            self.iou_prediction_head(iou_token[:, 0]),
            mask_tokens,
            self.pred_obj_score_head(object_token[:, 0]),
        )


def choose_masks(decoding: Decoding, *, multimask: bool, stable: bool) -> Decoding:
    """Keep the masks that fit the prompt.

    Args:
        decoding: All four masks.
        multimask: Keep the three masks of an ambiguous prompt (M = 3); else one (M = 1).
        stable: For one mask, fall back on the best of the three where the single mask changes
            much when its threshold moves a little. The token stays the single mask's.

    Returns:
        The decoding of those masks.
    """
    logits, iou, tokens, scores = decoding
    if multimask:
        return Decoding(logits[:, 1:], iou[:, 1:], tokens[:, 1:], scores)
    single = Decoding(logits[:, :1], iou[:, :1], tokens[:, :1], scores)
    if not stable:
        return single
    pixels = single.low_res_logits.flatten(2)
    inner = (pixels > _STABILITY_DELTA).sum(-1).float()
    outer = (pixels > -_STABILITY_DELTA).sum(-1).float()
    is_stable = torch.where(outer > 0, inner / outer, 1.0) >= _STABILITY_THRESHOLD  # (B, 1)
    best = iou[:, 1:].argmax(dim=1, keepdim=True) + 1
    best_logits = logits.take_along_dim(best[..., None, None], dim=1)
    best_iou = iou.take_along_dim(best, dim=1)
    return Decoding(
        torch.where(is_stable[..., None, None], single.low_res_logits, best_logits),
        torch.where(is_stable, single.predicted_iou, best_iou),
        single.tokens,
        scores,
    )
