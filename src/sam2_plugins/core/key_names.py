"""How transformers names the tensors that the official checkpoints, and we, name otherwise.

The table holds pairs of prefixes, official first. The longest prefix that a name begins with is
replaced and the rest of the name stays; `#` stands for a number that is the same on both sides.
Read from right to left, the same table leads back.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache

import torch
from torch import Tensor

PREFIXES: tuple[tuple[str, str], ...] = (
    # Image encoder
    ("image_encoder.trunk.", "vision_encoder.backbone."),
    ("image_encoder.trunk.patch_embed.proj.", "vision_encoder.backbone.patch_embed.projection."),
    ("image_encoder.trunk.blocks.#.norm", "vision_encoder.backbone.blocks.#.layer_norm"),
    ("image_encoder.trunk.blocks.#.mlp.layers.0.", "vision_encoder.backbone.blocks.#.mlp.proj_in."),
    (
        "image_encoder.trunk.blocks.#.mlp.layers.1.",
        "vision_encoder.backbone.blocks.#.mlp.proj_out.",
    ),
    ("image_encoder.neck.convs.#.conv.", "vision_encoder.neck.convs.#."),
    # Prompt encoder
    ("sam_prompt_encoder.", "prompt_encoder."),
    (
        "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
        "prompt_encoder.shared_embedding.positional_embedding",
    ),
    ("sam_prompt_encoder.mask_downscaling.0.", "prompt_encoder.mask_embed.conv1."),
    ("sam_prompt_encoder.mask_downscaling.1.", "prompt_encoder.mask_embed.layer_norm1."),
    ("sam_prompt_encoder.mask_downscaling.3.", "prompt_encoder.mask_embed.conv2."),
    ("sam_prompt_encoder.mask_downscaling.4.", "prompt_encoder.mask_embed.layer_norm2."),
    ("sam_prompt_encoder.mask_downscaling.6.", "prompt_encoder.mask_embed.conv3."),
    # Mask decoder
    ("sam_mask_decoder.", "mask_decoder."),
    ("sam_mask_decoder.transformer.layers.#.norm", "mask_decoder.transformer.layers.#.layer_norm"),
    (
        "sam_mask_decoder.transformer.layers.#.self_attn.out_proj.",
        "mask_decoder.transformer.layers.#.self_attn.o_proj.",
    ),
    (
        "sam_mask_decoder.transformer.layers.#.cross_attn_token_to_image.out_proj.",
        "mask_decoder.transformer.layers.#.cross_attn_token_to_image.o_proj.",
    ),
    (
        "sam_mask_decoder.transformer.layers.#.cross_attn_image_to_token.out_proj.",
        "mask_decoder.transformer.layers.#.cross_attn_image_to_token.o_proj.",
    ),
    (
        "sam_mask_decoder.transformer.layers.#.mlp.layers.0.",
        "mask_decoder.transformer.layers.#.mlp.proj_in.",
    ),
    (
        "sam_mask_decoder.transformer.layers.#.mlp.layers.1.",
        "mask_decoder.transformer.layers.#.mlp.proj_out.",
    ),
    (
        "sam_mask_decoder.transformer.final_attn_token_to_image.out_proj.",
        "mask_decoder.transformer.final_attn_token_to_image.o_proj.",
    ),
    (
        "sam_mask_decoder.transformer.norm_final_attn.",
        "mask_decoder.transformer.layer_norm_final_attn.",
    ),
    ("sam_mask_decoder.output_upscaling.0.", "mask_decoder.upscale_conv1."),
    ("sam_mask_decoder.output_upscaling.1.", "mask_decoder.upscale_layer_norm."),
    ("sam_mask_decoder.output_upscaling.3.", "mask_decoder.upscale_conv2."),
    *(
        (f"sam_mask_decoder.{mlp}.layers.{layer}.", f"mask_decoder.{mlp}.{name}.")
        for mlp in (
            "output_hypernetworks_mlps.#",
            "iou_prediction_head",
            "pred_obj_score_head",
        )
        for layer, name in enumerate(("proj_in", "layers.0", "proj_out"))
    ),
    # Memory
    ("no_mem_embed", "no_memory_embedding"),
    ("no_mem_pos_enc", "no_memory_positional_encoding"),
    ("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
    ("no_obj_ptr", "no_object_pointer"),
    ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
    ("obj_ptr_tpos_proj.", "temporal_positional_encoding_projection_layer."),
    ("obj_ptr_proj.layers.0.", "object_pointer_proj.proj_in."),
    ("obj_ptr_proj.layers.1.", "object_pointer_proj.layers.0."),
    ("obj_ptr_proj.layers.2.", "object_pointer_proj.proj_out."),
    ("memory_attention.norm.", "memory_attention.layer_norm."),
    ("memory_attention.layers.#.norm", "memory_attention.layers.#.layer_norm"),
    (
        "memory_attention.layers.#.self_attn.out_proj.",
        "memory_attention.layers.#.self_attn.o_proj.",
    ),
    (
        "memory_attention.layers.#.cross_attn_image.out_proj.",
        "memory_attention.layers.#.cross_attn_image.o_proj.",
    ),
    ("memory_encoder.pix_feat_proj.", "memory_encoder.feature_projection."),
    ("memory_encoder.out_proj.", "memory_encoder.projection."),
    ("memory_encoder.fuser.layers.#.gamma", "memory_encoder.memory_fuser.layers.#.scale"),
    ("memory_encoder.fuser.layers.#.norm.", "memory_encoder.memory_fuser.layers.#.layer_norm."),
    (
        "memory_encoder.fuser.layers.#.dwconv.",
        "memory_encoder.memory_fuser.layers.#.depthwise_conv.",
    ),
    (
        "memory_encoder.fuser.layers.#.pwconv",
        "memory_encoder.memory_fuser.layers.#.pointwise_conv",
    ),
    *(
        (
            f"memory_encoder.mask_downsampler.encoder.{3 * layer + offset}.",
            f"memory_encoder.mask_downsampler.layers.{layer}.{name}.",
        )
        for layer in range(4)
        for offset, name in enumerate(("conv", "layer_norm"))
    ),
    ("memory_encoder.mask_downsampler.encoder.12.", "memory_encoder.mask_downsampler.final_conv."),
)

# Two things are not a matter of names: transformers stacks the embeddings of the four kinds of
# points, and keeps a second copy of the Fourier matrix.
_POINT_KINDS = tuple(f"sam_prompt_encoder.point_embeddings.{kind}.weight" for kind in range(4))
_STACKED_POINT_KINDS = "prompt_encoder.point_embed.weight"
_FOURIER_MATRIX = "prompt_encoder.shared_embedding.positional_embedding"
_FOURIER_MATRIX_COPY = "shared_image_embedding.positional_embedding"


def is_transformers(names: Iterable[str]) -> bool:
    """Returns whether the names are those of transformers' Sam2Model or Sam2VideoModel."""
    return any(name.startswith("vision_encoder.backbone.") for name in names)


