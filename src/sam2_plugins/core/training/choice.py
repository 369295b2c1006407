"""Training of the network that chooses among the masks of a click; see `core.choosing`.

It learns from masks of the images that the model was trained on: the model is no better on those
than on others, as long as it is too small to know them by heart. Clicks on objects give masks to
choose among; a grid of clicks over an image gives those of its background as well, as they are
found when everything is looked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sam2_plugins.core.automatic import MaskGenerator, draw_found
from sam2_plugins.core.choosing import draw, measure
from sam2_plugins.core.closeups import ladder, whole
from sam2_plugins.core.image_answers import candidates_of
from sam2_plugins.core.image_views import ImageViews, Said
from sam2_plugins.core.mask_search import Candidate
from sam2_plugins.core.masks import resize_logits
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.training.attempts import click_on
from sam2_plugins.core.training.choice_learning import STEPS, Example, chosen_iou, learn
from sam2_plugins.core.training.labelled import LabelledImage, TrainingData, find_instances
from sam2_plugins.core.training.recipes import Part, gather, write_halved
from sam2_plugins.core.training.sources import load_training_data
from sam2_plugins.core.weights import load_model


class Share(NamedTuple):
    """What of a set of images is learnt from.

    Attributes:
        step: Every how manyth image, or slice of a volume, is clicked on.
        num_objects: Clicked objects of one image.
        weight: Of a click, against those of other sets.
        grid_step: On every how manyth everything is looked for.
    """

    step: int
    num_objects: int
    weight: float
    grid_step: int


SHARES = {
    "dsb2018": Share(1, 6, 1.0, 2),
    "clothing": Share(2, 2, 1.0, 10),
    "fruits_nuts": Share(1, 6, 2.0, 1),
    "plant_nuclei_3d": Share(4, 4, 0.5, 9),
    "ct_organs_3d": Share(4, 4, 0.5, 9),
}
_DEPTH = 0.6
"""Of clicks that are not in the middle of an object, see `click_on`."""
GRID = {
    "points_per_side": 16,
    "min_predicted_iou": 0.3,
    "min_stability": 0.6,
    "max_box_iou": 0.95,
    "max_known_share": 1.0,
    "is_judged": False,
}
"""Everything, as it is found before it is judged."""
_GRID_MASKS = 60
_GRID_WEIGHT = 0.3
"""What all masks of grids count together, against all clicks."""


def train_choice(
    data_root: str | Path,
    target: str | Path,
    *,
    num_processes: int = 2,
    steps: int = STEPS,
    seed: int = 0,
) -> float:
    """Click on the training images with `nano`, learn to choose, and write the weights.

    Args:
        data_root: See `load_training_data`.
        target: The file to write.
        num_processes: Processes that click.
        steps: See `learn`.
        seed: Of the clicks and of the weights.

    Returns:
        The mean IoU of what is chosen, over the clicks learnt from.
    """
    found = gather(_gather_part, data_root, num_processes=num_processes, seed=seed)
    examples = [example for part in found for example in part]
    clicks = [one for one in examples if one.measures is not None]
    grids = [one for one in examples if one.measures is None]
    weight = _GRID_WEIGHT * sum(one.weight for one in clicks) / max(len(grids), 1)
    network = learn(
        [*clicks, *(replace(one, weight=weight) for one in grids)], steps=steps, seed=seed
    )
    write_halved(network, target)
    return chosen_iou(network, clicks)


def _gather_part(what: Part) -> list[Example]:
    """The examples of one of several processes."""
    data_root, part, num_parts, seed = what
    torch.set_num_threads(1)
    model = load_model(device="cpu")
    rng = np.random.default_rng((seed, part))
    examples = []
    for number, (image, share, has_grid) in enumerate(_pictures(load_training_data(data_root))):
        if number % num_parts != part:
            continue
        if has_grid:
            examples += search_image(model, image, rng)
        if share is not None:
            examples += click_on_image(
                model, image, rng, num_objects=share.num_objects, weight=share.weight
            )
    return examples


def _pictures(data: TrainingData) -> Iterator[tuple[LabelledImage, Share | None, bool]]:
    """Images and slices, how they are clicked on, and whether everything is looked for on them."""
    for name, share in SHARES.items():
        of_set = [*data.images.get(name, ()), *slices_of(data, name)]
        for number, image in enumerate(of_set):
            is_clicked, has_grid = number % share.step == 0, number % share.grid_step == 0
            if is_clicked or has_grid:
                yield image, share if is_clicked else None, has_grid


def slices_of(data: TrainingData, name: str) -> Iterator[LabelledImage]:
    """The slices of the volumes of a set that show an object."""
    for volume in data.volumes.get(name, ()):
        for pixels, labels in zip(volume.volume, volume.labels, strict=True):
            instances = find_instances(labels)
            if instances:
                picture = np.repeat(pixels[..., None], 3, axis=-1)
                yield LabelledImage(volume.name, picture, labels, instances)


def click_on_image(
    model: SAM2,
    image: LabelledImage,
    rng: np.random.Generator,
    *,
    num_objects: int,
    weight: float = 1.0,
) -> list[Example]:
    """Click on objects of an image, in the middle or beside it."""
    views = ImageViews(model, image.image, keeps_image=True)
    examples = []
    for index in rng.permutation(len(image.instances))[:num_objects]:
        truth = image.labels == image.instances[index].object_id
        click = click_on(truth, rng, depth=_DEPTH)
        examples.append(_seen_after(views, truth, click, weight))
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
        draw(candidates, [click], plane=views.size, read=views.read),
        measure(candidates, [click], plane=views.size),
        np.array(iou, np.float32),
        weight,
    )


def search_image(model: SAM2, image: LabelledImage, rng: np.random.Generator) -> list[Example]:
    """Look for everything on an image; one example of some of the masks, if there are any."""
    search = MaskGenerator(model, **GRID).search(image.image)
    for _ in search:
        pass
    found = list(search.candidates())
    some = [found[row] for row in rng.permutation(len(found))[:_GRID_MASKS]]
    if not some:
        return []
    return [Example(draw_found(some, image.image), None, best_overlaps(some, image.labels))]


def best_overlaps(masks: Sequence[Candidate], labels: NDArray[np.uint16]) -> NDArray[np.float32]:
    """(M,) IoU of masks with the labelled objects that they are most like."""
    areas = np.bincount(labels.ravel())
    best = []
    for each in masks:
        inside = labels[each.mask.window.slices][each.mask.crop]
        shared = np.bincount(inside, minlength=len(areas))
        iou = shared / (areas + len(inside) - shared)
        best.append(iou[1:].max(initial=0))
    return np.array(best, np.float32)
