"""How the network that chooses among masks learns from masks whose IoU is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_plugins.core.choice_network import MEASURES, ChoiceNetwork, prepare
from sam2_plugins.core.training.recipes import set_rate

STEPS = 4800
_EXAMPLES, _MASKS = 12, 12
"""Of a batch, and of each example in it."""
_RATE, _WEIGHT_DECAY = 2e-3, 0.05
_WARM_UP = 100
_BLIND = 0.3
"""Share of the steps without measures: what is seen must tell by itself as well."""
_SHARPNESS = 4.0
"""Of the choice in training, which is a soft one."""
_ACCURACY = 8.0
"""Weight of telling the IoU itself, beside choosing well."""
_INVERTED = 0.3
"""Share of the pictures whose dark and light are swapped."""


@dataclass(frozen=True)
class Example:
    """Masks to choose among, of one click or of one image.

    Attributes:
        portraits: (M, CHANNELS, SIDE, SIDE) uint8, see `core.portraits`.
        measures: (M, len(MEASURES)) float32; None where nothing was measured.
        iou: (M,) float32, with the truth.
        weight: How often it is drawn, against others.
    """

    portraits: NDArray[np.uint8]
    measures: NDArray[np.float32] | None
    iou: NDArray[np.float32]
    weight: float = 1.0


def learn(examples: Sequence[Example], *, steps: int = STEPS, seed: int = 0) -> ChoiceNetwork:
    """Fit a network to examples.

    Args:
        examples: At least one has measures.
        steps: Batches.
        seed: Of the weights and of what is drawn.

    Returns:
        The network, ready to judge.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = ChoiceNetwork()
    measured = np.concatenate([one.measures for one in examples if one.measures is not None])
    network.mean[:] = torch.from_numpy(measured.mean(0))
    network.deviation[:] = torch.from_numpy(measured.std(0) + 1e-6)
    optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_WEIGHT_DECAY)
    share = np.array([one.weight for one in examples])
    share = share / share.sum()
    for step in range(steps):
        set_rate(optimizer, step, steps=steps, peak=_RATE, warm_up=_WARM_UP)
        drawn = [examples[row] for row in rng.choice(len(examples), _EXAMPLES, p=share)]
        loss = _loss(network, [_some(one, rng) for one in drawn], rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def chosen_iou(network: ChoiceNetwork, examples: Sequence[Example]) -> float:
    """The mean IoU of the masks that a network chooses."""
    found = []
    with torch.inference_mode():
        for one in examples:
            measures = None if one.measures is None else torch.from_numpy(one.measures)
            found.append(one.iou[int(network(prepare(one.portraits), measures).argmax())])
    return float(np.mean(found))


def _some(one: Example, rng: np.random.Generator) -> Example:
    """As many masks of an example as fit a batch; those of a small one come again."""
    count = len(one.iou)
    rows = rng.permutation(count)[:_MASKS]
    if count < _MASKS:
        rows = np.concatenate([rows, rng.integers(0, count, _MASKS - count)])
    measures = None if one.measures is None else one.measures[rows]
    return Example(one.portraits[rows], measures, one.iou[rows])


def _loss(network: ChoiceNetwork, batch: Sequence[Example], rng: np.random.Generator) -> Tensor:
    """Less the better the mask that is softly chosen, and the nearer what is thought to IoUs."""
    portraits = torch.cat([_varied(prepare(one.portraits), rng) for one in batch])
    unknown = network.mean[None].expand(_MASKS, len(MEASURES))
    measures = torch.cat(
        [unknown if one.measures is None else torch.from_numpy(one.measures) for one in batch]
    )
    is_blind = rng.random() < _BLIND
    thought = network(portraits, None if is_blind else measures).view(len(batch), _MASKS)
    iou = torch.from_numpy(np.stack([one.iou for one in batch]))
    chosen = ((_SHARPNESS * thought).softmax(-1) * iou).sum(-1)
    error = ((thought.sigmoid() - iou) ** 2).mean(-1)
    return (_ACCURACY * error - chosen).mean()


def _varied(portraits: Tensor, rng: np.random.Generator) -> Tensor:
    """Portraits of one example turned, mirrored, and in other colours."""
    picture, drawn = portraits[:, :3], portraits[:, 3:]
    if rng.random() < _INVERTED:
        picture = -picture
    picture = picture[:, rng.permutation(3)]
    picture = picture * (1 + 0.2 * rng.standard_normal()) + 0.1 * rng.standard_normal()
    varied = torch.cat([picture, drawn], 1)
    flipped = [axis for axis in (2, 3) if rng.random() < 0.5]
    varied = varied.flip(flipped)
    return varied.transpose(2, 3) if rng.random() < 0.5 else varied
