"""Everything on a slice, found without prompts. The worker's thread."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.napari_plugin.messages import Failure, Progress, Status
from sam2_plugins.napari_plugin.prompts import MaskPixels, PromptKey, SlicePrompts

if TYPE_CHECKING:
    from sam2_plugins.core import MaskGenerator
    from sam2_plugins.napari_plugin.document import Document
    from sam2_plugins.napari_plugin.engine import Engine
    from sam2_plugins.napari_plugin.layers import Plane
    from sam2_plugins.napari_plugin.runs import Run

POINTS_PER_SIDE = 16
LARGEST_SHARE = 0.5
"""A mask that covers more of the slice is its background."""
LARGEST_KNOWN_SHARE = 0.5
"""A mask of which objects have more is one of them, or a part of it."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How good a mask that nobody asked for has to be; None for what suits the model.

    Attributes:
        predicted_iou: In [0, 1], what the model itself thinks of it.
        stability: In [0, 1], how little it changes where it is cut a little higher or lower.
    """

    predicted_iou: float | None = None
    stability: float | None = None


AUTO = Thresholds()


def make_generator(engine: "Engine", plane: "Plane", thresholds: Thresholds) -> "MaskGenerator":
    """What looks for masks: on a large plane in crops that the model sees at full resolution."""
    from sam2_plugins.core import MaskGenerator

    model = engine.model()
    is_large = engine.stack.large_planes.has(plane.frame_size, model.image_size)
    return MaskGenerator(
        model,
        points_per_side=POINTS_PER_SIDE,
        min_predicted_iou=thresholds.predicted_iou,
        min_stability=thresholds.stability,
        max_area_share=LARGEST_SHARE,
        tile_side=model.image_size if is_large else 0,
    )


def find_everything(
    run: "Run",
    plane: "Plane",
    *,
    frame_index: int,
    thresholds: Thresholds,
) -> Iterator[None]:
    """Find everything on a slice; each mask becomes the prompt of a new object.

    A mask most of which objects have already, those that were there or better ones, is left out.
    A step per crop that is looked at, then one per object: stopped while it looks, nothing is new;
    stopped later, the objects that are there stay.

    Args:
        run: The job.
        plane: Of the slice.
        frame_index: The slice.
        thresholds: Masks below are left out.
    """
    engine = run.engine
    engine.post(Status("looking for everything", is_working=True))
    session = engine.session(plane)
    generator = make_generator(engine, plane, thresholds)
    search = generator.search(session.tracker.read_rgb(frame_index))
    for number, _ in enumerate(search):
        engine.post(Progress((number + 1) / len(search)))
        yield
    known = engine.labels(plane, frame_index).covered()
    masks = (found.mask for found in search.masks())
    new = NewObjects(plane, frame_index)
    num_found = 0
    try:
        for mask in new_masks(masks, known):
            num_found += yield from run.say(partial(new.say, MaskPixels.pack(mask)))
            engine.post(Status(f"{num_found} objects found", is_working=True))
        if not num_found:
            asked = generator.options
            told = (
                f"nothing new was found on this slice with a predicted IoU of "
                f"{asked.min_predicted_iou:g} and a stability of {asked.min_stability:g}: "
                "try lower ones"
            )
            # Nothing has failed: it is said, and the run ends as any other.
            engine.post(Failure(told))
    finally:
        if run.step.edits:
            run.show(plane, session.tracker.masks(frame_index))


class NewObjects:
    """Makes every mask the prompt of an object of its own, whatever was said since the last one.

    Args:
        plane: Of the slice.
        frame_index: The slice.
    """

    def __init__(self, plane: "Plane", frame_index: int) -> None:
        self._plane = plane
        self._frame_index = frame_index
        self._next = 0

    def say(self, mask: MaskPixels, document: "Document") -> dict[PromptKey, SlicePrompts]:
        """What is to be said of an image for a mask. In the window's thread."""
        first = document.next_object() if document.prompts else document.current_object
        object_id = document.unused_object(self._next or first)
        self._next = object_id + 1
        return {PromptKey(self._plane, self._frame_index, object_id): SlicePrompts(mask=mask)}


def new_masks(
    masks: Iterable[NDArray[np.bool_]], known: NDArray[np.bool_]
) -> Iterator[NDArray[np.bool_]]:
    """Masks (H, W) bool of which less than half is known; each is known from then on.

    Args:
        masks: The best first.
        known: (H, W) bool, where there are objects; it is added to.
    """
    for mask in masks:
        shared = np.count_nonzero(mask & known)
        if shared <= LARGEST_KNOWN_SHARE * np.count_nonzero(mask):
            known |= mask
            yield mask
