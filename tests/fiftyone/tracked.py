"""Masks in a dataset as a run writes them, without running one."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.labels import (
    Identity,
    make_generated_detection,
    make_instance_id,
)
from sam2_plugins.fiftyone_plugin.store import declare_output

Change = Callable[[int, int, NDArray[np.bool_]], tuple[NDArray[np.bool_], float] | None]
"""Frame number, object id and true mask -> mask and predicted IoU, or None for no label."""


def unchanged(_number: int, _object: int, mask: NDArray[np.bool_]) -> tuple[Any, float]:
    return mask, 0.9


def write_masks(
    sample: Any,
    labels: NDArray[np.uint8],
    *,
    field: str = "masks",
    run_id: str = "run1",
    change: Change = unchanged,
) -> None:
    """Write the objects of (T, H, W) labels as generated masks on the sample's frames."""
    declare_output(sample.dataset, field, is_video=True)
    for number, image in enumerate(labels, 1):
        found = []
        for object_id in np.unique(labels[labels > 0]).tolist():
            changed = change(number, object_id, image == object_id)
            if changed is None:
                continue
            identity = Identity(make_instance_id(sample.id, str(object_id)), object_id, "disc")
            label = make_generated_detection(
                *(changed[0], identity),
                predicted_iou=changed[1],
                object_score_logit=8.0,
                run_id=run_id,
            )
            found += [label] if label is not None else []
        if number not in sample.frames:
            sample.frames[number] = fo.Frame()
        sample.frames[number][field] = fo.Detections(detections=found)
    sample.save()
