"""Tracks that were found on a thing that another track is on."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from sam2_plugins.fiftyone_plugin.track_quality import prompt_distances

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from sam2_plugins.fiftyone_plugin.track_quality import TrackFrame

__all__ = ["find_twins", "shown_within"]

_SAME_BOX = 0.6
"""IoU from which two boxes are taken to be of one thing: lower than masks of one thing would have,
as only a look is asked for. Measured on stacks of nuclei: pairs of masks with an IoU of 0.5 or more
mostly have it, and no others."""
_INSIDE = 0.8
"""Share of a box that lies in another if it is inside of it, as in `FrameMasks.shown_within`."""


def find_twins(tracks: Mapping[str, Sequence[TrackFrame]]) -> dict[str, tuple[int, ...]]:
    """Key of each track -> frames on which another track is on its thing with more right.

    More right has what a person said, then the higher object score, less one logit for every
    doubling of the distance from a frame that a person said something on; see
    `FrameMasks.gives_way`. Where both have the same, or a score is missing, neither is a twin, nor
    where a person showed one inside of the other.
    """
    within = shown_within(tracks)
    distances = {key: prompt_distances(frames) for key, frames in tracks.items()}
    on_frame = _by_frame(tracks, lambda frame: frame.is_visible)
    twins: dict[str, list[int]] = {key: [] for key in tracks}
    for index in sorted(on_frame):
        found = on_frame[index]
        is_weaker = _are_weaker(
            np.array([distances[key][index] for key, _ in found]),
            np.array([0.0 if f.is_given else f.object_score_logit for _, f in found]),
        )
        if not is_weaker.any():
            continue
        is_same = _box_ious(np.array([frame.box for _, frame in found])) >= _SAME_BOX
        for key, other in ((found[i][0], found[j][0]) for i, j in np.argwhere(is_weaker & is_same)):
            is_nested = key in within[other] or other in within[key]
            if not is_nested and index not in twins[key][-1:]:
                twins[key].append(index)
    return {key: tuple(frames) for key, frames in twins.items()}


def shown_within(tracks: Mapping[str, Sequence[TrackFrame]]) -> dict[str, list[str]]:
    """Key of each track -> those that a person showed it inside of, the smallest first.

    By their boxes, on frames on which a person said where both are: as a nucleus in its cell.
    """
    on_frame = _by_frame(tracks, lambda frame: frame.is_given and frame.is_visible)
    within: dict[str, dict[str, float]] = {key: {} for key in tracks}
    for index in sorted(on_frame):
        keys = [key for key, _ in on_frame[index]]
        boxes = np.array([frame.box for _, frame in on_frame[index]])
        areas = boxes[:, 2:].prod(axis=-1)
        is_inside = (_shared_areas(boxes) >= _INSIDE * areas[:, None]) & (areas[:, None] < areas)
        for row, other in np.argwhere(is_inside).tolist():
            within[keys[row]].setdefault(keys[other], float(areas[other]))
    return {key: sorted(around, key=around.__getitem__) for key, around in within.items()}


def _by_frame(
    tracks: Mapping[str, Sequence[TrackFrame]], is_meant: Callable[[TrackFrame], bool]
) -> dict[int, list[tuple[str, TrackFrame]]]:
    """Frame index -> those of its tracks that are meant, with their keys."""
    on_frame: defaultdict[int, list[tuple[str, TrackFrame]]] = defaultdict(list)
    for key, frames in tracks.items():
        for frame in frames:
            if is_meant(frame):
                on_frame[frame.frame_index].append((key, frame))
    return on_frame


def _are_weaker(distances: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N, N) which of two has less right: a row than a column."""
    right = np.where(distances > 0, scores - np.log2(np.maximum(distances, 1)), np.inf)
    is_known = ~np.isnan(scores)
    return np.asarray((right[:, None] < right[None]) & is_known[:, None] & is_known[None])


def _box_ious(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, N) IoU of boxes (N, 4), each (x, y, width, height) with an area."""
    common, areas = _shared_areas(boxes), boxes[:, 2:].prod(axis=-1)
    return np.asarray(common / (areas[:, None] + areas[None] - common))


def _shared_areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, N) area that two boxes (x, y, width, height) have in common."""
    first, last = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    low = np.maximum(first[:, None], first[None])
    high = np.minimum(last[:, None], last[None])
    return np.asarray((high - low).clip(min=0).prod(axis=-1))
