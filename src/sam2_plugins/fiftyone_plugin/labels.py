"""Conversions between FiftyOne's labels and what the core takes and gives. Nothing else.

FiftyOne counts frames from 1, the core from 0; that is converted only here. How places are
converted is in `geometry`.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from bson import ObjectId
from numpy.typing import ArrayLike, NDArray

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.frame_prompt import Prompt
from sam2_plugins.fiftyone_plugin.geometry import (
    detection_mask,
    polygon_mask,
    to_bounding_box,
    to_box,
    to_pixels,
)

POINT_LABELS = ("point_labels", "sam_labels")
"""Attributes of a Keypoint that say which points are on the object; the first that is there."""

KEYFRAME, OBJECT_SCORE, RUN, CHECKSUM = "keyframe", "object_score", "sam2_run", "sam2_checksum"
"""Attributes of generated labels that FiftyOne's Detection has no field for."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an object is, in every label of its track.

    Attributes:
        instance_id: Of `fo.Instance`, 24 hexadecimal digits.
        index: FiftyOne's track number.
        label: The class, if any.
        former_id: The instance that its labels were given while its prompts had but an index.
    """

    instance_id: str
    index: int
    label: str | None = None
    former_id: str | None = None


# Frames


def to_frame_index(frame_number: int) -> int:
    """The core's 0-based index of FiftyOne's 1-based frame number."""
    return frame_number - 1


def to_frame_number(frame_index: int) -> int:
    """FiftyOne's 1-based number of the core's 0-based frame index."""
    return frame_index + 1


# Whose a label is


def is_generated(label: Any) -> bool:
    """Whether a run, or the App by interpolation or tracking, made the label.

    A person who makes such a label a keyframe makes it their own.
    """
    keyframe = getattr(label, KEYFRAME, None)
    return keyframe is False or (keyframe is None and getattr(label, RUN, None) is not None)


def is_prompt(label: Any) -> bool:
    """Whether a person made the label; what tracking or interpolation made is `keyframe=False`."""
    keyframe = getattr(label, KEYFRAME, None)
    return keyframe is True or (keyframe is None and not is_generated(label))


def is_changed(label: Any) -> bool:
    """Whether a person changed the box or mask of a generated label that has a checksum."""
    made = getattr(label, CHECKSUM, None)
    try:
        return made is not None and label.get_mask() is not None and checksum(label) != made
    except (OSError, ValueError):  # of a mask file that is gone nothing is left to keep
        return False


def checksum(label: Any) -> str:
    """A short hash of a Detection's box and mask."""
    return hashlib.sha256(repr(_box_and_mask(label)).encode()).hexdigest()[:12]


def list_labels(value: Any) -> list[Any]:
    """The single labels of a field's value.

    Args:
        value: Detections, Keypoints or Polylines, one such label by itself, or None.

    Raises:
        ValueError: It is a label of another kind.
    """
    if value is None:
        return []
    if isinstance(value, fo.Detections):
        return list(value.detections or [])
    if isinstance(value, fo.Keypoints):
        return list(value.keypoints or [])
    if isinstance(value, fo.Polylines):
        return list(value.polylines or [])
    if isinstance(value, fo.Detection | fo.Keypoint | fo.Polyline):
        return [value]
    raise ValueError(f"prompts are Detections, Keypoints or Polylines, not {type(value).__name__}")


def make_instance_id(*parts: str) -> str:
    """An instance id that is always the same for the same parts."""
    return str(ObjectId(hashlib.sha256("\0".join(parts).encode()).digest()[:12]))


def digest(label: Any) -> str:
    """A hash of all that a prompt says; it changes when a person changes the label."""
    facts = [type(label).__name__, label.label, label.index, instance_id(label)]
    if isinstance(label, fo.Detection):
        facts += _box_and_mask(label)
    elif isinstance(label, fo.Keypoint):
        facts += [[_rounded(point) for point in label.points], _raw_point_labels(label)]
    else:
        facts += [[[_rounded(point) for point in ring] for ring in label.points]]
        facts += [bool(label.closed), bool(label.filled)]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:24]


def instance_id(label: Any) -> str | None:
    """The id of a label's instance, if it has one."""
    instance = getattr(label, "instance", None)
    return None if instance is None else str(instance.id)


# Labels to prompts


def read_prompt(label: Any, size: tuple[int, int]) -> Prompt:
    """What one label says of its object.

    A Detection is its mask, else its box; a Keypoint is clicks; a closed or filled Polyline is a
    mask, an open one is clicks along it.

    Args:
        label: Detection, Keypoint or Polyline.
        size: (H, W) of the decoded frame.

    Raises:
        ValueError: The label is malformed.
    """
    if isinstance(label, fo.Detection):
        given = label.get_mask()
        if given is None:
            return Prompt(box=to_box(label.bounding_box, size))
        mask = detection_mask(label, size)
        # One without any pixel says that the object is not there.
        if np.any(given) and not mask.any():
            raise ValueError(f"the mask in {list(label.bounding_box)} has no pixel in the frame")
        return Prompt(mask=mask)
    if isinstance(label, fo.Keypoint):
        points, point_labels = read_points(label, size)
        return Prompt(points, point_labels)
    if label.closed or label.filled:
        mask = polygon_mask(label.points, size)
        if not mask.any():
            raise ValueError("an outline has no pixel of the frame in it; draw it again")
        return Prompt(mask=mask)
    vertices = tuple(to_pixels(point, size) for ring in label.points for point in ring)
    return Prompt(vertices, (1,) * len(vertices))


