"""COCO JSON with run lengths: one image per frame, one annotation per visible object and frame.

`track_id` is the object id. Added to COCO's own keys: `score` (predicted IoU),
`object_score_logit`, and `frame_index` of an image.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from sam2_plugins.core.formats.sav import read_json
from sam2_plugins.core.formats.stack import SavedMasks, empty_frame
from sam2_plugins.core.masks import FrameMasks, decode_rle, encode_rle, mask_to_box

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sam2_plugins.core.formats.stack import MaskStack

__all__ = ["is_coco", "read", "write"]


def write(path: Path, stack: MaskStack) -> None:
    """Writes all frames in order, annotations one frame at a time."""
    height, width = stack.frame_size
    images = [
        {
            "id": index + 1,
            "file_name": f"{stack.frame_name(index)}.png",
            "width": width,
            "height": height,
            "frame_index": index,
        }
        for index in range(stack.num_frames)
    ]
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{\n "images": {json.dumps(images)},\n')
        file.write(' "categories": [{"id": 1, "name": "object"}],\n "annotations": [')
        comma = ""
        for annotation_id, annotation in enumerate(_annotations(stack), start=1):
            file.write(f"{comma}\n  {json.dumps({'id': annotation_id, **annotation})}")
            comma = ","
        file.write("\n ]\n}\n")


def _annotations(stack: MaskStack) -> Iterator[dict[str, object]]:
    for frame in stack:
        boxes = mask_to_box(frame.masks)
        for row, mask in enumerate(frame.masks):
            if not mask.any():
                continue
            x0, y0, x1, y1 = boxes[row].tolist()
            annotation: dict[str, object] = {
                "image_id": frame.frame_index + 1,
                "category_id": 1,
                "track_id": int(frame.object_ids[row]),
                "segmentation": encode_rle(mask),
                "area": int(mask.sum()),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
            }
            scores = (frame.predicted_iou[row], frame.object_score_logits[row])
            for name, score in zip(("score", "object_score_logit"), scores, strict=True):
                if np.isfinite(score):
                    annotation[name] = round(float(score), 6)
            yield annotation


def is_coco(path: Path) -> bool:
    """Whether a JSON file has COCO's keys."""
    return {"images", "annotations"} <= read_json(path).keys()


def read(path: Path) -> SavedMasks:
    """Opens COCO annotations with run lengths; masks are made when asked for.

    Frames are the images in the order of `frame_index`, or of the file when it has none. The
    object id is `track_id`, or the annotation's own id where it has none.

    Raises:
        ValueError: Malformed JSON, keys are missing, no images, or images of several sizes.
    """
    content = read_json(path)
    images, annotations = content.get("images"), content.get("annotations")
    if not isinstance(images, list) or not isinstance(annotations, list) or not images:
        raise ValueError(f"{path} has no images and annotations; expected COCO run lengths")
    try:
        images = sorted(images, key=lambda image: image.get("frame_index", 0))
        sizes = {(int(image["height"]), int(image["width"])) for image in images}
        by_image: dict[object, list[dict[str, object]]] = {image["id"]: [] for image in images}
        for annotation in annotations:
            by_image[annotation["image_id"]].append(annotation)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not COCO: {error} is missing or wrong") from error
    if len(sizes) != 1:
        raise ValueError(f"the images of {path} have {len(sizes)} sizes; frames have one")
    (size,) = sizes

    def read_frame(frame_index: int) -> FrameMasks:
        found = by_image[images[frame_index]["id"]]
        if not found:
            return empty_frame(frame_index, size)
        return FrameMasks(
            frame_index,
            np.array([entry.get("track_id", entry["id"]) for entry in found], np.int64),
            np.stack([decode_rle(entry["segmentation"]) for entry in found]),  # type: ignore[arg-type]
            np.array([entry.get("score", 1) for entry in found], np.float32),
            np.array([entry.get("object_score_logit", 10) for entry in found], np.float32),
        )

    return SavedMasks(len(images), size, read_frame)
