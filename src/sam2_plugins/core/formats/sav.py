"""Masklets as SA-V stores them: per video one JSON file, per frame and object COCO run lengths.

The keys are those of SA-V. Two are added: `masklet_predicted_iou` and
`masklet_object_score_logit`, lists like `masklet`, null where the object has no result on a frame.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

import numpy as np

from sam2_plugins.core.formats.stack import SavedMasks, empty_frame
from sam2_plugins.core.masks import FrameMasks, decode_rle, encode_rle

if TYPE_CHECKING:
    from pathlib import Path

    from sam2_plugins.core.formats.stack import MaskStack

__all__ = ["read", "read_json", "write"]


@dataclass(slots=True)
class _Masklet:
    """What SA-V counts about one object."""

    num_frames: int = 0
    areas: list[int] = field(default_factory=list)
    first_frame: int = -1
    visibility_changes: int = 0
    is_visible: bool = False

    def add(self, frame_index: int, area: int) -> None:
        self.num_frames += 1
        if area and self.first_frame < 0:
            self.first_frame = frame_index
        elif self.first_frame >= 0:
            self.visibility_changes += self.is_visible != (area > 0)
        self.is_visible = area > 0
        if area:
            self.areas.append(area)

    @property
    def mean_area(self) -> float:
        return float(np.mean(self.areas)) if self.areas else 0.0

    @property
    def size_bucket(self) -> str:
        if self.mean_area < 32**2:
            return "small"
        return "medium" if self.mean_area < 96**2 else "large"


def write(path: Path, stack: MaskStack) -> None:
    """Writes all frames in order; masks go to the file one frame at a time."""
    ids = stack.object_ids.tolist()
    masklets = {object_id: _Masklet() for object_id in ids}
    with path.open("w", encoding="utf-8") as file:
        head = json.dumps(_video_fields(stack), indent=1)
        file.write(head.removesuffix("\n}") + ',\n "masklet": [')
        scores = _write_frames(file, stack, masklets)
        file.write("\n ],\n" + json.dumps(_object_fields(stack, masklets), indent=1)[2:-2])
        for name, rows in zip(
            ("masklet_predicted_iou", "masklet_object_score_logit"), scores, strict=True
        ):
            file.write(f',\n "{name}": {json.dumps(rows)}')
        file.write("\n}\n")


def _write_frames(
    file: TextIO, stack: MaskStack, masklets: dict[int, _Masklet]
) -> tuple[list[list[float | None]], list[list[float | None]]]:
    """Writes the run lengths and gives the two lists of scores, frames x objects."""
    predicted_iou: list[list[float | None]] = []
    object_scores: list[list[float | None]] = []
    nothing = encode_rle(np.zeros(stack.frame_size, np.bool_))
    for frame in stack:
        masks = frame.masks
        row_of = {object_id: row for row, object_id in enumerate(frame.object_ids.tolist())}
        rles = [nothing] * len(masklets)
        predicted_iou.append([None] * len(masklets))
        object_scores.append([None] * len(masklets))
        for column, (object_id, masklet) in enumerate(masklets.items()):
            row = row_of.get(object_id)
            if row is None:
                continue
            rles[column] = encode_rle(masks[row])
            masklet.add(frame.frame_index, int(masks[row].sum()))
            predicted_iou[-1][column] = _json_number(frame.predicted_iou[row])
            object_scores[-1][column] = _json_number(frame.object_score_logits[row])
        comma = "," if frame.frame_index else ""
        file.write(f"{comma}\n  {json.dumps(rles)}")
    return predicted_iou, object_scores


def _json_number(value: np.float32) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _video_fields(stack: MaskStack) -> dict[str, object]:
    height, width = stack.frame_size
    return {
        "video_id": stack.title,
        "video_frame_count": stack.num_frames,
        "video_height": height,
        "video_width": width,
        "video_resolution": height * width,
    }


def _object_fields(stack: MaskStack, masklets: dict[int, _Masklet]) -> dict[str, object]:
    num_pixels = stack.frame_size[0] * stack.frame_size[1]
    rows = list(masklets.values())
    return {
        "masklet_id": list(masklets),
        "masklet_size_rel": [row.mean_area / num_pixels for row in rows],
        "masklet_size_abs": [row.mean_area for row in rows],
        "masklet_size_bucket": [row.size_bucket for row in rows],
        "masklet_visibility_changes": [row.visibility_changes for row in rows],
        "masklet_first_appeared_frame": [row.first_frame for row in rows],
        "masklet_frame_count": [row.num_frames for row in rows],
        "masklet_type": ["auto" for _ in rows],
        "masklet_num": len(rows),
    }


def read_json(path: Path) -> dict[str, object]:
    """Reads a JSON object.

    Raises:
        ValueError: Malformed; the message names line and column.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a JSON {type(content).__name__}, not an object")
    return content


def read(path: Path) -> SavedMasks:
    """Opens masklets; the run lengths are held in memory, masks are made when asked for.

    Ids are those of the file, all one higher when the file starts at 0, as SA-V's own files do.

    Raises:
        ValueError: Malformed JSON, or keys of SA-V are missing.
    """
    content = read_json(path)
    frames, ids = content.get("masklet"), content.get("masklet_id")
    if not isinstance(frames, list) or not isinstance(ids, list):
        raise ValueError(f"{path} has no masklet and masklet_id; expected SA-V masklets")
    object_ids = np.array(ids, np.int64)
    if 0 in object_ids:
        object_ids += 1
    size = _frame_size(content, frames, path)
    iou_rows = content.get("masklet_predicted_iou")
    score_rows = content.get("masklet_object_score_logit")

    def read_frame(frame_index: int) -> FrameMasks:
        rles = frames[frame_index]
        if not rles:
            return empty_frame(frame_index, size)
        masks = np.stack([decode_rle(rle) for rle in rles])
        is_visible = np.asarray(masks.any(axis=(1, 2)))
        if not isinstance(iou_rows, list) or not isinstance(score_rows, list):
            object_scores = np.where(is_visible, 10, -10).astype(np.float32)
            predicted_iou = is_visible.astype(np.float32)
            return FrameMasks(frame_index, object_ids, masks, predicted_iou, object_scores)
        predicted_iou = np.array(iou_rows[frame_index], np.float32)
        object_scores = np.array(score_rows[frame_index], np.float32)
        known = ~np.isnan(object_scores)
        return FrameMasks(
            frame_index, object_ids[known], masks[known], predicted_iou[known], object_scores[known]
        )

    return SavedMasks(len(frames), size, read_frame)


def _frame_size(
    content: dict[str, object], frames: list[list[dict[str, list[int]]]], path: Path
) -> tuple[int, int]:
    for rles in frames:
        for rle in rles:
            return rle["size"][0], rle["size"][1]
    try:
        return int(content["video_height"]), int(content["video_width"])  # type: ignore[call-overload]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} has neither masks nor video_height and video_width") from error