def from_transformers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the same tensors under their official names.

    A name that transformers does not use stays as it is.

    Raises:
        ValueError: The two copies of the Fourier matrix differ.
    """
    tensors = dict(tensors)
    matrix_copy = tensors.pop(_FOURIER_MATRIX_COPY, None)
    if matrix_copy is not None and not torch.equal(
        matrix_copy, tensors.setdefault(_FOURIER_MATRIX, matrix_copy)
    ):
        raise ValueError(f"{_FOURIER_MATRIX} and {_FOURIER_MATRIX_COPY} differ; they must be equal")
    stacked = tensors.get(_STACKED_POINT_KINDS)
    if stacked is not None and len(stacked) == len(_POINT_KINDS):
        del tensors[_STACKED_POINT_KINDS]
        tensors |= {name: stacked[kind : kind + 1] for kind, name in enumerate(_POINT_KINDS)}
    return {official_name(name): tensor for name, tensor in tensors.items()}


def to_transformers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the same tensors, named officially, as Sam2VideoModel holds them."""
    renamed = {
        transformers_name(name): tensor
        for name, tensor in tensors.items()
        if name not in _POINT_KINDS
    }
    renamed[_STACKED_POINT_KINDS] = torch.cat([tensors[kind] for kind in _POINT_KINDS])
    renamed[_FOURIER_MATRIX_COPY] = renamed[_FOURIER_MATRIX].clone()
    return renamed


def official_name(name: str) -> str:
    """Returns the official name of a tensor that transformers calls `name`."""
    return _replace_prefix(name, 1, 0)


def transformers_name(name: str) -> str:
    """Returns transformers' name of a tensor that is officially called `name`."""
    return _STACKED_POINT_KINDS if name in _POINT_KINDS else _replace_prefix(name, 0, 1)


def _replace_prefix(name: str, source: int, target: int) -> str:
    for pattern, replacement in _patterns(source, target):
        renamed, count = pattern.subn(replacement, name)
        if count:
            return renamed
    return name


@cache
def _patterns(source: int, target: int) -> list[tuple[re.Pattern[str], str]]:
    """The table as regular expressions from one column to the other, longest prefix first."""
    return [
        (
            re.compile("^" + re.escape(pair[source]).replace(r"\#", r"(\d+)")),
            pair[target].replace("#", r"\1"),
        )
        for pair in sorted(PREFIXES, key=lambda pair: -len(pair[source]))
    ]
