"""Objects of kinds that the networks do not know, followed by what their cells look like."""

from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from torch import Tensor

from sam2_plugins.core.features import FeatureStore
from sam2_plugins.core.finding_again import find_again
from sam2_plugins.core.frame_results import FrameResult
from sam2_plugins.core.label_propagation import (
    LABEL_REACH,
    LabelledView,
    describe_cells,
    propagate_labels,
)
from sam2_plugins.core.masklets import Masklet
from sam2_plugins.core.windows import Window

_KEPT = LABEL_REACH + 3
"""Frames kept of which cells are asked: those before, the one where it set out, and the one that
asks, which comes in before the last of them may go."""


class Sees(Protocol):
    """Who knows what frames and results are seen through."""

    @property
    def features(self) -> FeatureStore:
        """Of the frames."""

    @property
    def window(self) -> Window:
        """What a frame is seen through now."""

    def window_of(self, result: FrameResult) -> Window:
        """What a result was seen through."""

    def seen_through(self, result: FrameResult) -> AbstractContextManager[None]:
        """Lets `features` look through what a result was seen through."""


class CellFollower:
    """Remembers what the cells of objects looked like on the last frames.

    Args:
        sees: What is looked through.
    """

    def __init__(self, sees: Sees) -> None:
        self._sees = sees
        self._cells: dict[int, OrderedDict[tuple[int, Window], Tensor]] = {}

    def find_again(
        self, object_id: int, masklet: Masklet, carried: Tensor, frame_index: int, *, start: int
    ) -> Tensor | None:
        """Where an object is that was lost, see `finding_again`.

        Args:
            object_id: The object.
            masklet: Its results so far.
            carried: (1, 1, 4 h, 4 w) low-res logits; empty if it was away before.
            frame_index: The frame.
            start: Where a person has said what the object is.

        Returns:
            Like `carried`; None if it was not lost, or is not found.
        """
        said = self._labelled(object_id, start, masklet.results[start])
        here = self._here(object_id, frame_index, carried)
        found = find_again(here, said)
        if found is None:
            return None
        return propagate_labels(here._replace(logits=found), [], start=said)

    def relabel(
        self,
        object_id: int,
        masklet: Masklet,
        carried: Tensor,
        *,
        walk: tuple[int, int, range],
        start: int,
    ) -> Tensor:
        """A carried mask, moved towards what its cells are most like; see `label_propagation`.

        Args:
            object_id: The object.
            masklet: Its results so far.
            carried: (1, 1, 4 h, 4 w) low-res logits.
            walk: (frame index, step, window), as in `Segmenter.track`.
            start: Where a person has said what the object is.
        """
        frame_index, step, window = walk
        here = self._here(object_id, frame_index, carried)
        views = [
            self._labelled(object_id, frame, result)
            for frame in range(frame_index - step, start, -step)[:LABEL_REACH]
            if (result := masklet.found_on_the_way(frame, step=step, window=window)) is not None
        ]
        said = self._labelled(object_id, start, masklet.results[start])
        return propagate_labels(here, views, start=said)

    def forget(self, object_id: int) -> None:
        """Drop what is known of an object."""
        self._cells.pop(object_id, None)

    def _here(self, object_id: int, frame_index: int, logits: Tensor) -> LabelledView:
        """A frame as it is seen now, with a mask."""
        window = self._sees.window
        cells = self._described(object_id, frame_index, window, through=nullcontext())
        return LabelledView(cells, logits, window)

    def _labelled(self, object_id: int, frame_index: int, result: FrameResult) -> LabelledView:
        """A frame as a result on it was seen, with its mask."""
        window, through = self._sees.window_of(result), self._sees.seen_through(result)
        cells = self._described(object_id, frame_index, window, through=through)
        return LabelledView(cells, result.logits.read(), window)

    def _described(
        self,
        object_id: int,
        frame_index: int,
        window: Window,
        *,
        through: AbstractContextManager[None],
    ) -> Tensor:
        """What the cells of a frame are compared by, seen through a window; kept for a while."""
        kept, key = self._cells.setdefault(object_id, OrderedDict()), (frame_index, window)
        if key not in kept:
            with through:
                features = self._sees.features
                kept[key] = describe_cells(features.read(frame_index), features.get(frame_index))
        kept.move_to_end(key)
        while len(kept) > _KEPT:
            kept.popitem(last=False)
        return kept[key]
