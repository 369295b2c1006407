"""Everything on a slice, found without prompts. The worker's thread."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.napari_plugin.messages import Progress, Status
from sam2_plugins.napari_plugin.prompts import MaskPixels, Orders, PromptKey, SlicePrompts

if TYPE_CHECKING:
    from sam2_plugins.core import MaskGenerator
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
    first_object: int,
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
        first_object: Id of the first new object.
        thresholds: Masks below are left out.

    Raises:
        ValueError: Nothing was found.
    """
    engine = run.engine
    engine.post(Status("looking for everything", is_working=True))
    session = engine.session(plane)
    generator = make_generator(engine, plane, thresholds)
    search = generator.search(session.tracker.read_rgb(frame_index))
    for number, _ in enumerate(search):
        engine.post(Progress(number + 1, len(search)))
        yield
    known = session.labels(frame_index).covered()
    masks = (found.mask for found in search.masks())
    try:
        for count, mask in enumerate(new_masks(masks, known)):
            packed = MaskPixels.pack(mask)
            key = PromptKey(plane, frame_index, first_object + count)
            run.edited(plane, session.apply(frame_index, key.object_id, Orders(mask=packed)))
            run.say(plane, key, SlicePrompts(mask=packed))
            engine.post(Status(f"{count + 1} objects found", is_working=True))
            yield
        if not run.step.edits:
            asked = generator.options
            raise ValueError(
                f"nothing new was found on this slice with a predicted IoU of "
                f"{asked.min_predicted_iou:g} and a stability of {asked.min_stability:g}: "
                "try lower ones"
            )
    finally:
        if run.step.edits:
            run.show(plane, session.tracker.masks(frame_index))


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
