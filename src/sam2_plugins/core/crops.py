"""Crops of an image, and the boxes of what is found in them."""

from typing import Protocol, TypeVar

import numpy as np
import torch

Window = tuple[int, int, int, int]
_EDGE_TOLERANCE = 2
"""Cells of the low-res mask: an object cut by a crop's border ends within this of it."""


class _HasBox(Protocol):
    @property
    def box(self) -> Window: ...


Boxed = TypeVar("Boxed", bound=_HasBox)


def crop_windows(size: tuple[int, ...], layer: int, overlap: float) -> list[Window]:
    """The crops of a layer: 2^layer a side, overlapping, that cover an image (H, W)."""
    height, width = size[:2]
    count = 2**layer
    if count == 1:
        return [(0, 0, width, height)]

    def spans(length: int) -> list[tuple[int, int]]:
        shared = int(overlap * min(height, width) * 2 / count)
        extent = min(length, -(-(length + shared * (count - 1)) // count))
        starts = np.linspace(0, length - extent, count).round().astype(int)
        return [(int(start), int(start) + extent) for start in starts]

    return [(x0, y0, x1, y1) for y0, y1 in spans(height) for x0, x1 in spans(width)]


def tile_windows(size: tuple[int, ...], side: int, overlap: float) -> list[Window]:
    """Overlapping squares of a side that cover an image (H, W); what is shorter is as the image.

    Args:
        size: (H, W).
        side: In pixels.
        overlap: Of neighbours at least, as a share of the side.
    """

    def spans(length: int) -> list[tuple[int, int]]:
        extent = min(side, length)
        step = max(int(extent * (1 - overlap)), 1)
        count = -(-(length - extent) // step) + 1
        starts = np.linspace(0, length - extent, count).round().astype(int)
        return [(int(start), int(start) + extent) for start in starts]

    rows, columns = spans(size[0]), spans(size[1])
    return [(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns]


def suppress(masks: list[Boxed], max_box_iou: float) -> list[Boxed]:
    """Non-maximum suppression by box: of masks in order of worth, drop the repetitions."""
    boxes = np.array([mask.box for mask in masks], dtype=np.float64).reshape(-1, 4)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    for index, box in enumerate(boxes):
        others = boxes[kept]
        width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
        height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
        common = width.clip(0) * height.clip(0)
        iou = common / (areas[index] + areas[kept] - common)
        if not (iou > max_box_iou).any():
            kept.append(index)
    return [masks[index] for index in kept]


def is_cut(mask: torch.Tensor, window: Window, size: tuple[int, ...]) -> bool:
    """Whether a crop's mask (h, w) touches a border of the crop that is not the image's."""
    x0, y0, x1, y1 = window
    rows, columns = mask.any(dim=1), mask.any(dim=0)
    touches = (
        (x0 > 0, columns[:_EDGE_TOLERANCE]),
        (y0 > 0, rows[:_EDGE_TOLERANCE]),
        (x1 < size[1], columns[-_EDGE_TOLERANCE:]),
        (y1 < size[0], rows[-_EDGE_TOLERANCE:]),
    )
    return any(is_inside and bool(strip.any()) for is_inside, strip in touches)