def read_points(
    keypoint: Any, size: tuple[int, int]
) -> tuple[tuple[tuple[float, float], ...], tuple[int, ...]]:
    """Clicks of a Keypoint, in pixels, and their labels; points that are NaN are left out.

    Raises:
        ValueError: It has labels, but not one for each point, or others than 1 and 0.
    """
    given = _raw_point_labels(keypoint)
    labels = [1] * len(keypoint.points) if given is None else list(given)
    if len(labels) != len(keypoint.points):
        raise ValueError(
            f"a keypoint has {len(keypoint.points)} points but {len(labels)} point_labels"
        )
    if any(label not in (0, 1) for label in labels):
        raise ValueError(f"point_labels are 1 (object) or 0 (background), not {labels}")
    pairs = [
        (to_pixels(point, size), int(label))
        for point, label in zip(keypoint.points, labels, strict=True)
        if not any(value is None or math.isnan(value) for value in point)
    ]
    return tuple(point for point, _ in pairs), tuple(label for _, label in pairs)


# Prompts and masks to labels


def make_keypoint(
    points: ArrayLike, point_labels: ArrayLike, size: tuple[int, int], identity: Identity
) -> Any:
    """A keyframe of clicks: `fo.Keypoint` of (N, 2) points (x, y) in pixels and (N,) labels."""
    rows, columns = size
    xy = np.asarray(points, float).reshape(-1, 2) / (columns, rows)
    return fo.Keypoint(
        label=identity.label,
        points=[(float(x), float(y)) for x, y in xy],
        index=identity.index,
        instance=fo.Instance(id=identity.instance_id),
        **{POINT_LABELS[0]: [int(value) for value in np.ravel(point_labels)], KEYFRAME: True},
    )


def make_box_detection(box: Iterable[float], size: tuple[int, int], identity: Identity) -> Any:
    """A keyframe of a box: `fo.Detection` of (x0, y0, x1, y1) in pixels."""
    return fo.Detection(
        label=identity.label,
        bounding_box=to_bounding_box(box, size),
        index=identity.index,
        instance=fo.Instance(id=identity.instance_id),
        **{KEYFRAME: True},
    )


def make_mask_detection(mask: ArrayLike, identity: Identity, **attributes: Any) -> Any | None:
    """A `fo.Detection` of a mask (H, W), cropped to its box; None where the mask is empty.

    Args:
        mask: Anything but 0 is object.
        identity: Of its object.
        attributes: More fields; a keyframe unless they say otherwise.
    """
    full = np.asarray(mask) > 0
    rows, columns = np.flatnonzero(full.any(axis=1)), np.flatnonzero(full.any(axis=0))
    if not len(rows):
        return None
    y0, x0, y1, x1 = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    return fo.Detection(
        label=identity.label,
        bounding_box=[float(v) for v in to_bounding_box((x0, y0, x1, y1), full.shape)],
        mask=np.ascontiguousarray(full[y0:y1, x0:x1]),
        index=identity.index,
        instance=fo.Instance(id=identity.instance_id),
        **{KEYFRAME: True, **attributes},
    )


def make_generated_detection(
    mask: NDArray[np.bool_],
    identity: Identity,
    *,
    predicted_iou: float,
    object_score_logit: float,
    run_id: str,
) -> Any | None:
    """What a run writes for one object on one frame; None where it is not to be seen.

    `confidence` is the predicted IoU, `object_score` the model's probability that the object is
    visible.
    """
    score = 1 / (1 + math.exp(-max(min(object_score_logit, 60.0), -60.0)))
    made = make_mask_detection(
        mask,
        identity,
        confidence=round(float(predicted_iou), 6),
        **{KEYFRAME: False, OBJECT_SCORE: round(score, 6), RUN: run_id},
    )
    if made is not None:
        made[CHECKSUM] = checksum(made)
    return made


# Inside


def _box_and_mask(label: Any) -> list[Any]:
    """What a Detection says of where its object is, for hashes."""
    mask = label.get_mask()
    if mask is None:
        return [_rounded(label.bounding_box), None, None]
    return [_rounded(label.bounding_box), mask.shape, np.packbits(np.asarray(mask) > 0).tobytes()]


def _raw_point_labels(keypoint: Any) -> list[Any] | None:
    for name in POINT_LABELS:
        values = getattr(keypoint, name, None)
        if values is not None:
            return list(values) if isinstance(values, Iterable) else [values]
    return None


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), 9) for value in values]
