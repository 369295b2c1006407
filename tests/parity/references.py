"""The published implementations, filled with random weights that make every part matter.

Fresh weights would hide mistakes: layer scales of 1e-6, embeddings near zero and an absent object
switch whole parts off. Here everything has a size that shows in the output, and the object is
there.
"""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sam2.build_sam import build_sam2_video_predictor
from scipy import ndimage
from torch import Tensor, nn
from transformers import Sam2Config, Sam2Model, Sam2VideoConfig, Sam2VideoModel

from sam2_plugins.core.checkpoints import blank_model
from sam2_plugins.core.config import MODELS
from sam2_plugins.core.key_names import to_transformers
from sam2_plugins.core.model.sam2 import SAM2

Encoded = TypeVar("Encoded")

HEIGHT, WIDTH, NUM_FRAMES = 150, 212, 12
OBJECT_SCORE_BIAS = 4.0
_YAML_SIZES = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}


def yaml_file(name: str) -> str:
    """The official configuration of one of our models."""
    version, size = name.split("-", 1)
    return f"configs/{version}/{version}_hiera_{_YAML_SIZES[size]}.yaml"


def official_predictor(name: str, image_size: int) -> nn.Module:
    """sam2's video predictor, which is also its network, with random weights.

    As its builder makes it, but for two things: corrected frames become conditioning frames, as in
    training; and holes are not filled, which the package can only do with its CUDA extension.
    """
    cells = image_size // 16
    with blank_weights():
        predictor = build_sam2_video_predictor(
            yaml_file(name),
            device="cpu",
            hydra_overrides_extra=[
                f"++model.image_size={image_size}",
                f"++model.memory_attention.layer.self_attention.feat_sizes=[{cells},{cells}]",
                f"++model.memory_attention.layer.cross_attention.feat_sizes=[{cells},{cells}]",
                "++model.add_all_frames_to_correct_as_cond=true",
            ],
        )
    predictor.fill_hole_area = 0
    make_every_part_matter(predictor)
    return predictor


@contextmanager
def blank_weights() -> Iterator[None]:
    """Networks made meanwhile are not initialised: it takes longer than comparing them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(nn.init, "kaiming_uniform_", lambda tensor, *_, **__: tensor)
        yield


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
    ours = blank_model(MODELS[name], image_size=official.image_size)
    ours.load_state_dict(official.state_dict(), strict=True)
    return ours.eval()


@dataclass(frozen=True)
class Pair:
    """The same weights in the official network and in ours."""

    name: str
    official: nn.Module
    ours: SAM2


def make_pair(name: str, image_size: int) -> Pair:
    """Both encode an image once: it takes most of a clip's time, and many tests show one clip."""
    official = official_predictor(name, image_size)
    ours = our_network(name, official)
    official.forward_image = once_each(official.forward_image)
    ours.encode_image = once_each(ours.encode_image)
    return Pair(name, official, ours)


def once_each(encode: Callable[[Tensor], Encoded]) -> Callable[[Tensor], Encoded]:
    """Keep what an encoder makes of each image, for those that want no gradient."""
    known: dict[bytes, Encoded] = {}

    def encode_once(images: Tensor) -> Encoded:
        if torch.is_grad_enabled():
            return encode(images)
        key = images.numpy().tobytes()
        if key not in known:
            known[key] = encode(images)
        return known[key]

    return encode_once


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


def transformers_network(pair: Pair, *, video: bool) -> Sam2Model | Sam2VideoModel:
    """transformers' network, for images or videos, with the weights of the pair."""
    name, image_size = pair.name, pair.ours.image_size
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
    else:
        config = Sam2Config(vision_config=vision, prompt_encoder_config=prompts)
    with blank_weights():
        network = (Sam2VideoModel if video else Sam2Model)(config)
    weights = to_transformers(pair.official.state_dict())
    names = network.state_dict().keys()
    if video:
        assert names == weights.keys()
    network.load_state_dict({key: weights[key] for key in names}, strict=True)
    return network.eval()


def difference(ours: Tensor, reference: Tensor) -> float:
    """The largest difference, as a part of the reference's largest value."""
    assert ours.shape == reference.shape, (ours.shape, reference.shape)
    assert reference.std() > 0, "the reference is constant and would show nothing"
    return ((ours - reference).abs().max() / reference.abs().max()).item()


def assert_agrees(ours: Tensor, reference: Tensor, tolerance: float = 1e-4) -> None:
    measured = difference(ours, reference)
    assert measured < tolerance, f"differs by {measured:.2e} of the largest value"


def read(folder: Path) -> NDArray[np.uint8]:
    """The JPEG files of a folder: (T, H, W, 3)."""
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.jpg"))])


def moving_shapes() -> NDArray[np.uint8]:
    """Textured discs that drift over a texture: (T, H, W, 3) uint8."""
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(size=(HEIGHT, WIDTH, 3)), (4, 4, 0))
    frames = np.empty((NUM_FRAMES, HEIGHT, WIDTH, 3))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for t in range(NUM_FRAMES):
        frame = texture / texture.std() * 25 + 110
        for i, (cy, cx, radius) in enumerate([(70, 60, 28), (80, 130, 35), (110, 40, 20)]):
            inside = (y - cy - 2 * t) ** 2 + (x - cx - (3 - 2 * i) * t) ** 2 < radius**2
            colour = np.array([(220, 60, 60), (60, 200, 90), (80, 90, 230)][i])
            frame[inside] = colour + 15 * np.sin(x + y)[inside, None]
        frames[t] = frame
    return frames.clip(0, 255).astype(np.uint8)
