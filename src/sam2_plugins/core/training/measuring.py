"""How well a model segments what was kept apart, object by object."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

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
    seen = stack.labels.any((1, 2))
    first = int(seen.argmax())
    part = slice(first, first + MAX_FRAMES)
    frames, labels = stack.frames[part], stack.labels[part]
    ids = [int(i) for i in np.unique(labels[:-1]) if i]
    if not ids:
        return []
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
