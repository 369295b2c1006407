"""Is a model better than another, on data that neither has learnt from?"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.evaluation import jaccard
from sam2_plugins.core.evaluation.clicks import next_click
from sam2_plugins.core.masks import mask_to_box
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.predictor import ImagePredictor
from sam2_plugins.core.tracker import VideoTracker
from sam2_plugins.core.training.labelled import LabelledImage, LabelledStack
from sam2_plugins.core.training.own_data import OwnData

MAX_IMAGES, MAX_STACKS = 40, 12
MAX_IMAGE_OBJECTS = 240
"""Of all images together, each by a click and by a box: some minutes on two cores."""
MAX_STACK_OBJECTS = 20
MAX_FRAMES = 60
WORD_EVERY_S = 15.0
MIN_UNITS = 5
NUM_DRAWS = 2000

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Score:
    """How well one object was segmented.

    Attributes:
        unit: Name of its image or stack.
        object_id: Its id there.
        prompt: "click" or "box" on an image; "track" for a stack, from the first mask.
        iou: Of a stack the mean over the frames after the first.
    """

    unit: str
    object_id: int
    prompt: str
    iou: float


@dataclass(frozen=True)
class Comparison:
    """Before and after by one kind of prompt, means with 95 % intervals.

    Attributes:
        prompt: As in `Score`, or "all".
        num_objects: How many objects were compared.
        before: Mean, low and high of the mean IoU.
        after: Likewise.
        change: Likewise, of after minus before, paired by object.
    """

    prompt: str
    num_objects: int
    before: tuple[float, float, float]
    after: tuple[float, float, float]
    change: tuple[float, float, float]

    @property
    def is_better(self) -> bool:
        """Whether the whole interval of the change is above zero."""
        return self.change[1] > 0


def measure(model: SAM2, data: OwnData, *, say: Callable[[str], None] | None = None) -> list[Score]:
    """Segment objects kept apart: in images by a click and by a box, in stacks by the first mask.

    Of many images, stacks, objects or frames evenly spaced ones are taken, always the same.

    Args:
        model: To be measured.
        data: What was kept apart.
        say: Gets a line now and then on how far it is.
    """
    images, stacks = _evenly(data.images, MAX_IMAGES), _evenly(data.stacks, MAX_STACKS)
    predictor, scores = ImagePredictor(model), []
    for image in _told(images, "images", say):
        count = max(1, MAX_IMAGE_OBJECTS // len(images))
        scores += _measure_image(predictor, image, max_objects=count)
    for stack in _told(stacks, "stacks", say):
        scores += _measure_stack(model, stack)
    return scores


def _told(items: Sequence[_Item], what: str, say: Callable[[str], None] | None) -> Iterator[_Item]:
    """The items, with a word now and then on how many of them are done."""
    told = time.monotonic()
    for done, item in enumerate(items):
        if say is not None and time.monotonic() - told > WORD_EVERY_S:
            say(f"measured {done} of {len(items)} {what}")
            told = time.monotonic()
        yield item


def compare(before: Sequence[Score], after: Sequence[Score], *, seed: int = 0) -> list[Comparison]:
    """Compare the scores of the same objects; the last comparison is of all prompts together.

    Intervals come from a bootstrap over images and stacks, whose objects belong together; over
    objects where there are fewer than five of the former.

    Args:
        before: Of one model.
        after: Of another, in the same order.
        seed: Of the bootstrap.

    Raises:
        ValueError: The scores are of different objects, or there are none.
    """
    keys = [(s.unit, s.object_id, s.prompt) for s in before]
    if not keys or keys != [(s.unit, s.object_id, s.prompt) for s in after]:
        raise ValueError("there is nothing to compare, or not the same objects on both sides")
    pairs = np.array([[a.iou, b.iou] for a, b in zip(before, after, strict=True)])
    prompts = list(dict.fromkeys(s.prompt for s in before))
    rows = {p: np.array([s.prompt == p for s in before]) for p in prompts}
    if len(prompts) > 1:
        rows["all"] = np.ones(len(before), bool)
    units = np.array([s.unit for s in before])
    return [
        _compare(prompt, pairs[chosen], units[chosen], np.random.default_rng(seed))
        for prompt, chosen in rows.items()
    ]


def _compare(
    prompt: str, pairs: NDArray[np.float64], units: NDArray[np.str_], rng: np.random.Generator
) -> Comparison:
    names, unit_of = np.unique(units, return_inverse=True)
    if len(names) < MIN_UNITS:
        unit_of = np.arange(len(pairs))
    num_units = int(unit_of.max()) + 1
    sums = np.zeros((num_units, 2))
    np.add.at(sums, unit_of, pairs)
    counts = np.bincount(unit_of)
    draws = rng.integers(num_units, size=(NUM_DRAWS, num_units))
    means = sums[draws].sum(1) / counts[draws].sum(1)[:, None]  # (draws, 2)

    def interval(mean: float, drawn: NDArray[np.float64]) -> tuple[float, float, float]:
        low, high = np.percentile(drawn, (2.5, 97.5))
        return float(mean), float(low), float(high)

    before, after = pairs.mean(0)
    return Comparison(
        prompt,
        len(pairs),
        interval(before, means[:, 0]),
        interval(after, means[:, 1]),
        interval(after - before, means[:, 1] - means[:, 0]),
    )


def _measure_image(
    predictor: ImagePredictor, image: LabelledImage, *, max_objects: int
) -> list[Score]:
    predictor.set_image(image.image)
    scores = []
    for instance in _evenly(image.instances, max_objects):
        truth = image.labels == instance.object_id
        click = next_click(truth, None)
        assert click is not None
        by_click = predictor.predict(points=[(click.x, click.y)], point_labels=[1])
        box = mask_to_box(truth).astype(np.float64)
        by_box = predictor.predict(box=box, multimask=False)
        for prompt, found in (("click", by_click), ("box", by_box)):
            iou = jaccard(found.best, truth)
            scores.append(Score(image.name, instance.object_id, prompt, iou))
    return scores


def _measure_stack(model: SAM2, stack: LabelledStack) -> list[Score]:
    frames, labels = stack.frames[:MAX_FRAMES], stack.labels[:MAX_FRAMES]
    ids = [int(i) for i in np.unique(labels[:-1]) if i]
    chosen = _evenly(ids, MAX_STACK_OBJECTS)
    tracker = VideoTracker(model, frames)
    starts = {}
    for object_id in chosen:
        starts[object_id] = int((labels == object_id).any((1, 2)).argmax())
        tracker.set_mask(starts[object_id], object_id, labels[starts[object_id]] == object_id)
    ious: dict[int, list[float]] = {object_id: [] for object_id in chosen}
    for found in tracker.propagate(direction="forward"):
        for object_id, mask in zip(found.object_ids.tolist(), found.masks, strict=True):
            if found.frame_index > starts[object_id]:
                truth = labels[found.frame_index] == object_id
                ious[object_id].append(jaccard(mask, truth))
    return [Score(stack.name, i, "track", float(np.mean(v))) for i, v in ious.items() if v]


def _evenly(items: Sequence[_Item], count: int) -> list[_Item]:
    """At most `count` of the items, evenly spaced."""
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]
