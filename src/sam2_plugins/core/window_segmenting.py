"""Masks and memories of one object, seen through windows of large planes."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sam2_plugins.core.carrying import WindowCarrier
from sam2_plugins.core.closeups import Extent, move_logits, whole
from sam2_plugins.core.frame_results import FramePrompts, FrameResult
from sam2_plugins.core.masklets import Masklet
from sam2_plugins.core.memory_maps import MemoryMaps
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.motion import MASK_STRIDE
from sam2_plugins.core.placed_masks import PlacedMask
from sam2_plugins.core.prompts import OBJECT, Box, MaskPrompt, Points
from sam2_plugins.core.redrawing import Redrawing
from sam2_plugins.core.rules import Rules
from sam2_plugins.core.segmenting import Segmenter
from sam2_plugins.core.stored_masks import StoredMask, box_of
from sam2_plugins.core.window_features import WindowFeatures
from sam2_plugins.core.windows import Window, fitting_side, is_cut, next_window, window_around

_MARGIN = 1 / 16
"""Clicks so near to a window's edge, as a part of its side, are seen through another window."""


class Question(NamedTuple):
    """What is asked of a segmenter: see `Segmenter.from_prompts`."""

    object_id: int
    masklet: Masklet
    frame_index: int
    prompts: FramePrompts


class WindowSegmenter(Segmenter):
    """Makes `FrameResult`s of the plane from what is seen through windows.

    Args:
        model: In evaluation mode.
        features: Of windows.
        rules: See `Rules`.
        plane: (H, W).
        side: Of the smallest window.
        windows: Through which a result was seen, by its version; written.
        is_stream: See `MemoryMaps`.
    """

    def __init__(
        self,
        model: SAM2,
        features: WindowFeatures,
        *,
        rules: Rules,
        plane: tuple[int, int],
        side: int,
        windows: dict[str, Window],
        is_stream: bool = False,
    ) -> None:
        super().__init__(model, features, rules=rules, frame_size=plane, is_stream=is_stream)
        self.features: WindowFeatures = features
        self.plane = plane
        self.side = side
        self.windows = windows
        self.maps = _WindowMaps(self, features, is_stream=is_stream)
        self.redrawing = Redrawing(
            features, rules, seen_through=lambda result: features.through(self.window_of(result))
        )
        self.carrier = WindowCarrier(
            features, plane, rules=rules, knows=self.redrawing.knows, window_of=self.window_of
        )

    def window_of(self, result: FrameResult) -> Window:
        """The window through which a result was seen; the whole plane if none is known."""
        return self.windows.get(result.version, whole(self.plane))

    def from_prompts(
        self, object_id: int, masklet: Masklet, frame_index: int, prompts: FramePrompts
    ) -> FrameResult:
        """Segment a frame from prompts, through a window that holds the object."""
        for said in one_after_another(masklet.prompts.get(frame_index), prompts):
            result = self._answer_to(Question(object_id, masklet, frame_index, said))
            masklet = masklet.with_prompts(frame_index, said, result)
        return masklet.results[frame_index]

    def _answer_to(self, question: Question) -> FrameResult:
        """Segment a frame after one more stroke."""
        prompts, window = question.prompts, self._choose(question)
        if prompts.base is not None and not _says_anything(seen_through(prompts, window)):
            # All that was said lies outside: what was found before stays.
            return prompts.base
        return self._placed(*self._whole_object(question, window))

    def _whole_object(self, question: Question, window: Window) -> tuple[FrameResult, Window]:
        """Look through a window, or through larger ones until the object fits.

        Returns:
            What is seen, and through which window.
        """
        while True:
            result = self._look(question, window)
            is_given = question.prompts.mask is not None
            if is_given or not is_cut(result.mask.unpack(), window, self.plane):
                return result, window
            box = Window(*result.box).shifted(window.x0, window.y0)
            window = window_around(box, 2 * window.side, self.plane)

    def _look(self, question: Question, window: Window) -> FrameResult:
        """Segment a frame as it is seen through a window."""
        object_id, masklet, frame_index, prompts = question
        seen = seen_through(prompts, window)
        old = masklet.prompts.get(frame_index)
        if old is not None:
            # The same mask stays the same, however it is seen.
            mask = seen.mask if old.mask is prompts.mask else MaskPrompt(np.zeros((0, 0), bool))
            said = {**masklet.prompts, frame_index: replace(seen_through(old, window), mask=mask)}
            masklet = replace(masklet, prompts=said)
        with self._looking(window):
            return super().from_prompts(object_id, masklet, frame_index, seen)

    def track(
        self,
        object_id: int,
        masklet: Masklet,
        frame_index: int,
        *,
        step: int,
        window: range,
        version: str,
    ) -> FrameResult:
        """Segment a frame from memory alone, where the object was on the frame before."""
        near = frame_index - step
        if near not in window or near not in masklet.results:
            near = min(masklet.conditioning_frames, key=lambda frame: abs(frame - frame_index))
        before = masklet.results[near]
        earlier = masklet.found_on_the_way(near - step, step=step, window=window)
        side = self._smallest_side(before, earlier)
        place = next_window(self.window_of(before), before.box, side, self.plane)
        with self._looking(place):
            result = super().track(
                *(object_id, masklet, frame_index), step=step, window=window, version=version
            )
        result = self._placed(result, place)
        # Remembered while the window's features are at hand: other objects' windows come next.
        self.maps.get(object_id, frame_index, result, hard=False)
        return result

    def _smallest_side(self, before: FrameResult, earlier: FrameResult | None) -> int:
        """Of the window for the next frame, from the last two results of an object."""
        return self.side

    @contextmanager
    def _looking(self, window: Window) -> Iterator[None]:
        self.frame_size = window.size
        try:
            with self.features.through(window):
                yield
        finally:
            self.frame_size = self.plane

    def _choose(self, question: Question) -> Window:
        """The window to look through first."""
        _, masklet, frame_index, prompts = question
        known = masklet.results.get(frame_index)
        seen = None if known is None else self.window_of(known)
        said = extent_of_prompts(prompts)
        if said is None and seen is not None:
            return seen
        if prompts.box is not None or prompts.mask is not None:
            said = said or (0, 0, 0, 0)
            return window_around(said, fitting_side(said, self.side, self.plane), self.plane)
        if said is None:
            said = union([(*xy, *xy) for stroke in prompts.strokes for xy in stroke.xy])
        if seen is not None and seen.holds(said, margin=_MARGIN * seen.side):
            return seen
        # As large as the object was elsewhere.
        near = next(tracked_near(masklet, frame_index), None)
        side = 0 if near is None else self.window_of(near).side
        side = max(side, fitting_side(said, self.side, self.plane))
        return window_around(said, side, self.plane)

    def _logits_of(self, result: FrameResult) -> Tensor:
        """See `Segmenter._logits_of`; they may have been seen through another window."""
        logits = super()._logits_of(result)
        return self._moved(logits, self.window_of(result), self.features.window)

    def _moved(self, logits: Tensor, before: Window, window: Window) -> Tensor:
        """Logits seen through one window, as they are seen through another."""
        with self.features.through(window):
            num_cells = self.features.side // MASK_STRIDE
        return move_logits(logits, before, window, num_cells=num_cells)

    def _placed(self, result: FrameResult, window: Window) -> FrameResult:
        """A result seen through a window as one of the plane."""
        box, version = Window(*result.box), result.version
        if not result.step:
            # The same may be seen through two windows of an even plane, and yet is not the same.
            name = f"{version} {tuple(window)}"
            version = hashlib.sha256(name.encode()).hexdigest()[:32]
        self.windows[version] = window
        mask = PlacedMask.place(result.mask.unpack(), window, box, self.plane)
        return replace(result, mask=mask, box=(*mask.window,), version=version)


