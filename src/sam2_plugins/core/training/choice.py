"""Training of the small network that chooses among the masks of a click; see `core.choosing`.

It learns from clicks on the images that the model was trained on: the model is no better on those
than on others, as long as it is too small to know them by heart.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor, nn

from sam2_plugins.core.choosing import MEASURES, MOST_DEVIATIONS, measure
from sam2_plugins.core.closeups import ladder, whole
from sam2_plugins.core.image_answers import candidates_of
from sam2_plugins.core.image_views import ImageViews, Said
from sam2_plugins.core.mask_regions import distances_inside
from sam2_plugins.core.masks import resize_logits
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.training.labelled import LabelledImage
from sam2_plugins.core.training.sources import load_training_data
from sam2_plugins.core.weights import load_model

OBJECTS_PER_IMAGE = {"dsb2018": 3, "clothing": 2}
IMAGE_STEP = {"dsb2018": 1, "clothing": 2}
"""Every how manyth image is clicked on."""
_OFF_MIDDLE = 0.6
"""Half of the clicks are in the middle of an object, the others where it is at least so deep, as a
part of its depth there."""
_HIDDEN = 32
_EPOCHS = 40
_BATCH = 128
_RATE, _WEIGHT_DECAY = 3e-3, 1e-2
_DROPOUT = 0.2
_SHARPNESS = 4.0
"""Of the choice in training, which is a soft one."""
_ACCURACY = 8.0
"""Weight of telling the IoU itself, beside choosing well."""


@dataclass(frozen=True)
class Example:
    """What was seen after one click.

    Attributes:
        measures: (M, len(MEASURES)) float32.
        iou: (M,) float32, with the truth.
        is_best: (M,) bool, see `Candidate`.
        weight: Of the example, so that all sets of images count alike.
    """

    measures: NDArray[np.float32]
    iou: NDArray[np.float32]
    is_best: NDArray[np.bool_]
    weight: float = 1.0

    @property
    def one_per_window(self) -> "Example":
        """Only the best mask of every window, as the tracker chooses."""
        kept = self.is_best
        return Example(self.measures[kept], self.iou[kept], kept[kept], self.weight)


def train_choice(
    data_root: str | Path, target: str | Path, *, num_processes: int = 2, seed: int = 0
) -> float:
    """Click on the training images with `nano`, learn to choose, and write the weights.

    Args:
        data_root: See `load_training_data`.
        target: The file to write.
        num_processes: Processes that click.
        seed: Of the clicks and of the weights.

    Returns:
        The mean IoU of what is chosen, over the examples learnt from.
    """
    with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
        parts = [(str(data_root), part, num_processes, seed) for part in range(num_processes)]
        examples = [example for part in pool.map(_click_on_part, parts) for example in part]
    weights, iou = learn([*examples, *(example.one_per_window for example in examples)], seed=seed)
    save_file(weights, Path(target))
    return iou


def _click_on_part(what: tuple[str, int, int, int]) -> list[Example]:
    """The clicks of one of several processes."""
    data_root, part, num_parts, seed = what
    torch.set_num_threads(1)
    model = load_model(device="cpu")
    examples = []
    images = load_training_data(data_root).images
    for name, step in IMAGE_STEP.items():
        clicked = images[name][::step]
        rng = np.random.default_rng((seed, part, len(clicked)))
        weight = 1 / (len(clicked) * OBJECTS_PER_IMAGE[name])
        for image in clicked[part::num_parts]:
            examples += click_on_image(
                model, image, rng, num_objects=OBJECTS_PER_IMAGE[name], weight=weight
            )
    return examples


def click_on_image(
    model: SAM2,
    image: LabelledImage,
    rng: np.random.Generator,
    *,
    num_objects: int,
    weight: float = 1.0,
) -> list[Example]:
    """Click on objects of an image, once in the middle and once beside it."""
    views = ImageViews(model, image.image, keeps_image=True)
    examples = []
    for index in rng.permutation(len(image.instances))[:num_objects]:
        truth = image.labels == image.instances[index].object_id
        depth = distances_inside(truth)
        rows, columns = np.nonzero(depth >= _OFF_MIDDLE * depth.max())
        beside = rng.integers(len(rows))
        middle = np.unravel_index(int(depth.argmax()), depth.shape)
        for row, column in (middle, (rows[beside], columns[beside])):
            examples.append(_seen_after(views, truth, (column + 0.5, row + 0.5), weight))
    return examples


def _seen_after(
    views: ImageViews, truth: NDArray[np.bool_], click: tuple[float, float], weight: float
) -> Example:
    said = Said([click], [1], None, whole(views.size), True)
    looks = [views.look(window, said) for window in ladder((*click, *click), views.size)]
    shown = [resize_logits(o.decoding.low_res_logits[0], o.window.size) for o in looks]
    candidates = candidates_of(views, looks, shown)
    area, iou = int(truth.sum()), []
    for candidate in candidates:
        shared = int((candidate.mask & truth[candidate.window.slices]).sum())
        iou.append(shared / (area + int(candidate.mask.sum()) - shared))
    return Example(
        measure(candidates, [click], plane=views.size),
        np.array(iou, np.float32),
        np.array([candidate.is_best for candidate in candidates]),
        weight,
    )


def learn(
    examples: Sequence[Example], *, epochs: int = _EPOCHS, seed: int = 0
) -> tuple[dict[str, NDArray[np.float32]], float]:
    """Fit the weights of `core.choosing.score` to examples.

    Returns:
        The weights by name, and the mean IoU of what they choose among the examples.
    """
    torch.manual_seed(seed)
    every = np.concatenate([example.measures for example in examples])
    mean, deviation = every.mean(0), every.std(0) + 1e-6
    inputs, iou, is_there, weights = _together(examples, mean, deviation)
    into, out = nn.Linear(len(MEASURES), _HIDDEN), nn.Linear(_HIDDEN, 1, bias=False)
    net = nn.Sequential(into, nn.Tanh(), nn.Dropout(_DROPOUT), out)
    optimizer = torch.optim.AdamW(net.parameters(), _RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1e-2, total_iters=epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(examples)).split(_BATCH):
            there = is_there[rows]
            loss = _loss(net(inputs[rows])[..., 0], iou[rows], there)
            optimizer.zero_grad()
            (loss * weights[rows]).mean().backward()
            optimizer.step()
        schedule.step()
    net.eval()
    with torch.no_grad():
        scores = net(inputs)[..., 0].masked_fill(~is_there, -torch.inf)
        chosen = iou.gather(1, scores.argmax(1, keepdim=True))[:, 0]
    learnt = {
        "mean": mean,
        "deviation": deviation,
        "into": into.weight.detach().T.contiguous().numpy(),
        "bias": into.bias.detach().numpy(),
        "out": out.weight.detach()[0].numpy(),
    }
    return learnt, float((chosen * weights).sum() / weights.sum())


def _loss(scores: Tensor, iou: Tensor, is_there: Tensor) -> Tensor:
    """(B,): less the better the mask that is softly chosen, and the nearer scores are to IoUs."""
    sharp = (_SHARPNESS * scores).masked_fill(~is_there, -torch.inf)
    chosen = (sharp.softmax(-1) * iou).sum(-1)
    error = ((scores.sigmoid() - iou) ** 2 * is_there).sum(-1) / is_there.sum(-1)
    return _ACCURACY * error - chosen


def _together(
    examples: Sequence[Example], mean: NDArray[np.float32], deviation: NDArray[np.float32]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Examples as tensors of equal length: scaled measures, IoUs, which are there, weights."""
    most = max(len(example.iou) for example in examples)
    inputs = torch.zeros(len(examples), most, len(MEASURES))
    iou = torch.zeros(len(examples), most)
    is_there = torch.zeros(len(examples), most, dtype=torch.bool)
    for row, example in enumerate(examples):
        count = len(example.iou)
        scaled = ((example.measures - mean) / deviation).clip(-MOST_DEVIATIONS, MOST_DEVIATIONS)
        inputs[row, :count] = torch.from_numpy(scaled)
        iou[row, :count] = torch.from_numpy(example.iou)
        is_there[row, :count] = True
    weights = torch.tensor([example.weight for example in examples])
    return inputs, iou, is_there, weights / weights.mean()
