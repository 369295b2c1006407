"""The weights a run from scratch starts with: attention that already looks in the right place.

Queries and keys that start with unrelated projections must first discover that a click means the
pixels around it, and that a cell of a frame resembles the same cell one frame earlier. That takes
longer than all the rest of a short run. Here both are true from the first step: the projections
of queries and keys are the same, so a product of two position encodings is large where they are
near, and a product of two features is large where they are alike.
"""

import torch
from torch import Tensor, nn

from sam2_plugins.core.model.layers import Attention
from sam2_plugins.core.model.memory_attention import MemoryAttentionLayer
from sam2_plugins.core.model.sam2 import SAM2

PROMPT_GAIN = 1.6
FEATURE_SCALE = 0.1
KERNEL_DEVIATION = 0.5
MEMORY_GAIN = 0.8
NEARBY_BIAS = 3.0
EMBEDDING_DEVIATION = 0.02
FUSER_SCALE = 0.1


@torch.no_grad()
def initialise(model: SAM2, seed: int = 0) -> SAM2:
    """Set the weights to start from scratch with, in place.

    Args:
        model: The network.
        seed: Seed of the weights.

    Returns:
        The same network.
    """
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
            # Drawn once already, when the network was made, but not from this seed.
            module.reset_parameters()
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            parameter.fill_(FUSER_SCALE)
    for module in (model, model.image_encoder.trunk):
        for parameter in module.parameters(recurse=False):
            nn.init.trunc_normal_(parameter, std=EMBEDDING_DEVIATION)
    nn.init.normal_(model.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix)
    _quieten_features(model)
    _align_prompts(model)
    _align_memory(model)
    return model


def _quieten_features(model: SAM2) -> None:
    """Shrink image features, and let mask kernels start with values of their own."""
    # Features that start large drown the position codes beside them (deviation 1.2 to 0.7).
    for level in model.image_encoder.neck.modules():
        if isinstance(level, nn.Conv2d):
            level.weight.mul_(FEATURE_SCALE)
            if level.bias is not None:
                level.bias.zero_()
    for name, parameter in model.sam_mask_decoder.output_hypernetworks_mlps.named_parameters():
        if name.endswith("layers.2.bias"):
            nn.init.normal_(parameter, std=KERNEL_DEVIATION)


def _align_prompts(model: SAM2) -> None:
    """Let tokens of points look at, and be seen from, the places they are at.

    Among themselves tokens look at themselves first: averaged, they would all say the same.
    """
    transformer = model.sam_mask_decoder.transformer
    for attention in transformer.modules():
        if not isinstance(attention, Attention):
            continue
        _share(attention, PROMPT_GAIN)
        nn.init.orthogonal_(attention.v_proj.weight)
        attention.out_proj.weight.copy_(attention.v_proj.weight.T)


def _align_memory(model: SAM2) -> None:
    """Let the cells of a frame look at the cells they resemble, around and in memory."""
    encoder = model.memory_encoder
    dim = encoder.pix_feat_proj.weight.shape[0]
    encoder.pix_feat_proj.weight.copy_(torch.eye(dim)[..., None, None])
    nn.init.orthogonal_(encoder.out_proj.weight)
    narrow: Tensor = encoder.out_proj.weight[..., 0, 0]  # (memory_dim, C)
    for layer in model.memory_attention.layers:
        assert isinstance(layer, MemoryAttentionLayer)
        _share(layer.self_attn, MEMORY_GAIN)
        attention = layer.cross_attn_image
        attention.q_proj.weight.copy_(MEMORY_GAIN * torch.eye(dim))
        attention.k_proj.weight.copy_(MEMORY_GAIN * narrow.T)
        for projection in (attention.q_proj, attention.k_proj):
            _look_nearby(projection)
        nn.init.orthogonal_(attention.v_proj.weight)
        nn.init.orthogonal_(attention.out_proj.weight)


def _look_nearby(projection: nn.Linear) -> None:
    """Make a rotary projection constant in the channels that turn fastest.

    Two constant vectors turned by their places agree where the places agree: attention starts as
    a window of about one cell around the same place. Without it the mean of the whole memory is
    read, in which a mask cannot be found.
    """
    dim = projection.weight.shape[0]
    fastest = torch.arange(dim // 8)
    for channels in (fastest, fastest + dim // 2):  # those turned by x, then by y
        projection.weight[channels] = 0
        projection.bias[channels] = NEARBY_BIAS


def _share(attention: Attention, gain: float) -> None:
    """Start queries and keys with the same orthogonal projection."""
    nn.init.orthogonal_(attention.q_proj.weight, gain=gain)
    attention.k_proj.weight.copy_(attention.q_proj.weight)
