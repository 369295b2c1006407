"""Writes weights in the layouts that other programs read."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from sam2_plugins.core.checkpoints import save_checkpoint
from sam2_plugins.core.config import ModelConfig
from sam2_plugins.core.key_names import to_transformers
from sam2_plugins.core.model.sam2 import SAM2

_MEMORY_DIM = 64
WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"


def export(model: SAM2, path: str | Path) -> Path:
    """Writes a model's weights; what is there appears whole or not at all.

    Args:
        model: The model.
        path: `.safetensors` for our own layout in float16; `.pt` for the official one, which the
            sam2 package loads strictly; else a folder, as transformers' `from_pretrained` takes.

    Returns:
        The path.

    Raises:
        ValueError: The ending is another one, or transformers cannot hold the network.
    """
    path = Path(path)
    if path.suffix in (".safetensors", ".pt"):
        path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_checkpoint(model, path)
    elif path.suffix == ".pt":
        save_official(model, path)
    elif path.suffix in ("", ".hf") or path.is_dir():
        save_transformers(model, path)
    else:
        raise ValueError(
            f"unknown ending {path.suffix!r} of {path}; use .safetensors, .pt, or a folder"
        )
    return path


def save_official(model: SAM2, path: Path) -> None:
    """Writes `{"model": state_dict}` in float32, as the published checkpoints are."""
    weights = {name: tensor.detach().cpu().float() for name, tensor in model.state_dict().items()}
    unfinished = path.with_name(f"{path.name}.part")
    try:
        torch.save({"model": weights}, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def save_transformers(model: SAM2, folder: Path) -> None:
    """Writes a folder that transformers' Sam2VideoModel and Sam2Model load, in float32."""
    if model.config.memory_dim != _MEMORY_DIM:
        raise ValueError(
            f"transformers knows memory maps of {_MEMORY_DIM} channels, and {model.config.name} "
            f"has {model.config.memory_dim}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().float() for name, tensor in model.state_dict().items()}
    tensors = {name: t.contiguous() for name, t in to_transformers(weights).items()}
    unfinished = folder / f"{WEIGHTS_FILE}.part"
    config = transformers_config(model.config, model.image_size)
    try:
        save_file(tensors, unfinished, {"format": "pt"})
        (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2), encoding="utf-8")
        unfinished.replace(folder / WEIGHTS_FILE)
    finally:
        unfinished.unlink(missing_ok=True)


def transformers_config(config: ModelConfig, image_size: int) -> dict[str, Any]:
    """Returns the configuration of transformers' Sam2VideoModel for one of our networks."""
    cells = image_size // 16
    widths = [config.embed_dim * 2**stage for stage in range(4)]
    sizes = [[cells * 4, cells * 4], [cells * 2, cells * 2], [cells, cells]]
    return {
        "architectures": ["Sam2VideoModel"],
        "model_type": "sam2_video",
        "image_size": image_size,
        "dtype": "float32",
        "vision_config": {
            "model_type": "sam2_vision_model",
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": config.embed_dim,
                "image_size": [image_size, image_size],
                "num_attention_heads": config.num_heads,
                "blocks_per_stage": list(config.stages),
                "embed_dim_per_stage": widths,
                "num_attention_heads_per_stage": [config.num_heads * 2**s for s in range(4)],
                "window_size_per_stage": list(config.window_sizes),
                "global_attention_blocks": list(config.global_blocks),
                "window_positional_embedding_background_size": [config.pos_embed_size] * 2,
            },
            "backbone_channel_list": widths[::-1],
            "backbone_feature_sizes": sizes,
            "fpn_hidden_size": config.model_dim,
        },
        "prompt_encoder_config": {"hidden_size": config.model_dim, "image_size": image_size},
        "mask_decoder_config": {
            "hidden_size": config.model_dim,
            "mlp_dim": config.feedforward_dim,
            "num_attention_heads": config.decoder_heads,
            "iou_head_hidden_dim": config.iou_hidden_dim,
        },
        "num_maskmem": config.num_memories,
        "max_object_pointers_in_encoder": config.max_pointers,
        "enable_temporal_pos_encoding_for_object_pointers": config.has_pointer_time,
        "enable_occlusion_spatial_embedding": config.has_absence_embedding,
        "memory_attention_hidden_size": config.model_dim,
        "memory_attention_num_layers": config.memory_attention_layers,
        "memory_attention_feed_forward_hidden_size": config.feedforward_dim,
        "memory_attention_rope_feat_sizes": [cells, cells],
        "memory_encoder_hidden_size": config.model_dim,
        "memory_encoder_output_channels": config.memory_dim,
        "mask_downsampler_embed_dim": config.model_dim,
        "memory_fuser_embed_dim": config.model_dim,
        "memory_fuser_intermediate_dim": 4 * config.model_dim,
        "memory_fuser_num_layers": config.fuser_layers,
    }
