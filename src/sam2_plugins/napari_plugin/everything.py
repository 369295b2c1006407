"""Everything on a slice, found without prompts. The worker's thread."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

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


def make_generator(engine: "Engine", plane: "Plane") -> "MaskGenerator":
    """What looks for masks: on a large plane in crops that the model sees at full resolution."""
    from sam2_plugins.core import MaskGenerator

    model = engine.model()
    is_large = engine.stack.large_planes.has(plane.frame_size, model.image_size)
    return MaskGenerator(
        model,
        points_per_side=POINTS_PER_SIDE,
        max_area_share=LARGEST_SHARE,
        tile_side=model.image_size if is_large else 0,
    )


def find_everything(
    run: "Run", plane: "Plane", frame_index: int, first_object: int
) -> Iterator[None]:
    """Find everything on a slice; each mask becomes the prompt of a new object.

    A step per crop that is looked at, then one per object: stopped while it looks, nothing is new;
    stopped later, the objects that are there stay.

    Args:
        run: The job.
        plane: Of the slice.
        frame_index: The slice.
        first_object: Id of the first new object.

    Raises:
        ValueError: Nothing was found.
    """
    engine = run.engine
    engine.post(Status("looking for everything", is_working=True))
    session = engine.session(plane)
    search = make_generator(engine, plane).search(session.tracker.read_rgb(frame_index))
    for number, _ in enumerate(search):
        engine.post(Progress(number + 1, len(search)))
        yield
    try:
        for object_id, found in enumerate(search.masks(), first_object):
            packed = MaskPixels.pack(found.mask)
            key = PromptKey(plane, frame_index, object_id)
            run.edited(plane, session.apply(frame_index, object_id, Orders(mask=packed)))
            run.say(plane, key, SlicePrompts(mask=packed))
            count = object_id - first_object + 1
            engine.post(Status(f"{count} objects found", is_working=True))
            yield
        if not run.step.edits:
            raise ValueError("nothing was found on this slice")
    finally:
        if run.step.edits:
            run.show(plane, session.tracker.masks(frame_index))