class _WindowMaps(MemoryMaps):
    """Memory maps, each encoded through the window that its result was seen through."""

    def __init__(
        self, segmenter: WindowSegmenter, features: WindowFeatures, *, is_stream: bool
    ) -> None:
        super().__init__(segmenter.model, features, rules=segmenter.rules, is_stream=is_stream)
        self._segmenter = segmenter
        self._windows = features

    def get(self, object_id: int, frame_index: int, result: FrameResult, *, hard: bool) -> Tensor:
        """The memory map of a result; see `MemoryMaps.get`."""
        window = self._segmenter.window_of(result)
        if result.is_given:
            seen = np.ascontiguousarray(result.mask.unpack()[window.slices])
            result = replace(result, mask=StoredMask.pack(seen))
        with self._windows.through(window):
            return super().get(object_id, frame_index, result, hard=hard)


def one_after_another(old: FramePrompts | None, prompts: FramePrompts) -> Iterator[FramePrompts]:
    """Prompts as if each stroke had come alone: its window is where those before have led."""
    if prompts.extend(old):
        first = len(old.strokes) + 1
    else:
        first = int(prompts.box is None and prompts.mask is None)
    for count in range(first, len(prompts.strokes) + 1):
        yield replace(prompts, strokes=prompts.strokes[:count])


def _says_anything(prompts: FramePrompts) -> bool:
    return bool(prompts.strokes) or prompts.box is not None or prompts.mask is not None


def seen_through(prompts: FramePrompts, window: Window) -> FramePrompts:
    """Prompts in pixels of a window; clicks on the background outside it say nothing there."""
    x, y = window.x0, window.y0
    strokes = []
    for stroke in prompts.strokes:
        kept = [
            ((px - x, py - y), label)
            for (px, py), label in zip(stroke.xy, stroke.labels, strict=True)
            if label == OBJECT or window.holds((px, py, px, py))
        ]
        if kept:
            strokes.append(Points(tuple(xy for xy, _ in kept), tuple(label for _, label in kept)))
    box, mask = prompts.box, prompts.mask
    return replace(
        prompts,
        strokes=tuple(strokes),
        box=None if box is None else Box(box.x0 - x, box.y0 - y, box.x1 - x, box.y1 - y),
        mask=None if mask is None else MaskPrompt(np.ascontiguousarray(mask.mask[window.slices])),
    )


def tracked_near(masklet: Masklet, frame_index: int) -> Iterator[FrameResult]:
    """What tracking has found of an object, the nearest frames first.

    Not what prompts have made of it since, nor what they alone have found: an answer would depend
    on the order in which frames were prompted.
    """
    for frame in sorted(masklet.results, key=lambda frame: (abs(frame - frame_index), frame)):
        result, prompts = masklet.results[frame], masklet.prompts.get(frame)
        found = result if prompts is None else prompts.base
        if found is not None:
            yield found


def extent_of_prompts(prompts: FramePrompts) -> Extent | None:
    """What surely belongs to the object, as a box; None if nothing does."""
    boxes: list[Extent] = []
    if prompts.mask is not None and (found := _box_of(prompts.mask.mask)) is not None:
        boxes.append(found)
    if prompts.box is not None:
        boxes.append((*prompts.box.corners[0], *prompts.box.corners[1]))
    for stroke in prompts.strokes:
        boxes += [(*xy, *xy) for xy in stroke.on_object]
    return union(boxes) if boxes else None


def _box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    box = box_of(mask)
    return box if any(box) else None


def union(boxes: Sequence[Extent]) -> Extent:
    """The box around boxes."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)
