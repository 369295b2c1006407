"""The optimiser, and which learning rate each part of the network has."""

import re
from collections.abc import Sequence

import torch
from torch import nn

from sam2_plugins.core.training.sharding import is_shared_out
from sam2_plugins.core.training.stages import TrainingConfig

TRUNK = "image_encoder.trunk."
ENCODER = "image_encoder."
_BLOCK = re.compile(r"image_encoder\.trunk\.blocks\.(\d+)\.")


def make_optimizer(
    model: nn.Module,
    stages: Sequence[TrainingConfig],
    *,
    betas: tuple[float, float] = (0.9, 0.98),
    head: nn.Module | None = None,
) -> torch.optim.AdamW:
    """Build AdamW; parameters of one dimension do not decay.

    The second decay is shorter than usual: the large gradients of a start from scratch must be
    forgotten within a short run.

    Args:
        model: Whose parameters learn.
        stages: Of the run; where none sets the encoder apart, all parameters share one rate.
        betas: Decay of the running means of the gradient and of its square.
        head: Learns beside the model.
    """
    sets_apart = any(stage.encoder_rate != 1 or stage.layer_decay != 1 for stage in stages)
    num_blocks = 1 + max((int(m[1]) for n, _ in model.named_parameters() if (m := _BLOCK.match(n))))
    groups: dict[tuple[int | None, bool, bool], list[nn.Parameter]] = {}
    if not sets_apart:
        groups = {(None, True, False): [], (None, False, False): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            depth = layers_above(name, num_blocks) if sets_apart else None
            # What is shared out and what is not cannot be changed in one operation.
            key = (depth, parameter.ndim > 1, is_shared_out(parameter))
            groups.setdefault(key, []).append(parameter)
    for parameter in head.parameters() if head is not None else ():
        groups.setdefault((None, parameter.ndim > 1, False), []).append(parameter)
    decay = stages[0].weight_decay
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay if decays else 0.0, "layers_above": depth}
            for (depth, decays, _), parameters in groups.items()
        ],
        lr=0.0,
        betas=betas,
    )


def layers_above(name: str, num_blocks: int) -> int | None:
    """Count the layers of the trunk above a parameter; None outside the image encoder.

    The neck has none above it, the last block one, the patch and position embeddings all.
    """
    if not name.startswith(ENCODER):
        return None
    if not name.startswith(TRUNK):
        return 0
    block = _BLOCK.match(name)
    return num_blocks - int(block[1]) if block else num_blocks + 1


def set_learning_rate(
    optimizer: torch.optim.Optimizer, stage: TrainingConfig, *, rate: float
) -> None:
    """Give every group its rate: in the encoder rate * encoder_rate * layer_decay^layers above."""
    for group in optimizer.param_groups:
        depth = group.get("layers_above")
        scale = 1.0 if depth is None else stage.encoder_rate * stage.layer_decay**depth
        group["lr"] = rate * scale
