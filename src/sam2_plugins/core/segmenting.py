"""One object on one frame: from its prompts, or from what is remembered of it."""

import hashlib
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from sam2_plugins.core.carrying import Carried, Carrier
from sam2_plugins.core.features import FeatureStore
from sam2_plugins.core.frame_results import FramePrompts, FrameResult
from sam2_plugins.core.heeded_prompts import Statement
from sam2_plugins.core.logits_file import LogitsFile
from sam2_plugins.core.masklets import Masklet
from sam2_plugins.core.masks import fill_holes, resize_logits
from sam2_plugins.core.memory import (
    past_conditioning,
    pointer_frames,
    select_conditioning,
)
from sam2_plugins.core.memory_maps import MemoryMaps
from sam2_plugins.core.mending import agreeing_answer
from sam2_plugins.core.mirrors import View, decode_views
from sam2_plugins.core.model.mask_decoder import Decoding
from sam2_plugins.core.model.sam2 import SAM2, MapMemory, PointerMemory, Segmentation
from sam2_plugins.core.model.values import LOGIT_LIMIT
from sam2_plugins.core.motion import decode_carried
from sam2_plugins.core.prompts import Points
from sam2_plugins.core.redrawing import Redrawing
from sam2_plugins.core.rules import Rules
from sam2_plugins.core.staying import judge_presence
from sam2_plugins.core.stored_masks import StoredMask, box_of
from sam2_plugins.core.transforms import mask_to_model, prompts_to_model


