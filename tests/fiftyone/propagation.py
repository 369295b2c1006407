"""Running the operator in tests, and looking at what it made."""

from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import numpy as np
from numpy.typing import NDArray
from video_files import relative_box

import fiftyone as fo
from sam2_plugins.core import VideoTracker, load_model
from sam2_plugins.fiftyone_plugin.geometry import detection_mask, to_box
from sam2_plugins.fiftyone_plugin.labels import Identity, make_mask_detection

URI = "@sam2-plugins/sam2/propagate_masks"
QUICK = {"image_size": 64, "device": "cpu"}
SIZE = (64, 96)


def propagate(view: Any, *, selected: list[str] | None = None, **params: Any) -> dict[str, int]:
    """Run the operator headless, quickly; how many videos ended how."""
    given: dict[str, Any] = {"params": {**QUICK, **params}, "dataset": view._root_dataset}
    if selected is not None:
        given.update(selected=selected, view_target="SELECTED_SAMPLES")
    if view is not view._root_dataset:
        given["view"] = view
    result: dict[str, int] = foo.execute_operator(URI, **given).result
    return result


def masks_of(sample: Any, index: int, field: str = "masks") -> dict[int, Any]:
    """The labels of an object by frame number; each frame has at most one."""
    dataset = sample.dataset._root_dataset
    dataset.reload()  # it may have got fields since
    found: dict[int, Any] = {}
    for number, frame in sorted(dataset[sample.id].frames.items()):
        value = frame[field] if frame.has_field(field) else None
        for label in value.detections if value else ():
            if label.index == index:
                assert number not in found, f"two labels of object {index} on frame {number}"
                found[number] = label
    return found


def boxed(image: NDArray[Any], index: int, **attributes: Any) -> Any:
    """Detections with a box around object `index` of a label image."""
    box = relative_box(image == index)
    label = fo.Detection(label="disc", index=index, bounding_box=box, **attributes)
    return fo.Detections(detections=[label])


def masked(image: NDArray[Any], index: int, **attributes: Any) -> Any:
    """Detections with the mask of object `index` of a label image."""
    identity = Identity(f"{index:024x}", index, "disc")
    return fo.Detections(detections=[make_mask_detection(image == index, identity, **attributes)])


def tracked(
    path: Path, checkpoint: Path, prompts: dict[int, tuple[int, Any]], **options: Any
) -> dict[int, dict[int, NDArray[np.bool_]]]:
    """What the core alone makes of a file: masks that are not empty, by object and frame number.

    Args:
        path: Of the video.
        checkpoint: Of the network.
        prompts: By object: the frame number, and the Detection with a box.
        options: Of `VideoTracker.propagate`.
    """
    model = load_model(checkpoint=checkpoint, image_size=QUICK["image_size"], device="cpu")
    tracker = VideoTracker(model, path)
    for index, (number, detection) in prompts.items():
        tracker.set_box(number - 1, index, to_box(detection.bounding_box, tracker.frame_size))
    for _ in tracker.propagate(**options):
        pass
    found: dict[int, dict[int, NDArray[np.bool_]]] = {index: {} for index in prompts}
    for index in prompts:
        for frame_index in tracker.known_frames(index):
            result = tracker.masks(frame_index)
            mask = result.masks[list(result.object_ids).index(index)]
            if mask.any():
                found[index][frame_index + 1] = mask
    return found


def assert_same_masks(made: dict[int, Any], expected: dict[int, NDArray[np.bool_]]) -> None:
    """Labels by frame number are these masks, to the pixel."""
    assert list(made) == sorted(expected)
    for number, mask in expected.items():
        np.testing.assert_array_equal(detection_mask(made[number], mask.shape), mask)
