"""How the network that draws masks anew learns from masks that are nearly right."""

import copy
from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sam2_plugins.core.portraits import place, square_around
from sam2_plugins.core.retouch_network import CHANNELS, SIDE, RetouchNetwork
from sam2_plugins.core.retouching import assemble, corners_of, planes_of, shown
from sam2_plugins.core.training.attempts import Attempt
from sam2_plugins.core.training.recipes import set_rate
from sam2_plugins.core.windows import Window

STEPS = 24_000
_BATCH = 32
_RATE, _WEIGHT_DECAY = 2e-3, 0.02
_WARM_UP = 200
_LARGEST_GRADIENT = 1.0
_AVERAGED = 0.999
"""Of the running mean of the weights, which is what is kept."""
_CROSS_ENTROPY = 2.0
"""Its weight, beside the dice loss."""
_SCALES = (1.6, 2.3)
"""Of the square that is looked at, see `retouching.SCALE`."""
_SHIFT = 0.03
"""Of its middle, over its side."""
_INSIDE = 6
"""The channel that tells what is inside the picture."""

Draw = Callable[[np.random.Generator], Attempt | None]
"""Draws an attempt; None for bad luck."""


def learn_to_retouch(draw: Draw, *, steps: int = STEPS, seed: int = 0) -> RetouchNetwork:
    """Train a network on attempts.

    Args:
        draw: Where they come from.
        steps: Batches.
        seed: Of the weights and of what is drawn.

    Returns:
        The network, ready to draw.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = RetouchNetwork().to(memory_format=torch.channels_last)
    mean = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_WEIGHT_DECAY)
    for step in range(steps):
        set_rate(optimizer, step, steps=steps, peak=_RATE, warm_up=_WARM_UP)
        drawn, truth = _batch(draw, rng)
        loss = retouch_loss(network(drawn), truth, drawn[:, _INSIDE] > 0)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_GRADIENT)
        optimizer.step()
        _average(mean, network, share=min(_AVERAGED, (step + 1) / (step + 10)))
    return mean.eval()


def retouch_loss(logits: Tensor, truth: Tensor, is_inside: Tensor) -> Tensor:
    """Cross-entropy and dice over what is inside the picture.

    Args:
        logits: (B, SIDE, SIDE).
        truth: Likewise, how much of each cell is on the object.
        is_inside: Likewise, bool.
    """
    of_cells = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    seen = logits.sigmoid() * is_inside
    shared, both = (seen * truth).sum((1, 2)), seen.sum((1, 2)) + truth.sum((1, 2))
    dice = 1 - (2 * shared + 1) / (both + 1)
    return _CROSS_ENTROPY * (of_cells * is_inside).mean() + dice.mean()


def _batch(draw: Draw, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    examples: list[NDArray[np.float32]] = []
    while len(examples) < _BATCH:
        attempt = draw(rng)
        if attempt is not None:
            examples.append(example_of(attempt, rng))
    both = torch.from_numpy(np.stack(examples))
    drawn = both[:, :CHANNELS].contiguous(memory_format=torch.channels_last)
    return drawn, both[:, CHANNELS]


def example_of(attempt: Attempt, rng: np.random.Generator) -> NDArray[np.float32]:
    """An attempt as the network sees it, and below it the truth: (CHANNELS + 1, SIDE, SIDE)."""
    clicks = [*attempt.on_object, *attempt.on_background]
    part = square_around(
        corners_of(attempt.mask, clicks, box=attempt.box), scale=rng.uniform(*_SCALES)
    )
    x, y = (rng.normal(0, _SHIFT * part.side, 2)).round().astype(int)
    part = part.shifted(int(x), int(y))
    planes = planes_of(
        *(attempt.mask, part),
        on_object=attempt.on_object,
        on_background=attempt.on_background,
        box=attempt.box,
    )
    pictures = [attempt.picture, *([] if attempt.earlier is None else [attempt.earlier])]
    seen = _varied([shown(picture, part) for picture in pictures], rng)
    if len(seen) > 1:
        seen[1] = seen[1].mean(-1, keepdims=True)
    inside = part.shared(Window(0, 0, attempt.mask.shape[1], attempt.mask.shape[0]))
    truth = place(attempt.truth[inside.slices], inside, part=part, side=SIDE)
    both = np.concatenate([assemble(seen, planes), truth[None]])
    for axis in (1, 2):
        both = np.flip(both, axis) if rng.random() < 0.5 else both
    both = both.transpose(0, 2, 1) if rng.random() < 0.5 else both
    return np.ascontiguousarray(both, np.float32)


def _varied(
    pictures: list[NDArray[np.float32]], rng: np.random.Generator
) -> list[NDArray[np.float32]]:
    """Pictures (SIDE, SIDE, 3) in [0, 1] in other colours, all of them in the same."""
    if rng.random() < 0.3:
        pictures = [1 - picture for picture in pictures]
    order = rng.permutation(3)
    pictures = [picture[..., order] for picture in pictures]
    if rng.random() < 0.2:
        pictures = [picture.mean(-1, keepdims=True).repeat(3, -1) for picture in pictures]
    gamma = np.exp(rng.normal(0, 0.3))
    pictures = [picture.clip(0, 1) ** gamma for picture in pictures]
    if rng.random() < 0.15:
        width = rng.uniform(0.4, 1.2)
        pictures = [
            np.asarray(cv2.GaussianBlur(picture, (0, 0), width), np.float32) for picture in pictures
        ]
    if rng.random() < 0.25:
        spread = rng.uniform(0, 0.15) * pictures[0].std()
        pictures = [p + rng.normal(0, spread, p.shape).astype(np.float32) for p in pictures]
    return pictures


@torch.no_grad()
def _average(mean: RetouchNetwork, network: RetouchNetwork, *, share: float) -> None:
    for kept, new in zip(mean.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - share)
        else:
            kept.copy_(new)