class Segmenter:
    """Makes `FrameResult`s.

    Args:
        model: In evaluation mode.
        features: Of the frames.
        rules: See `Rules`.
        frame_size: (H, W) of the original frames.
        is_stream: See `MemoryMaps`.
    """

    def __init__(
        self,
        model: SAM2,
        features: FeatureStore,
        *,
        rules: Rules,
        frame_size: tuple[int, int],
        is_stream: bool = False,
    ) -> None:
        self.model = model
        self.features = features
        self.rules = rules
        self.frame_size = frame_size
        self.logits_file = LogitsFile(torch.float32 if rules.exact else torch.float16)
        self.maps = MemoryMaps(model, features, rules=rules, is_stream=is_stream)
        self.redrawing = Redrawing(features, rules, seen_through=lambda _: nullcontext())
        self.carrier = Carrier(features, frame_size, rules=rules, knows=self.redrawing.knows)

    @torch.inference_mode()
    def from_prompts(
        self, object_id: int, masklet: Masklet, frame_index: int, prompts: FramePrompts
    ) -> FrameResult:
        """Segment a frame from prompts; where tracking was there before, on top of what it found.

        Clicks that only add to the frame's earlier prompts continue from the earlier result; of
        prompts that others take the place of, the masklet must know nothing.
        """
        old = masklet.prompts.get(frame_index)
        base: FrameResult | None
        if prompts.extend(old):
            base, strokes = masklet.results[frame_index], prompts.strokes[len(old.strokes) :]
            seen = Points((), ()) if old.points is None else old.points
        elif prompts.mask is not None:
            base, strokes, seen = self._adopt(frame_index, prompts), prompts.strokes, Points((), ())
        else:
            base, strokes, seen = prompts.base, prompts.strokes, Points((), ())
            if prompts.box is not None:
                strokes = (Points((), ()), *strokes)
        if not strokes:
            assert base is not None
            return base
        segmentation = self._decode_strokes(
            object_id, masklet, frame_index, prompts, base=base, strokes=strokes, seen=seen
        )
        return self._result(segmentation, frame_index, version=None, step=0)

    @torch.inference_mode()
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
        """Segment a frame from memory alone.

        Args:
            object_id: The object.
            masklet: Its prompts and results so far.
            frame_index: The frame.
            step: 1 walking forward, -1 walking backward.
            window: The frames whose results may be remembered.
            version: Of the result.
        """
        conditioned = self._recall(object_id, masklet, frame_index, step=step, window=window)
        carried, features = Carried(), self.features.get(frame_index)
        if self.rules.follows_motion:
            carried = self.carrier.carry(object_id, masklet, frame_index, step=step, window=window)
        decoding = decode_carried(
            *(self.model, features, conditioned, carried.logits), stays_near=carried.is_unknown
        )
        if frame_index - step in window:
            decoding = self.redrawing.redraw(decoding, masklet, frame_index, step=step)
        decoding = judge_presence(
            *(decoding, self.rules),
            masklet=masklet,
            walk=(frame_index, step, window),
            likeness=carried.likeness,
            knows=self.redrawing.knows,
            is_found_again=carried.is_found_again,
            size=self.frame_size,
        )
        segmentation = self.model.summarise(decoding)
        return self._result(segmentation, frame_index, version=version, step=step)

    def _adopt(self, frame_index: int, prompts: FramePrompts) -> FrameResult:
        """The result of a mask prompt: the mask itself."""
        assert prompts.mask is not None
        mask = prompts.mask.mask
        tensor = mask_to_model(mask, self.features.side)[None].to(self.model.device)
        segmentation = self.model.adopt_masks(self.features.get(frame_index), tensor)
        result = self._result(segmentation, frame_index, version=None, step=0)
        if self.rules.exact:
            return result
        # Masks that differ in a pixel may have the same low-res logits.
        version = hashlib.sha256(result.version.encode() + mask.tobytes()).hexdigest()[:32]
        return replace(
            result, version=version, mask=StoredMask.pack(mask), box=box_of(mask), is_given=True
        )

    def _decode_strokes(
        self,
        object_id: int,
        masklet: Masklet,
        frame_index: int,
        prompts: FramePrompts,
        *,
        base: FrameResult | None,
        strokes: tuple[Points, ...],
        seen: Points,
    ) -> Segmentation:
        """Decode group after group of clicks, each on top of the mask before it."""
        segmentation: Segmentation
        views = self._views(object_id, masklet, frame_index, prompts)
        previous = None if base is None else self._filled(self._logits_of(base))
        for stroke in strokes:
            seen = Points(seen.xy + stroke.xy, seen.labels + stroke.labels)
            points, labels = prompts_to_model(
                seen, prompts.box, image_size=self.frame_size, size=self.features.side
            )
            limited = None if previous is None else previous.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
            decoding = decode_views(
                *(self.model, views),
                points=points.to(self.model.device),
                point_labels=labels.to(self.model.device),
                mask_logits=limited,
                multimask=points.shape[1] <= 1,
            )
            if prompts.base is None:
                decoding = self._meant(decoding, frame_index, seen)
            segmentation = self.model.summarise(decoding)
            is_new_box = prompts.box is not None and not stroke.xy
            goes_on = limited is not None
            said = Statement(points[0].tolist(), labels[0].tolist(), goes_on, is_new_box)
            before = limited if prompts.mend_a_mask else None
            if self.rules.heeds_prompts and said.says_more:
                picture = self.features.read(frame_index)
                segmentation = agreeing_answer(segmentation, picture, said, before=before)
            # Rounded as they are stored, so that the next click sees the same in a later call.
            filled = self._filled(self.logits_file.round(segmentation.low_res_logits))
            previous = self.logits_file.round(filled)
            segmentation = segmentation._replace(low_res_logits=previous)
        return segmentation

    def _views(
        self, object_id: int, masklet: Masklet, frame_index: int, prompts: FramePrompts
    ) -> list[View]:
        """What prompts are decoded from: with memory where tracking had found something."""
        features = self.features.get(frame_index)
        if prompts.base is None:
            return [View(features, self.model.without_memory(features))]
        conditioned = self._recall(
            *(object_id, masklet, frame_index),
            step=prompts.base.step or 1,
            window=range(max(masklet.results, default=0) + 1),
        )
        return [View(features, conditioned)]

    def _meant(self, decoding: Decoding, frame_index: int, clicks: Points) -> Decoding:
        """Of masks that answer a click without memory, those that may be meant: all of them."""
        return decoding

    def _logits_of(self, result: FrameResult) -> Tensor:
        """The logits that clicks on a frame go on from."""
        return result.logits.read()

    def _recall(
        self, object_id: int, masklet: Masklet, frame_index: int, *, step: int, window: range
    ) -> Tensor:
        """Features of a frame, conditioned on what is remembered of an object."""
        rule = self.rules.memory
        conditioning = masklet.conditioning_frames
        selected = select_conditioning(frame_index, conditioning, rule.max_conditioning_frames)
        results, device = masklet.results, self.model.device

        def recent(frame: int) -> FrameResult | None:
            if frame in selected or frame == frame_index:
                return None
            return masklet.found_on_the_way(frame, step=step, window=window)

        maps = [
            MapMemory(self.maps.get(object_id, frame, results[frame], hard=True), 0)
            for frame in selected
        ]
        for frame, age in self.rules.remembered(
            frame_index, step, find=recent, prompted=conditioning
        ):
            if (result := recent(frame)) is not None:
                hard = frame in conditioning
                maps.append(MapMemory(self.maps.get(object_id, frame, result, hard=hard), age))
        pointers = [
            PointerMemory(results[frame].pointer.to(device), (frame_index - frame) * step)
            for frame in past_conditioning(frame_index, step, selected)
        ]
        for frame in pointer_frames(frame_index, step, rule.max_pointers):
            if (result := recent(frame)) is not None:
                pointers.append(PointerMemory(result.pointer.to(device), abs(frame_index - frame)))
        features = self.features.get(frame_index)
        if not maps:
            return self.model.without_memory(features)
        self.maps.trim(object_id)
        maps = [m._replace(features=_on_grid(m.features, features.grid)) for m in maps]
        return self.model.with_memory(
            features,
            maps=maps,
            pointers=pointers,
            max_pointers=rule.max_pointers,
            prepared=self.features.prepared(frame_index),
        )

    def _filled(self, logits: Tensor) -> Tensor:
        """(1, 1, 4 h, 4 w) logits with small holes filled."""
        logits = logits.to(self.model.device)
        area = self.rules.fill_hole_area
        return fill_holes(logits[0], area)[None] if area else logits

    def _result(
        self, segmentation: Segmentation, frame_index: int, *, version: str | None, step: int
    ) -> FrameResult:
        """Store a segmentation. Without a version, the result's content is its version."""
        logits = self.logits_file.round(segmentation.low_res_logits)
        mask = (resize_logits(self._filled(logits)[0], self.frame_size)[0] > 0).cpu().numpy()
        pointer = segmentation.object_pointers.float().cpu()
        scores = segmentation.object_score_logits, segmentation.predicted_iou
        score, iou = (float(value[0]) for value in scores)
        if version is None:
            digest = hashlib.sha256(repr((frame_index, score, iou)).encode())
            digest.update(logits.cpu().numpy().tobytes())
            digest.update(pointer.numpy().tobytes())
            version = digest.hexdigest()[:32]
        return FrameResult(
            version=version,
            mask=StoredMask.pack(mask),
            predicted_iou=iou,
            object_score_logit=score,
            logits=self.logits_file.append(logits),
            pointer=pointer,
            box=box_of(mask),
            step=step,
        )


def _on_grid(memory: Tensor, grid: tuple[int, int]) -> Tensor:
    """A memory map (1, C, h, w) on another grid (h, w): windows of two sizes have two."""
    if memory.shape[-2:] == grid:
        return memory
    return functional.interpolate(memory.float(), size=grid, mode="bilinear").to(memory.dtype)
