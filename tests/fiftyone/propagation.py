"""Running the operator in tests, and looking at what it made."""

from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import numpy as np
from numpy.typing import NDArray
from video_files import relative_box

import fiftyone as fo
from sam2_plugins.core import VideoTracker, load_model
from sam2_plugins.fiftyone_plugin.geometry import detection_mask
from sam2_plugins.fiftyone_plugin.labels import Identity, make_mask_detection, read_prompt

URI = "@sam2-plugins/sam2/propagate_masks"
QUICK = {"image_size": 128, "device": "cpu"}
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
    return {number: label for (_, number), label in _masks(sample, field, index).items()}


def all_masks_of(sample: Any, field: str = "masks") -> dict[tuple[int, int], Any]:
    """The labels by object and frame number; of each object a frame has at most one."""
    return _masks(sample, field, None)


def _masks(sample: Any, field: str, index: int | None) -> dict[tuple[int, int], Any]:
    dataset = sample.dataset._root_dataset
    dataset.reload()  # it may have got fields since
    video = dataset.select(sample.id)
    found: dict[tuple[int, int], Any] = {}
    if not video.has_field(f"frames.{field}"):
        return found
    numbers, values = video.values(["frames.frame_number", f"frames.{field}"])
    for number, value in sorted(zip(numbers[0], values[0], strict=True), key=lambda row: row[0]):
        for label in value.detections if value else ():
            if index in (None, label.index):
                key = (label.index, number)
                assert key not in found, f"two labels of object {label.index} on frame {number}"
                found[key] = label
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
    path: str | Path, prompts: dict[int, dict[int, Any]]
) -> dict[int, dict[int, NDArray[np.bool_]]]:
    """What the core alone makes of a file with the bundled weights.

    Args:
        path: Of the video.
        prompts: Labels by object and frame number.

    Returns:
        Masks that are not empty, by object and frame number.
    """
    tracker = VideoTracker(load_model(image_size=QUICK["image_size"], device="cpu"), path)
    for index, labels in prompts.items():
        for number, label in labels.items():
            prompt = read_prompt(label, tracker.frame_size)
            if prompt.mask is not None:
                tracker.set_mask(number - 1, index, prompt.mask)
            else:
                tracker.set_box(number - 1, index, prompt.box)
    for _ in tracker.propagate():
        pass
    found: dict[int, dict[int, NDArray[np.bool_]]] = {index: {} for index in prompts}
    for frame_index in range(tracker.num_frames):
        result = tracker.masks(frame_index)
        for index, mask in zip(result.object_ids.tolist(), result.masks, strict=True):
            if mask.any():
                found[index][frame_index + 1] = mask
    return found


def assert_same_masks(made: dict[int, Any], expected: dict[int, NDArray[np.bool_]]) -> None:
    """Labels by frame number are these masks, to the pixel."""
    assert list(made) == sorted(expected)
    for number, mask in expected.items():
        np.testing.assert_array_equal(detection_mask(made[number], mask.shape), mask)
