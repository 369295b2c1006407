"""Masks and mask logits: sizes, overlaps, boxes, packed bits and run lengths.

Boxes are (x0, y0, x1, y1) and half-open: x0 and y0 are the first column and row of the object,
x1 and y1 the first ones after it, so width = x1 - x0 and an empty mask has the box (0, 0, 0, 0).
What needs connected regions lives in `mask_regions`, run lengths in `run_lengths`; both are offered
here as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from sam2_plugins.core.mask_regions import (
    contours,
    fill_holes,
    fill_mask_holes,
    largest_component,
    region_properties,
    remove_small_components,
)
from sam2_plugins.core.rivals import Extents, gives_way
from sam2_plugins.core.run_lengths import RLE, decode_rle, encode_rle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "RLE",
    "FrameMasks",
    "PackedMask",
    "box_to_mask",
    "contours",
    "decode_rle",
    "encode_rle",
    "fill_holes",
    "fill_mask_holes",
    "labels_to_masks",
    "largest_component",
    "mask_to_box",
    "masks_to_labels",
    "non_overlapping",
    "pack_mask",
    "region_properties",
    "remove_small_components",
    "resize_logits",
    "stability_score",
    "unpack_mask",
]


@dataclass(frozen=True, slots=True, eq=False)
class FrameMasks:
    """The masks of one frame, one row per object.

    Attributes:
        frame_index: 0-based index of the frame.
        object_ids: (B,) int64, ids >= 1, each once.
        masks: (B, H, W) bool at image size. Objects may overlap.
        predicted_iou: (B,) float32, the model's own estimate in [0, 1].
        object_score_logits: (B,) float32, > 0 means the object is visible on this frame.
        prompt_distance: (B,) int64, frames from the prompt or lock that tracking set out from; 0
            where one of them says what the mask is, and by default.
        shown_within: (B,) int64, id of the smallest object that a person showed this one inside
            of, as a nucleus in its cell; 0 for none, and by default.
    """

    frame_index: int
    object_ids: NDArray[np.int64]
    masks: NDArray[np.bool_]
    predicted_iou: NDArray[np.float32]
    object_score_logits: NDArray[np.float32]
    prompt_distance: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    shown_within: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if self.masks.ndim != 3:
            raise ValueError(f"masks must have shape (B, H, W), not {self.masks.shape}")
        num_objects = len(self.masks)
        for name in ("prompt_distance", "shown_within"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(num_objects, np.int64))
        for name in (f.name for f in fields(self) if f.name not in {"frame_index", "masks"}):
            shape = getattr(self, name).shape
            if shape != (num_objects,):
                raise ValueError(f"{name} must have shape ({num_objects},), not {shape}")

    @classmethod
    def from_labels(cls, frame_index: int, labels: NDArray[np.integer]) -> FrameMasks:
        """Masks of a label image, as certain: predicted IoU 1 and object score +10.

        Args:
            frame_index: 0-based index of the frame.
            labels: (H, W) integer, 0 is background, other values are object ids.
        """
        object_ids, masks = labels_to_masks(labels)
        scores = np.ones(len(masks), np.float32)
        return cls(frame_index, object_ids, masks, scores, scores * 10)

    def on_frame(self, frame_index: int) -> FrameMasks:
        """The same masks, of another frame."""
        return replace(self, frame_index=frame_index)

    @property
    def gives_way(self) -> NDArray[np.bool_]:
        """(B,) bool: masks of a thing that another object has with more right; see `rivals`."""
        if len(self.object_ids) < 2 or not self.prompt_distance.any():
            return np.zeros(len(self.object_ids), np.bool_)
        return gives_way(
            self._extents(),
            scores=self.object_score_logits,
            prompt_distance=self.prompt_distance,
            object_ids=self.object_ids,
            shown_within=self.shown_within,
        )

    def _extents(self) -> Extents:
        boxes = mask_to_box(self.masks)

        def common_area(row: int, other: int) -> int:
            x0, y0, x1, y1 = boxes[row]
            return int(self.masks[[row, other], y0:y1, x0:x1].all(axis=0).sum())

        return Extents(boxes, self.masks.sum(axis=(1, 2)), common_area)

    def to_labels(self) -> NDArray[np.uint16] | NDArray[np.uint32]:
        """One integer image, (H, W): object ids, 0 = background, smaller objects on top.

        Of objects that tracking found on the same thing only one is drawn; see `rivals`.
        """
        is_drawn = ~self.gives_way
        return masks_to_labels(self.masks[is_drawn], self.object_ids[is_drawn])


def masks_to_labels(
    masks: NDArray[np.bool_], object_ids: NDArray[np.int64]
) -> NDArray[np.uint16] | NDArray[np.uint32]:
    """Draws masks into one label image; where they overlap the smaller object is on top.

    Args:
        masks: (B, H, W) bool.
        object_ids: (B,) ids, 1 to 2**32 - 1. Of two objects of one size the lower id is on top.

    Returns:
        (H, W) uint16, or uint32 when an id is above 65535. 0 is background.

    Raises:
        ValueError: An id is outside that range.
    """
    ids = np.asarray(object_ids, dtype=np.int64)
    if len(ids) and (ids.min() < 1 or ids.max() > np.iinfo(np.uint32).max):
        raise ValueError(
            f"object ids in a label image must be 1 to {np.iinfo(np.uint32).max}, not "
            f"{ids.min()} to {ids.max()}"
        )
    is_wide = bool(len(ids)) and ids.max() > np.iinfo(np.uint16).max
    labels = np.zeros(masks.shape[1:], dtype=np.uint32 if is_wide else np.uint16)
    areas = masks.sum(axis=(1, 2))
    for row in np.lexsort((-ids, -areas)):
        labels[masks[row]] = ids[row]
    return labels


def labels_to_masks(
    labels: NDArray[np.integer],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Splits a label image into masks.

    Args:
        labels: (H, W) integer, 0 is background.

    Returns:
        Object ids (B,) int64, ascending, and masks (B, H, W) bool.
    """
    object_ids = np.unique(labels)
    object_ids = object_ids[object_ids != 0]
    masks = np.zeros((len(object_ids), *labels.shape), dtype=np.bool_)
    for mask, object_id in zip(masks, object_ids, strict=True):
        np.equal(labels, object_id, out=mask)
    return object_ids.astype(np.int64), masks


