"""Masks of prompted frames, seen from as near as `ImagePredictor` sees them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_plugins.core.choosing import Candidate, choose
from sam2_plugins.core.closeups import (
    Extent,
    ladder,
    whole,
    window_for,
)
from sam2_plugins.core.frame_results import FramePrompts, FrameResult
from sam2_plugins.core.heeded_prompts import Statement
from sam2_plugins.core.masklets import Masklet
from sam2_plugins.core.masks import resize_logits
from sam2_plugins.core.mirrors import View
from sam2_plugins.core.model.mask_decoder import Decoding
from sam2_plugins.core.model.sam2 import Segmentation
from sam2_plugins.core.prompts import Points
from sam2_plugins.core.review import box_iou
from sam2_plugins.core.second_looks import clicked_pieces
from sam2_plugins.core.transforms import prompts_to_model, tensor_to_rgb
from sam2_plugins.core.window_segmenting import (
    Question,
    WindowSegmenter,
    extent_of_prompts,
    one_after_another,
    seen_through,
    tracked_near,
    union,
)
from sam2_plugins.core.windows import Window, fitting_side, window_around

_FAST = 1 / 7
"""An object that moves by more than this part of its window's side, from one frame to the next,
is followed through a larger one."""
_STEP = 2.5
"""Of the ladder of windows for a first click: coarser than for images, as somebody waits."""
_SURER, _SPREAD = 0.1, 2.5
"""Where an object was lost, what is seen with memory is believed if its predicted IoU is higher by
so much than that of what is seen afresh, and it is not larger than so many times that: memory that
has lost an object spreads over everything. Measured with nano on held-out clips and on stacks."""
_LEAST_COMMON = 0.5
"""IoU of the box around a mask, and of one that is drawn where tracking had found it, from which on
the mask is to be mended and not to be forgotten."""
TRACKING_SIDE = 128
"""Pixels of the smallest window that an object is followed through. Measured with nano on held-out
clips: in smaller ones it is lost more often, in larger ones seen less well."""


class CloseupSegmenter(WindowSegmenter):
    """Segments from prompts through windows as close as can be; tracks through larger ones.

    For models that see small objects best from near, see `core.closeups`. What is found so becomes
    the mask of the frame, to the pixel, as if a person had given it; it is remembered as seen
    through the larger window, as all that is tracked.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._is_mirrored = False

    def from_prompts(
        self, object_id: int, masklet: Masklet, frame_index: int, prompts: FramePrompts
    ) -> FrameResult:
        """See `Segmenter.from_prompts`; corrections are made where the tracker looked."""
        if _is_drawn_elsewhere(prompts):
            prompts = replace(prompts, base=None)
        base = prompts.base
        if prompts.mask is not None or (base is not None and any(base.box)):
            return super().from_prompts(object_id, masklet, frame_index, prompts)
        for said in one_after_another(masklet.prompts.get(frame_index), prompts):
            question = Question(object_id, masklet, frame_index, said)
            result = self._answer(question) if base is None else self._found_again(question)
            masklet = masklet.with_prompts(frame_index, said, result)
        return masklet.results[frame_index]

    def _found_again(self, question: Question) -> FrameResult:
        """Segment a frame on which tracking had lost the object.

        There is no mask to correct, and memory has led astray; so it is looked for as on a first
        frame, unless memory helps much after all.
        """
        remembered = super().from_prompts(*question)
        if extent_of_prompts(question.prompts) is None:
            return remembered
        anew = self._answer(question._replace(prompts=replace(question.prompts, base=None)))
        is_surer = remembered.predicted_iou > anew.predicted_iou + _SURER
        areas = [int(result.mask.unpack().sum()) for result in (remembered, anew)]
        return remembered if is_surer and 0 < areas[0] <= _SPREAD * areas[1] else anew

    def _answer(self, question: Question) -> FrameResult:
        """Segment a frame after one more click."""
        windows = self._near(question)
        if len(windows) == 1:
            with self._in_mirrors():
                result, window = self._whole_object(question, windows[0])
        else:
            # The mirror images of many windows would take too long for a first click.
            looks = [(self._look(question, window), window) for window in windows]
            result, window = looks[self._chosen(question, looks)]
        result = self._of_clicked_pieces(question, result, window)
        return self._followed(self._drawn_anew(question, result, window), window)

    def _drawn_anew(self, question: Question, result: FrameResult, window: Window) -> FrameResult:
        """What prompts alone have found, drawn anew where that is to be trusted."""
        prompts = question.prompts
        seen = seen_through(prompts, window)
        with self._looking(window):
            points, labels = prompts_to_model(
                *(seen.points or Points((), ()), seen.box),
                image_size=window.size,
                size=self.features.side,
            )
            said = Statement(points[0].tolist(), labels[0].tolist(), False, prompts.box is not None)
            found = result.logits.read()
            logits = self.redrawing.redraw_answer(found, question.frame_index, said)
            if logits is None:
                return result
            return self._with_logits(result, logits, question.frame_index)

    def _of_clicked_pieces(
        self, question: Question, result: FrameResult, window: Window
    ) -> FrameResult:
        """What clicks alone found, without the pieces that none of them is on."""
        prompts = question.prompts
        if prompts.box is not None or prompts.points is None:
            return result
        logits = result.logits.read()
        clicked = clicked_pieces(logits, prompts.points.on_object, window)
        if clicked is logits:
            return result
        with self._looking(window):
            return self._with_logits(result, clicked, question.frame_index)

    def _with_logits(self, result: FrameResult, logits: Tensor, frame_index: int) -> FrameResult:
        """A result of prompts alone with another mask, as it is looked at now."""
        iou, score = (
            torch.tensor([value]) for value in (result.predicted_iou, result.object_score_logit)
        )
        seen = Segmentation(logits, iou, score, result.pointer)
        return self._result(seen, frame_index, version=None, step=0)

    @contextmanager
    def _in_mirrors(self) -> Iterator[None]:
        self._is_mirrored = True
        try:
            yield
        finally:
            self._is_mirrored = False

    def _views(
        self, object_id: int, masklet: Masklet, frame_index: int, prompts: FramePrompts
    ) -> list[View]:
        if self._is_mirrored:
            return self.features.mirrored(frame_index)
        return super()._views(object_id, masklet, frame_index, prompts)

    def _smallest_side(self, before: FrameResult, earlier: FrameResult | None) -> int:
        """An object that moves fast would soon be lost in a small window."""
        side = self.side
        if earlier is None or not any(before.box) or not any(earlier.box):
            return side
        # Twice the way of the middle, without halves.
        way = max(abs(sum(before.box[axis::2]) - sum(earlier.box[axis::2])) for axis in (0, 1))
        while way > 2 * _FAST * side and side < max(self.plane):
            side *= 2
        return side

    def _near(self, question: Question) -> list[Window]:
        """Windows to look through: several where nothing tells the object's size."""
        _, masklet, frame_index, prompts = question
        old, known = masklet.prompts.get(frame_index), masklet.results.get(frame_index)
        said = extent_of_prompts(prompts)
        goes_on = prompts.extend(old)
        if goes_on and known is not None and any(known.box):
            return [window_for(union([known.box, *([said] if said else [])]), self.plane)]
        if said is None:
            return [whole(self.plane)]
        if prompts.box is not None:
            return [window_for(said, self.plane)]
        found = next((r.box for r in tracked_near(masklet, frame_index) if any(r.box)), None)
        if found is not None:
            size = max(found[2] - found[0], found[3] - found[1])
            return [window_for(_grown(said, size), self.plane)]
        return ladder(said, self.plane, step=_STEP)

    def _chosen(self, question: Question, looks: list[tuple[FrameResult, Window]]) -> int:
        points = question.prompts.points
        assert points is not None
        candidates = []
        for result, window in looks:
            mask, logits = result.mask.unpack(), result.logits.read()[0, 0].float().numpy()
            with self._looking(window):
                picture = self._picture(question.frame_index, side=len(logits))
            iou = result.predicted_iou
            candidates.append(Candidate(mask, window, logits, picture, iou, is_best=True))
        return self._best(candidates, points.on_object, question.frame_index)

    def _best(
        self, candidates: list[Candidate], clicks: list[tuple[float, float]], frame_index: int
    ) -> int:
        read = partial(self.features.pixels, frame_index)
        return choose(candidates, clicks, plane=self.plane, read=read)

    def _picture(self, frame_index: int, *, side: int) -> NDArray[np.uint8]:
        """What is seen of a frame through the window, (side, side, 3)."""
        return tensor_to_rgb(self.features.read(frame_index), side=side)

    def _meant(self, decoding: Decoding, frame_index: int, clicks: Points) -> Decoding:
        """The mask that is meant, of those seen through one window; see `core.choosing`."""
        if decoding.predicted_iou.shape[1] == 1 or not clicks.on_object:
            return decoding
        window, low_res = self.features.window, decoding.low_res_logits[0]
        picture = self._picture(frame_index, side=low_res.shape[-1])
        masks = (resize_logits(low_res, window.size) > 0).cpu().numpy()
        scores = decoding.predicted_iou[0].tolist()
        candidates = [
            Candidate(mask, window, logits, picture, score, is_best=score == max(scores))
            for mask, logits, score in zip(masks, low_res.cpu().numpy(), scores, strict=True)
        ]
        on_object = [(x + window.x0, y + window.y0) for x, y in clicks.on_object]
        row = [self._best(candidates, on_object, frame_index)]
        return decoding._replace(
            low_res_logits=decoding.low_res_logits[:, row],
            predicted_iou=decoding.predicted_iou[:, row],
            tokens=decoding.tokens[:, row],
        )

    def _followed(self, result: FrameResult, window: Window) -> FrameResult:
        """What was seen from near, as the tracker goes on with it."""
        placed = self._placed(result, window)
        box = placed.box if any(placed.box) else window
        larger = window_around(box, fitting_side(box, self.side, self.plane), self.plane)
        if larger == window:
            return placed
        logits = self.logits_file.round(self._moved(result.logits.read(), window, larger))
        self.windows[placed.version] = larger
        return replace(placed, logits=self.logits_file.append(logits), is_given=True)


def _is_drawn_elsewhere(prompts: FramePrompts) -> bool:
    """Whether a box says that what tracking had found is not the object: nothing of it counts."""
    box, base = prompts.box, prompts.base
    if box is None or base is None:
        return False
    return box_iou(base.box, (box.x0, box.y0, box.x1, box.y1)) < _LEAST_COMMON


def _grown(extent: Extent, size: float) -> Extent:
    """An extent made as large as the object is, with the same middle."""
    grown = []
    for low, high in (extent[0::2], extent[1::2]):
        half = max(high - low, size) / 2
        grown.append(((low + high) / 2 - half, (low + high) / 2 + half))
    (x0, x1), (y0, y1) = grown
    return x0, y0, x1, y1
