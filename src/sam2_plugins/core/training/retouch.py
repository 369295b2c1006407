"""Training of the network that draws masks anew; see `core.retouching`.

It learns from masks that the model found on the images it was trained on, after clicks and boxes
and while tracking, and from right masks that are spoiled; see `attempts`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sam2_plugins.core.closeups import ladder, whole
from sam2_plugins.core.image_answers import answer_from_near, candidates_of, mask_of
from sam2_plugins.core.image_views import ImageViews, Said
from sam2_plugins.core.masks import resize_logits
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.tracker import VideoTracker
from sam2_plugins.core.training.attempt_variations import (
    clicked_often,
    seen_from_further,
    sliced_anew,
)
from sam2_plugins.core.training.attempts import (
    Attempt,
    carried_on,
    click_on,
    draw_box,
    move_one,
    spoil_one,
    walk_on,
)
from sam2_plugins.core.training.choice import slices_of
from sam2_plugins.core.training.clips import make_clip
from sam2_plugins.core.training.labelled import LabelledImage, TrainingData
from sam2_plugins.core.training.recipes import Part, gather, write_halved
from sam2_plugins.core.training.retouch_learning import STEPS, learn_to_retouch
from sam2_plugins.core.training.sources import load_training_data
from sam2_plugins.core.weights import load_model

_SETS = {
    "dsb2018": (0.5, 10),
    "clothing": (0.22, 2),
    "fruits_nuts": (0.06, 6),
    "plant_nuclei_3d": (0.13, 4),
    "ct_organs_3d": (0.09, 3),
}
"""How often something of a set is drawn, and how many objects of an image are clicked on."""
_EVERY = {"clothing": 2, "plant_nuclei_3d": 5, "ct_organs_3d": 3}
"""Every how manyth image, or slice, is clicked on; of other sets every one."""
_OTHERS = 2
"""Masks of a click that were not chosen, but are learnt from."""
_TRACKED = 0.5
"""Share of what is drawn that was tracked."""
_CLICKED_OFTEN = 0.35
"""Of the others, those that were clicked on again."""
_FROM_FURTHER = 0.25
"""Share of all that is seen at fewer pixels."""
_WALKS, _FRAMES, _OBJECTS = 24, 32, 8
"""Tracked parts of volumes, and of each the slices and objects."""
_CLIPS, _CLIP_SIZE, _CLIP_FRAMES = 150, 256, 8
_TRACKED_CLIPS = 12


@dataclass
class Found:
    """Attempts of the model.

    Attributes:
        prompted: After clicks and boxes, by set.
        walked: Tracked through volumes.
        followed: Tracked through clips.
        carried: Right masks of clips, carried to the next frame.
    """

    prompted: dict[str, list[Attempt]] = field(default_factory=dict)
    walked: list[Attempt] = field(default_factory=list)
    followed: list[Attempt] = field(default_factory=list)
    carried: list[Attempt] = field(default_factory=list)

    def add(self, other: "Found") -> None:
        """Take those of another as well."""
        for name, attempts in other.prompted.items():
            self.prompted.setdefault(name, []).extend(attempts)
        self.walked += other.walked
        self.followed += other.followed
        self.carried += other.carried


def train_retouch(
    data_root: str | Path,
    target: str | Path,
    *,
    num_processes: int = 2,
    steps: int = STEPS,
    seed: int = 0,
) -> None:
    """Let `nano` segment the training images, learn to mend that, and write the weights.

    Args:
        data_root: See `load_training_data`.
        target: The file to write.
        num_processes: Processes that segment.
        steps: See `learn_to_retouch`.
        seed: Of the prompts and of the weights.
    """
    found = Found()
    for part in gather(_gather_part, data_root, num_processes=num_processes, seed=seed):
        found.add(part)
    attempts = Attempts(load_training_data(data_root), found, seed=seed)
    write_halved(learn_to_retouch(attempts.draw, steps=steps, seed=seed), target)


class Attempts:
    """What is learnt from.

    Args:
        data: Images and volumes.
        found: What the model made of them.
        seed: Of how volumes are sliced.
    """

    def __init__(self, data: TrainingData, found: Found, *, seed: int = 0) -> None:
        images = {name: [*data.images.get(name, ()), *slices_of(data, name)] for name in _SETS}
        self._images = {name: some for name, some in images.items() if some}
        volumes = [volume for some in data.volumes.values() for volume in some]
        rng = np.random.default_rng(seed)
        self._volumes = [one for each in volumes for one in (each, *sliced_anew(each, rng))]
        self._found = found
        shares = np.array([_SETS[name][0] for name in self._images])
        self._shares = shares / shares.sum()

    def draw(self, rng: np.random.Generator) -> Attempt | None:
        """One attempt; None for bad luck."""
        attempt = self._tracked(rng) if rng.random() < _TRACKED else self._prompted(rng)
        if attempt is None or not (attempt.mask.any() or attempt.on_object):
            return None
        return seen_from_further(attempt, rng) if rng.random() < _FROM_FURTHER else attempt

    def _prompted(self, rng: np.random.Generator) -> Attempt:
        name = str(rng.choice(list(self._images), p=self._shares))
        found = self._found.prompted.get(name)
        if found and rng.random() < 0.65:
            attempt = found[rng.integers(len(found))]
        else:
            attempt = spoil_one(self._image(name, rng), rng)
        if rng.random() < _CLICKED_OFTEN:
            return clicked_often(attempt.cropped(), rng)
        return attempt.corrected() if rng.random() < 0.3 else attempt

    def _tracked(self, rng: np.random.Generator) -> Attempt | None:
        kinds = [self._found.walked, self._found.followed, self._found.carried]
        kind = kinds[rng.choice(3, p=[0.5, 0.15, 0.35])]
        which = rng.random()
        if which < 0.6 and kind:
            return kind[rng.integers(len(kind))]
        if which < 0.85 and self._volumes:
            return walk_on(self._volumes[rng.integers(len(self._volumes))], rng)
        name = str(rng.choice(list(self._images), p=self._shares))
        return move_one(self._image(name, rng), rng)

    def _image(self, name: str, rng: np.random.Generator) -> LabelledImage:
        return self._images[name][rng.integers(len(self._images[name]))]


def _gather_part(what: Part) -> Found:
    """What one of several processes finds."""
    data_root, part, num_parts, seed = what
    torch.set_num_threads(1)
    model, data = load_model(device="cpu"), load_training_data(data_root)
    rng = np.random.default_rng((seed, part))
    found = Found()
    for name, (_, num_objects) in _SETS.items():
        images = [*data.images.get(name, ()), *slices_of(data, name)][:: _EVERY.get(name, 1)]
        for image in images[part::num_parts]:
            answers = prompt_image(model, image, rng, num_objects=num_objects)
            found.prompted.setdefault(name, []).extend(answers)
    volumes = [volume for some in data.volumes.values() for volume in some]
    for _ in range(_WALKS // num_parts if volumes else 0):
        volume, axis = volumes[rng.integers(len(volumes))], rng.integers(3)
        pixels = np.moveaxis(volume.volume, axis, 0)
        first = rng.integers(max(len(pixels) - _FRAMES, 0) + 1)
        some = slice(first, first + _FRAMES)
        labels = np.moveaxis(volume.labels, axis, 0)[some]
        found.walked += list(follow(model, pixels[some], labels, rng))
    for number in range(_CLIPS // num_parts):
        clip = make_clip(
            *(data, (seed, part, number)), size=_CLIP_SIZE, num_frames=_CLIP_FRAMES, num_objects=3
        )
        found.carried += carried_on(clip, rng)
        if number < _TRACKED_CLIPS:
            order = np.arange(1, len(clip.masks) + 1)[:, None, None, None]
            labels = (clip.masks * order).max(0).astype(np.uint16)
            found.followed += list(follow(model, clip.frames, labels, rng))
    return found


def prompt_image(
    model: SAM2, image: LabelledImage, rng: np.random.Generator, *, num_objects: int
) -> list[Attempt]:
    """Click on objects of an image, and draw boxes around them."""
    views = ImageViews(model, image.image, keeps_image=True)
    attempts = []
    for index in rng.permutation(len(image.instances))[:num_objects]:
        truth = image.labels == image.instances[index].object_id
        click, plane = click_on(truth, rng), whole(views.size)
        said = Said([click], [1], None, plane, True)
        masks = [mask_of(answer_from_near(views, said), views.size)]
        looks = [views.look(window, said) for window in ladder((*click, *click), views.size)]
        sizes = [resize_logits(o.decoding.low_res_logits[0], o.window.size) for o in looks]
        candidates = candidates_of(views, looks, sizes)
        for row in rng.permutation(len(candidates))[:_OTHERS]:
            mask = np.zeros(views.size, np.bool_)
            mask[candidates[row].window.slices] = candidates[row].mask
            masks.append(mask)
        attempts += [Attempt(image.image, mask, truth, (click,)).cropped() for mask in masks]
        box = draw_box(truth, rng)
        if box is not None:
            boxed = Said([box[:2], box[2:]], [2, 3], None, plane, False)
            mask = mask_of(answer_from_near(views, boxed), views.size)
            attempts.append(Attempt(image.image, mask, truth, box=box).cropped())
    return attempts


def follow(
    model: SAM2, frames: NDArray[np.uint8], labels: NDArray[np.uint16], rng: np.random.Generator
) -> Iterator[Attempt]:
    """Track objects from the frames where most of them is seen; what is found on the others.

    Args:
        model: Tracks, as it does without drawing anew.
        frames: (T, H, W) or (T, H, W, 3).
        labels: (T, H, W).
        rng: Chooses the objects.
    """
    areas = np.stack([np.bincount(label.ravel(), minlength=labels.max() + 1) for label in labels])
    object_ids = np.flatnonzero(areas.max(0) >= 16)
    chosen = rng.permutation(object_ids[object_ids > 0])[:_OBJECTS].tolist()
    if not chosen:
        return
    tracker = VideoTracker(model, np.ascontiguousarray(frames), retouch=False)
    starts = {object_id: int(areas[:, object_id].argmax()) for object_id in chosen}
    for object_id, start in starts.items():
        tracker.set_mask(start, object_id, labels[start] == object_id)
    colours = frames if frames.ndim == 4 else frames[..., None].repeat(3, -1)
    for found in tracker.propagate():
        at = found.frame_index
        for object_id, mask in zip(found.object_ids.tolist(), found.masks, strict=True):
            start = starts[object_id]
            if at != start and mask.any():
                earlier = colours[at - np.sign(at - start)]
                truth = labels[at] == object_id
                yield Attempt(colours[at], mask, truth, earlier=earlier).cropped()
