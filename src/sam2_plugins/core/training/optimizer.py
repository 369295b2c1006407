"""The optimiser, and which learning rate each part of the network has."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from sam2_plugins.core.training.sharding import is_shared_out
from sam2_plugins.core.training.stages import TrainingConfig

TRUNK = "image_encoder.trunk."
ENCODER = "image_encoder."
_BLOCK = re.compile(r"image_encoder\.trunk\.blocks\.(\d+)\.")
_LEAST_SIDE = 8
"""Of a matrix that Muon changes; in a narrower one there is little to make orthogonal."""


def make_optimizer(
    model: nn.Module,
    stages: Sequence[TrainingConfig],
    *,
    betas: tuple[float, float] = (0.9, 0.98),
    head: nn.Module | None = None,
) -> torch.optim.Optimizer:
    """Build the optimiser of the first stage; parameters of one dimension do not decay.

    AdamW's second decay is shorter than usual: the large gradients of a start from scratch must be
    forgotten within a short run.

    Args:
        model: Whose parameters learn.
        stages: Of the run; where none sets the encoder apart, all parameters share one rate.
        betas: Decay of the running means of the gradient and of its square.
        head: Learns beside the model, always by AdamW.

    Raises:
        ValueError: Muon is wanted of weights that are shared out.
        RuntimeError: This version of torch has no Muon.
    """
    sets_apart = any(stage.encoder_rate != 1 or stage.layer_decay != 1 for stage in stages)
    num_blocks = 1 + max((int(m[1]) for n, _ in model.named_parameters() if (m := _BLOCK.match(n))))
    matrices = _matrices(model) if stages[0].optimizer == "muon" else set()
    groups: dict[tuple[int | None, bool, bool, bool], list[nn.Parameter]] = {}
    if not sets_apart:
        groups = {(None, True, False, False): [], (None, False, False, False): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            depth = layers_above(name, num_blocks) if sets_apart else None
            # What is shared out and what is not cannot be changed in one operation.
            parts = parameter.ndim > 1, is_shared_out(parameter), name in matrices
            groups.setdefault((depth, *parts), []).append(parameter)
    for parameter in head.parameters() if head is not None else ():
        groups.setdefault((None, parameter.ndim > 1, False, False), []).append(parameter)
    decay = stages[0].weight_decay
    if matrices and any(is_shared for _, _, is_shared, _ in groups):
        raise ValueError("muon needs whole weights: train with adamw, or without sharding")
    told: tuple[list[dict[str, Any]], list[dict[str, Any]]] = [], []
    for (depth, decays, _, is_matrix), parameters in groups.items():
        group = {"params": parameters, "layers_above": depth}
        told[is_matrix].append({**group, "weight_decay": decay if decays else 0.0})
    rest = torch.optim.AdamW(told[False], lr=0.0, betas=betas)
    return MuonBeside(told[True], rest) if matrices else rest


def _matrices(model: nn.Module) -> set[str]:
    """The names of the weights that Muon is made for: of the linear layers."""
    linear = {n: m.weight for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    return {
        f"{name}.weight" if name else "weight"
        for name, weight in linear.items()
        if min(weight.shape) >= _LEAST_SIDE
    }


class MuonBeside(torch.optim.Optimizer):
    """Muon for some parameters, and another optimiser for the others, as one.

    Muon makes the change of a matrix orthogonal, so that all its directions learn alike (Jordan
    et al., 2024). Its rate is scaled to changes of the size that AdamW's have (Liu et al., "Muon is
    scalable for LLM training", 2025), so that both go by the same one.

    Args:
        groups: Of the matrices, as optimisers are told them.
        rest: What the others learn by.

    Raises:
        RuntimeError: This version of torch has no Muon.
    """

    def __init__(self, groups: list[dict[str, Any]], rest: torch.optim.Optimizer) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise RuntimeError(f"muon needs torch 2.9 or later, not {torch.__version__}")
        muon = torch.optim.Muon(groups, lr=0.0, adjust_lr_fn="match_rms_adamw")
        self._parts = rest, muon
        self._num_rest = len(rest.param_groups)
        super().__init__([*rest.param_groups, *muon.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Change the parameters by their gradients."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        rest, muon = self._parts
        rest.param_groups = self.param_groups[: self._num_rest]
        muon.param_groups = self.param_groups[self._num_rest :]
        for part in self._parts:
            # Both keep what they know in one place, from which checkpoints are made.
            part.state = self.state
            part.step()
        return loss


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
