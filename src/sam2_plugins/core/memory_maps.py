"""The memory maps that were encoded: a bounded number of each object, made again when needed."""

from collections import OrderedDict
from typing import TypeAlias

import torch
from torch import Tensor

from sam2_plugins.core.features import FeatureStore
from sam2_plugins.core.frame_results import FrameResult
from sam2_plugins.core.masks import fill_holes
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.rules import Rules
from sam2_plugins.core.transforms import mask_to_model

_SPARE_MAPS = 4

MapKey: TypeAlias = tuple[int, str, bool]
"""Frame, version of its result, and whether the mask was binarised."""


class MemoryMaps:
    """Memory maps by object, frame and result, encoded when first asked for.

    Args:
        model: Encodes.
        features: Of the frames.
        rules: How many a frame attends to.
        is_stream: Frames pass and cannot be encoded again: memories of prompts are made at once,
            and stay.
    """

    def __init__(
        self, model: SAM2, features: FeatureStore, *, rules: Rules, is_stream: bool
    ) -> None:
        self.model = model
        self.features = features
        self.rules = rules
        self.is_stream = is_stream
        self._maps: dict[int, OrderedDict[MapKey, Tensor]] = {}

    def __len__(self) -> int:
        return sum(len(maps) for maps in self._maps.values())

    @torch.inference_mode()
    def get(self, object_id: int, frame_index: int, result: FrameResult, *, hard: bool) -> Tensor:
        """The memory map (1, memory_dim, h, w) of a result.

        It is always encoded from the logits as stored, so that it comes out the same however
        often it is encoded.

        Args:
            object_id: The object.
            frame_index: The frame.
            result: Of the object on that frame.
            hard: Binarise the mask, as for frames with prompts.
        """
        key = (frame_index, result.version, hard)
        maps = self._maps.setdefault(object_id, OrderedDict())
        if key not in maps:
            device = self.model.device
            encoded = self.model.encode_memory(
                self.features.get(frame_index),
                self._logits(result, hard=hard).to(device),
                torch.tensor([result.object_score_logit], device=device),
                hard=hard,
            )
            # The published implementation rounds memories so, also in float32 runs.
            maps[key] = encoded.to(torch.bfloat16)
        maps.move_to_end(key)
        return maps[key]

    def remember(self, object_id: int, frame_index: int, result: FrameResult) -> None:
        """Encode the memory of a frame with prompts now, if the frame will pass."""
        if self.is_stream:
            self.get(object_id, frame_index, result, hard=True)

    def forget(self, object_id: int) -> None:
        """Drop the maps of an object; those of a stream's prompts stay, for `undo`."""
        self._drop_all_but(object_id, 0)

    def trim(self, object_id: int) -> None:
        """Keep as many maps of an object as a frame can attend to, and a few."""
        memory = self.rules.memory
        conditioning = memory.max_conditioning_frames
        if conditioning is None:
            conditioning = len({frame for frame, _, hard in self._maps[object_id] if hard})
        span = memory.memory_frames * memory.memory_stride
        self._drop_all_but(object_id, span + conditioning + _SPARE_MAPS)

    def _drop_all_but(self, object_id: int, count: int) -> None:
        """Drop the maps of an object that were not used for longest."""
        maps = self._maps.get(object_id, OrderedDict())
        can_go = [key for key in maps if not (self.is_stream and key[2])]
        for key in can_go[: max(len(can_go) - count, 0)]:
            del maps[key]

    def _logits(self, result: FrameResult, *, hard: bool) -> Tensor:
        """The mask that is remembered, as logits (1, 1, 4 h, 4 w) or (1, 1, S, S)."""
        if result.is_given:
            return (mask_to_model(result.mask.unpack(), self.features.side) * 2 - 1)[None]
        logits = result.logits.read()
        return fill_holes(logits, self.rules.fill_hole_area) if hard else logits