def resize_logits(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resizes mask logits, bilinear without corner alignment and without antialiasing.

    Args:
        logits: (..., h, w) float.
        size: (H, W) of the result.

    Returns:
        (..., H, W) float32.
    """
    flat = logits.float().reshape(-1, 1, *logits.shape[-2:])
    resized = F.interpolate(flat, size=size, mode="bilinear", align_corners=False)
    return resized.reshape(*logits.shape[:-2], *size)


def non_overlapping(logits: torch.Tensor) -> torch.Tensor:
    """Leaves each pixel to the object with the highest logit there.

    Args:
        logits: (B, h, w) float, one row per object.

    Returns:
        Same shape; on each pixel all but the highest object are at most -10.
    """
    if len(logits) <= 1:
        return logits
    objects = torch.arange(len(logits), device=logits.device)[:, None, None]
    is_winner = logits.argmax(dim=0, keepdim=True) == objects
    return torch.where(is_winner, logits, logits.clamp(max=-10.0))


def stability_score(
    mask_logits: torch.Tensor, *, threshold: float = 0.0, offset: float = 1.0
) -> torch.Tensor:
    """How little a mask changes with its threshold: IoU of the masks at threshold +- offset.

    Args:
        mask_logits: (..., h, w) float.
        threshold: Logit above which a pixel is object.
        offset: Shift of the threshold, up and down.

    Returns:
        (...) float32 in [0, 1]; 1 where both masks are empty.
    """
    inner = (mask_logits > threshold + offset).flatten(-2).sum(-1, dtype=torch.float32)
    outer = (mask_logits > threshold - offset).flatten(-2).sum(-1, dtype=torch.float32)
    return torch.where(outer > 0, inner / outer.clamp(min=1), torch.ones_like(outer))


def mask_to_box(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Smallest box around each mask.

    Args:
        masks: (..., H, W) bool.

    Returns:
        (..., 4) int64, half-open (x0, y0, x1, y1); zeros for an empty mask.
    """
    columns, rows = np.any(masks, axis=-2), np.any(masks, axis=-1)
    x0, x1 = _extent(columns)
    y0, y1 = _extent(rows)
    return np.stack([x0, y0, x1, y1], axis=-1)


def _extent(hits: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    first = hits.argmax(axis=-1)
    stop = hits.shape[-1] - hits[..., ::-1].argmax(axis=-1)
    is_hit = hits.any(axis=-1)
    return np.where(is_hit, first, 0), np.where(is_hit, stop, 0)


def box_to_mask(
    box: Sequence[float] | NDArray[np.floating], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """The pixels of a box; the inverse of `mask_to_box` for a rectangle.

    Args:
        box: Half-open (x0, y0, x1, y1); may reach outside the image. With fractions, a pixel
            belongs to the box when its middle (column + 0.5, row + 0.5) does.
        size: (H, W) of the image.

    Returns:
        (H, W) bool.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    rows = np.arange(size[0])[:, None] + 0.5
    columns = np.arange(size[1])[None, :] + 0.5
    return np.asarray((x0 <= columns) & (columns < x1) & (y0 <= rows) & (rows < y1))


@dataclass(frozen=True, slots=True, eq=False)
class PackedMask:
    """Masks at one bit per pixel.

    Attributes:
        bits: (ceil(size / 8),) uint8, the pixels in C order, first pixel in the highest bit.
        shape: Shape of the unpacked array.
    """

    bits: NDArray[np.uint8]
    shape: tuple[int, ...]


def pack_mask(mask: NDArray[np.bool_]) -> PackedMask:
    """Packs a bool array of any shape to one bit per pixel."""
    return PackedMask(np.packbits(mask.reshape(-1)), mask.shape)


def unpack_mask(packed: PackedMask) -> NDArray[np.bool_]:
    """The bool array that was packed, in its own shape."""
    count = int(np.prod(packed.shape, dtype=np.int64))
    return np.unpackbits(packed.bits, count=count).view(np.bool_).reshape(packed.shape)
