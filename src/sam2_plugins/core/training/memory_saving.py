"""Activations computed again in the backward pass, and blocks skipped at random.

Both change how the network is run and not what it is, so they are put around its parts for the
time of a step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sam2_plugins.core.model.sam2 import SAM2

if TYPE_CHECKING:
    from sam2_plugins.core.model.hiera import MultiScaleBlock


@contextmanager
def recomputed(model: SAM2, *, enabled: bool) -> Iterator[None]:
    """Keep only what enters the trunk's blocks and the layers of memory attention."""
    if not enabled:
        yield
        return
    blocks: list[tuple[nn.Module, tuple[str, ...]]] = [
        *((block, ("forward",)) for block in model.image_encoder.trunk.blocks),
        *((layer, ("look_around", "recall")) for layer in model.memory_attention.layers),
    ]
    for module, names in blocks:
        for name in names:
            # An attribute of the instance hides the method of the class, until it is deleted.
            setattr(module, name, partial(checkpoint, getattr(module, name), use_reentrant=False))
    try:
        yield
    finally:
        for module, names in blocks:
            for name in names:
                delattr(module, name)


@contextmanager
def skipped_at_random(model: SAM2, *, chance: float, generator: torch.Generator) -> Iterator[None]:
    """Skip the two branches of the trunk's blocks for some images (Huang et al. 2016).

    The chance rises evenly from none at the first block to `chance` at the last. What is kept is
    scaled by 1 / (1 - chance), so that its mean stays.

    Args:
        model: The network.
        chance: Of the last block; 0 leaves everything as it is.
        generator: Source of randomness.
    """
    blocks = cast("list[MultiScaleBlock]", list(model.image_encoder.trunk.blocks))
    handles = []
    if chance:
        for index, block in enumerate(blocks):
            own = chance * index / max(len(blocks) - 1, 1)
            drop = _Drop(own, generator)
            handles += [
                block.register_forward_pre_hook(drop.draw),
                block.attn.register_forward_hook(drop.scale_attention),
                block.mlp.register_forward_hook(drop.scale_mlp),
            ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Drop:
    """Zeroes the branches of a block for some images of the batch."""

    def __init__(self, chance: float, generator: torch.Generator) -> None:
        self._chance, self._generator = chance, generator
        self._scales = torch.empty(0)

    def draw(self, block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Draw for both branches of every image: what is computed again must be the same again."""
        del block
        draws = torch.rand(
            (2, len(inputs[0])), generator=self._generator, device=self._generator.device
        )
        self._scales = ((draws >= self._chance) / (1 - self._chance)).to(inputs[0].device)

    def scale_attention(self, branch: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        """Scale or zero the output of the first branch, (images * windows, ...)."""
        del branch, inputs
        return self._apply(output, self._scales[0])

    def scale_mlp(self, branch: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        """Scale or zero the output of the second branch, (images, ...)."""
        del branch, inputs
        return self._apply(output, self._scales[1])

    @staticmethod
    def _apply(output: Tensor, scale: Tensor) -> Tensor:
        # Windows of one image follow each other.
        scale = scale.repeat_interleave(len(output) // len(scale)).to(output.dtype)
        return output * scale.view(-1, *(1 for _ in output.shape[1:]))
