"""The smallest network that does everything, and ways to watch a tracker at work."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from sam2_plugins.core.frame_results import FrameResult
from sam2_plugins.core.masks import FrameMasks
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.stored_masks import StoredMask
from sam2_plugins.core.tracker import VideoTracker
from smallest import SMALLEST

TINY = replace(
    SMALLEST,
    follows_motion=True,
    presence_inertia=0.7,
    weak_presence=0.5,
)


COUNTED = ("encode_image", "decode", "with_memory", "encode_memory")


@torch.no_grad()
def make_tiny(seed: int = 13, *, image_size: int | None = None) -> SAM2:
    """Random weights of a size that shows in the output; objects are always there.

    With the default seed masks are neither empty nor full, and what is remembered shows in them.
    """
    model = SAM2(TINY, image_size=image_size)
    generator = torch.Generator().manual_seed(seed)

    def normal(like: Tensor, mean: float, std: float) -> Tensor:
        return mean + std * torch.randn(like.shape, generator=generator)

    for name, weight in model.state_dict().items():
        if name.endswith("gamma"):
            value = normal(weight, 0.5, 0.2)
        elif "gaussian_matrix" in name:
            value = normal(weight, 0, 1)
        elif "." not in name or re.search(r"(embed\w*|_token|_tokens)(\.\d)?(\.weight)?$", name):
            value = normal(weight, 0, 0.5)
        elif weight.ndim == 1 and name.endswith("weight"):
            value = normal(weight, 1, 0.1)
        elif name.endswith("bias"):
            value = normal(weight, 0, 0.1)
        else:
            value = normal(weight, 0, 1 / math.sqrt(weight[0].numel()))
        weight.copy_(value)
    for layer in model.memory_attention.layers:
        for part, scale in (("q_proj", 3), ("k_proj", 3), ("v_proj", 2), ("out_proj", 2)):
            getattr(layer.cross_attn_image, part).weight.mul_(scale)
    model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(6)
    model.sam_mask_decoder.iou_prediction_head.layers[-1].weight.mul_(3)
    return model.eval()


@contextmanager
def counted(model: SAM2) -> Iterator[Counter[str]]:
    """Count the calls of the network's steps; `track` is what only tracked frames need."""
    calls: Counter[str] = Counter()

    def counting(name: str) -> Any:
        step = getattr(model, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return step(*args, **kwargs)

        return call

    with ExitStack() as stack:
        for name in COUNTED:
            stack.enter_context(mock.patch.object(model, name, counting(name)))
        yield calls


@contextmanager
def absent_on(
    tracker: VideoTracker, frames: Iterable[int], *, steps: Sequence[int] = (1, -1)
) -> Iterator[None]:
    """Let the network see no object when it tracks these frames, forward or backward."""
    bias = tracker.model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias
    track = tracker._segmenter.track
    absent = set(frames)

    def call(object_id: int, masklet: Any, frame_index: int, **kwargs: Any) -> Any:
        with torch.no_grad():
            is_absent = frame_index in absent and kwargs["step"] in steps
            bias.fill_(-6 if is_absent else 6)
        try:
            return track(object_id, masklet, frame_index, **kwargs)
        finally:
            with torch.no_grad():
                bias.fill_(6)

    with mock.patch.object(tracker._segmenter, "track", call):
        yield


def frame_result(
    *,
    mask: StoredMask,
    box: tuple[int, int, int, int],
    version: str = "",
    iou: float = 0.9,
    score: float = 10.0,
    step: int = 1,
) -> FrameResult:
    """What tracking may have found of an object on a frame, but for what the network needs."""
    return FrameResult(
        version=version,
        mask=mask,
        predicted_iou=iou,
        object_score_logit=score,
        logits=None,  # type: ignore[arg-type]
        pointer=torch.zeros(1, 1),
        box=box,
        step=step,
    )


def frames_of(results: Iterable[FrameMasks]) -> list[int]:
    """Run a propagation; which frames it gave, in order."""
    return [result.frame_index for result in results]


def masks_of(tracker: VideoTracker) -> np.ndarray:
    """The masks (T, N, H, W) of everything that is tracked in one go."""
    return np.stack([masks.masks for masks in tracker.propagate()])


def assert_session_goes_on(
    begun: VideoTracker, expected: np.ndarray, *, path: Path, stop: int, frames: np.ndarray
) -> None:
    """Tracked up to a frame, saved and loaded, a tracker ends with the masks it would have had."""
    for _ in begun.propagate(stop=stop):
        pass
    begun.save(path)
    loaded = VideoTracker.load(path, make_tiny(), frames)
    rest = {masks.frame_index: masks.masks for masks in loaded.propagate()}
    assert set(range(stop, len(expected))) <= set(rest)
    assert all((masks == expected[frame]).all() for frame, masks in rest.items())


def assert_stream_finds(
    stream: VideoTracker, expected: np.ndarray, *, mask: np.ndarray, frames: np.ndarray
) -> None:
    """Pushed frame by frame, with a mask on the first, it ends with the masks of a whole film."""
    stream.push(frames[0])
    stream.set_mask(0, 1, mask)
    pushed = [stream.push(frame).masks for frame in frames[1:]]
    assert all((masks == expected[frame]).all() for frame, masks in enumerate(pushed, 1))


def everything(
    tracker: VideoTracker, object_ids: Sequence[int] | None = None
) -> dict[tuple[int, int], tuple[bytes, float, float, bytes, bytes]]:
    """All that a tracker knows, by object and frame: mask, scores, logits and pointer.

    Equal dictionaries mean results that are equal to the bit.
    """
    ids = tracker.object_ids if object_ids is None else object_ids
    return {
        (object_id, frame): (
            result.mask.bits,
            result.predicted_iou,
            result.object_score_logit,
            result.logits.read().numpy().tobytes(),
            result.pointer.numpy().tobytes(),
        )
        for object_id in ids
        for frame, result in tracker._store.masklets[object_id].results.items()
    }


def assert_same(first: FrameMasks, second: FrameMasks) -> None:
    """Equal to the bit."""
    assert first.frame_index == second.frame_index
    np.testing.assert_array_equal(first.object_ids, second.object_ids)
    np.testing.assert_array_equal(first.masks, second.masks)
    np.testing.assert_array_equal(first.predicted_iou, second.predicted_iou)
    np.testing.assert_array_equal(first.object_score_logits, second.object_score_logits)


def row(result: FrameMasks, object_id: int) -> FrameMasks:
    """One object of a result."""
    (index,) = np.flatnonzero(result.object_ids == object_id)
    part = slice(index, index + 1)
    return FrameMasks(
        result.frame_index,
        result.object_ids[part],
        result.masks[part],
        result.predicted_iou[part],
        result.object_score_logits[part],
    )
