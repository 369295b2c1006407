"""What the recipes of the small networks beside the model have in common."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from sam2_plugins.core.child_processes import child_context

Part = tuple[str, int, int, int]
"""Of the training data: where it is, which part of how many, and the seed."""
T = TypeVar("T")


def gather(
    find: Callable[[Part], T], data_root: str | Path, *, num_processes: int, seed: int
) -> list[T]:
    """What processes find in the training data, each in its part of it."""
    parts = [(str(data_root), part, num_processes, seed) for part in range(num_processes)]
    with ProcessPoolExecutor(num_processes, mp_context=child_context("torch")) as pool:
        return list(pool.map(find, parts))


def set_rate(
    optimizer: torch.optim.Optimizer, step: int, *, steps: int, peak: float, warm_up: int
) -> None:
    """Set the learning rate of a step: soon at its peak, then down along a cosine to 0."""
    for group in optimizer.param_groups:
        warm = min((step + 1) / warm_up, 1)
        group["lr"] = peak * warm * (1 + np.cos(np.pi * step / steps)) / 2


def write_halved(network: nn.Module, target: str | Path) -> None:
    """Write weights as float16 safetensors."""
    halved = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
    }
    save_file(halved, Path(target))
