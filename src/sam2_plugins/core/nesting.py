"""Objects that a person showed inside of others, as a nucleus in its cell.

Both are on one place, and neither is a mistake of tracking: see `rivals`.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from sam2_plugins.core.placed_masks import crop_of, shared_area

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sam2_plugins.core.frame_results import FrameResult
    from sam2_plugins.core.masklets import Masklet

_INSIDE = 0.8
"""Share of an object, and of the box around it, that lies in another if it is inside of it: the
outlines of both are seldom drawn so exactly that it would be all."""


class Nesting:
    """Finds them, frame by frame; a frame is looked at anew only when something was said there."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[tuple[str, ...], dict[int, int]]] = {}

    def find(self, masklets: Mapping[int, Masklet]) -> dict[int, int]:
        """Object id -> the smallest object that it was shown inside of, on the first such frame."""
        shown: defaultdict[int, dict[int, FrameResult]] = defaultdict(dict)
        for object_id, masklet in masklets.items():
            for frame_index in masklet.conditioning_frames:
                if masklet.is_vouched_for(frame_index):
                    shown[frame_index][object_id] = masklet.results[frame_index]
        self._known = {
            frame_index: self._look(frame_index, shown[frame_index])
            for frame_index in sorted(shown)
            if len(shown[frame_index]) > 1
        }
        found: dict[int, int] = {}
        for _, of_frame in self._known.values():
            found = of_frame | found
        return found

    def _look(
        self, frame_index: int, results: dict[int, FrameResult]
    ) -> tuple[tuple[str, ...], dict[int, int]]:
        versions = tuple(f"{object_id} {r.version}" for object_id, r in results.items())
        known = self._known.get(frame_index)
        return known if known is not None and known[0] == versions else (versions, _inside(results))


def _inside(results: dict[int, FrameResult]) -> dict[int, int]:
    """Object id -> the smallest of the larger objects of a frame that it lies in."""
    ids, seen = list(results), list(results.values())
    crops = cache(lambda row: crop_of(seen[row].mask, seen[row].box))
    areas = cache(lambda row: int(np.count_nonzero(crops(row)[1])))
    found: dict[int, int] = {}
    for row, others in enumerate(_boxes_inside([result.box for result in seen])):
        candidates = sorted(np.flatnonzero(others).tolist(), key=areas)
        for other in candidates:
            is_larger = areas(other) > areas(row)
            if is_larger and shared_area(*crops(row), *crops(other)) >= _INSIDE * areas(row):
                found[ids[row]] = ids[other]
                break
    return found


def _boxes_inside(boxes: list[tuple[int, int, int, int]]) -> NDArray[np.bool_]:
    """(N, N) whether a row's box lies in a column's."""
    all_boxes = np.array(boxes)
    low = np.maximum(all_boxes[:, None, :2], all_boxes[None, :, :2])
    high = np.minimum(all_boxes[:, None, 2:], all_boxes[None, :, 2:])
    areas = (all_boxes[:, 2:] - all_boxes[:, :2]).prod(axis=-1)
    is_inside = (high - low).clip(min=0).prod(axis=-1) >= _INSIDE * areas[:, None]
    np.fill_diagonal(is_inside, val=False)
    return np.asarray(is_inside)
