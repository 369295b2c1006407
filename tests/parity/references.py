"""The published implementations, filled with random weights that make every part matter.

Fresh weights would hide mistakes: layer scales of 1e-6, embeddings near zero and an absent object
switch whole parts off. Here everything has a size that shows in the output, and the object is
there.
"""

import math
import re
from dataclasses import dataclass

import torch
from sam2.build_sam import build_sam2, build_sam2_video_predictor
from torch import Tensor, nn
from transformers import Sam2Config, Sam2Model, Sam2VideoConfig, Sam2VideoModel

from sam2_plugins.core.config import MODELS
from sam2_plugins.core.key_names import to_transformers
from sam2_plugins.core.model.sam2 import SAM2

OBJECT_SCORE_BIAS = 4.0
_YAML_SIZES = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}


def yaml_file(name: str) -> str:
    """The official configuration of one of our models."""
    version, size = name.split("-", 1)
    return f"configs/{version}/{version}_hiera_{_YAML_SIZES[size]}.yaml"


def official_overrides(image_size: int) -> list[str]:
    cells = image_size // 16
    return [
        f"++model.image_size={image_size}",
        f"++model.memory_attention.layer.self_attention.feat_sizes=[{cells},{cells}]",
        f"++model.memory_attention.layer.cross_attention.feat_sizes=[{cells},{cells}]",
    ]


def official_network(name: str, image_size: int) -> nn.Module:
    """sam2's network with random weights, without what its builders call post-processing."""
    network = build_sam2(
        yaml_file(name),
        device="cpu",
        hydra_overrides_extra=official_overrides(image_size),
        apply_postprocessing=False,
    )
    make_every_part_matter(network)
    return network


def official_video_predictor(
    name: str, image_size: int, *, apply_postprocessing: bool
) -> nn.Module:
    """sam2's video predictor, keeping corrected frames as conditioning frames, as trained."""
    predictor = build_sam2_video_predictor(
        yaml_file(name),
        device="cpu",
        hydra_overrides_extra=[
            *official_overrides(image_size),
            "++model.add_all_frames_to_correct_as_cond=true",
        ],
        apply_postprocessing=apply_postprocessing,
    )
    make_every_part_matter(predictor)
    return predictor


@torch.no_grad()
def make_every_part_matter(network: nn.Module, seed: int = 0) -> None:
    """Fills an official network with weights of a size that shows in the output."""
    generator = torch.Generator().manual_seed(seed)

    def normal(like: Tensor, mean: float, std: float) -> Tensor:
        return mean + std * torch.randn(like.shape, generator=generator)

    for name, weight in network.state_dict().items():
        if name.endswith("gamma"):
            value = normal(weight, 0.5, 0.2)
        elif "gaussian_matrix" in name:
            value = normal(weight, 0, 1)
        elif "." not in name or re.search(r"(embed\w*|_token|_tokens)(\.\d)?(\.weight)?$", name):
            value = normal(weight, 0, 0.5)
        elif weight.ndim == 1 and name.endswith("weight"):  # of a normalisation
            value = normal(weight, 1, 0.1)
        elif name.endswith("bias"):
            value = normal(weight, 0, 0.1)
        else:
            value = normal(weight, 0, 1 / math.sqrt(weight[0].numel()))
        weight.copy_(value)
    # Objects are there, and predicted IoUs differ.
    network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(OBJECT_SCORE_BIAS)
    network.sam_mask_decoder.iou_prediction_head.layers[-1].weight.mul_(3)


def our_network(name: str, official: nn.Module) -> SAM2:
    """Our network with the weights of an official one."""
    ours = SAM2(MODELS[name], image_size=official.image_size)
    ours.load_state_dict(official.state_dict(), strict=True)
    return ours.eval()


def transformers_vision_config(name: str, image_size: int) -> dict[str, object]:
    config = MODELS[name]
    dims = [config.embed_dim * 2**stage for stage in range(4)]
    cells = [image_size // stride for stride in (4, 8, 16)]
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": config.embed_dim,
        "num_attention_heads": config.num_heads,
        "image_size": [image_size, image_size],
        "blocks_per_stage": list(config.stages),
        "embed_dim_per_stage": dims,
        "num_attention_heads_per_stage": [config.num_heads * 2**stage for stage in range(4)],
        "window_size_per_stage": list(config.window_sizes),
        "global_attention_blocks": list(config.global_blocks),
        "window_positional_embedding_background_size": [config.pos_embed_size] * 2,
    }
    return {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": dims[::-1],
        "backbone_feature_sizes": [[cell, cell] for cell in cells],
    }


def transformers_network(
    name: str, image_size: int, official: nn.Module, *, video: bool
) -> Sam2Model | Sam2VideoModel:
    """transformers' network, for images or videos, with the weights of an official one."""
    vision = transformers_vision_config(name, image_size)
    prompts = {"image_size": image_size}
    if video:
        is_newer = MODELS[name].version == "2.1"
        config = Sam2VideoConfig(
            vision_config=vision,
            prompt_encoder_config=prompts,
            image_size=image_size,
            memory_attention_rope_feat_sizes=[image_size // 16] * 2,
            enable_occlusion_spatial_embedding=is_newer,
            enable_temporal_pos_encoding_for_object_pointers=is_newer,
        )
        network = Sam2VideoModel(config)
    else:
        network = Sam2Model(Sam2Config(vision_config=vision, prompt_encoder_config=prompts))
    weights = to_transformers(official.state_dict())
    names = network.state_dict().keys()
    if video:
        assert names == weights.keys()
    network.load_state_dict({key: weights[key] for key in names}, strict=True)
    return network.eval()


@dataclass(frozen=True)
class Pair:
    """The same weights in the official network and in ours."""

    name: str
    official: nn.Module
    ours: SAM2


def difference(ours: Tensor, reference: Tensor) -> float:
    """The largest difference, as a part of the reference's largest value."""
    assert ours.shape == reference.shape, (ours.shape, reference.shape)
    assert reference.std() > 0, "the reference is constant and would show nothing"
    return ((ours - reference).abs().max() / reference.abs().max()).item()


def assert_agrees(ours: Tensor, reference: Tensor, tolerance: float = 1e-4) -> None:
    measured = difference(ours, reference)
    assert measured < tolerance, f"differs by {measured:.2e} of the largest value"
