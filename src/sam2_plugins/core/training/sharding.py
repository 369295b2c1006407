"""Large networks over several processes: each holds a share of the trunk's blocks (FSDP).

Nearly all weights of a large network are in the blocks of the image encoder. Their weights,
gradients, moments and running average are kept in shares, and a block is whole only while it is
computed. The rest is small, and every process has all of it.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, distributed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.distributed.tensor import DTensor

    from sam2_plugins.core.model.sam2 import SAM2

__all__ = ["is_shared_out", "local", "norm_of", "share_out", "shares_like", "whole"]


def share_out(model: SAM2) -> None:
    """Leave this process a share of every block of the trunk; the others have the other shares.

    Raises:
        ValueError: There is one process alone.
        RuntimeError: This version of torch cannot do it.
    """
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        raise ValueError("sharding needs two processes or more; set --processes, or use torchrun")
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise RuntimeError(f"sharding needs torch 2.6 or later, not {torch.__version__}") from error
    mesh = init_device_mesh(model.device.type, (distributed.get_world_size(),))
    for block in model.image_encoder.trunk.blocks:
        # Each is the root of itself, which would stay whole between forward and backward.
        fully_shard(block, mesh=mesh, reshard_after_forward=True)


def is_shared_out(tensor: Tensor) -> bool:
    """Whether this process has only a share of a tensor."""
    return _is_share(tensor)


def _is_share(value: Any) -> TypeGuard[DTensor]:
    # Importing it takes a second, and where nobody has there is nothing of its kind.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(value, module.DTensor)


def local(tensor: Tensor) -> Tensor:
    """This process's share of a tensor, or all of what is not shared out."""
    return tensor.to_local() if _is_share(tensor) else tensor


def whole(values: Any) -> Any:
    """The same with every tensor whole; all processes must call it, as they exchange shares.

    Args:
        values: A tensor, or dictionaries and lists of tensors and plain values.
    """
    if _is_share(values):
        return values.full_tensor()
    if isinstance(values, dict):
        return {key: whole(value) for key, value in values.items()}
    if isinstance(values, list):
        return [whole(value) for value in values]
    return values


def shares_like(values: Mapping[Any, Any], examples: Mapping[Any, Tensor]) -> dict[Any, Any]:
    """Shares of whole tensors, as the tensors of the same names are shared out.

    Args:
        values: Tensors by name, or dictionaries of tensors, such as an optimiser keeps.
        examples: Tensors by name.
    """
    return {name: _share(value, examples[name]) for name, value in values.items()}


def _share(value: Any, example: Tensor) -> Any:
    if isinstance(value, dict):
        return {key: _share(part, example) for key, part in value.items()}
    if not _is_share(example) or value.shape != example.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(example.device), example.device_mesh, example.placements)


def norm_of(gradients: Sequence[Tensor]) -> float:
    """The norm of tensors that are shared out, as if they were whole."""
    device = gradients[0].device if gradients else None
    total = torch.zeros((), device=device)
    for gradient in gradients:
        total += local(gradient).float().square().sum()
    distributed.all_reduce(total)
    return math.sqrt(float(total)) if total.isfinite() else math.nan
