"""How a picture moved since the one before, and masks carried along.

A mask moved by optical flow is a first guess of where the object is, to be mended by the network.
It is given to the decoder as the mask of the frame, as the mask before a click is, and added to
what the decoder says. The published models were not trained for that; a small one, trained so, need
not learn to measure motion.
"""

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sam2_plugins.core.model.layers import sample_within
from sam2_plugins.core.model.mask_decoder import Decoding
from sam2_plugins.core.model.sam2 import SAM2, ImageFeatures
from sam2_plugins.core.model.values import LOGIT_LIMIT
from sam2_plugins.core.windows import Window

MASK_STRIDE = 4
"""Pixels of the model's input per cell of low-res logits."""
_FLOW_SIDE = 256, 512
"""Least and most of what flow is measured at: smaller pictures are enlarged, larger ones shrunk."""
TRUST = 6.0
"""Logits that a carried mask enters the sum with, at most; certain, and yet not unshakeable."""
_SMOOTHNESS = 5.0
"""Weight of smooth motion in the flow. OpenCV's 20 drags what is around an object along with it:
with nano, on clips made of held-out images, 2 to 10 are better than it, and 60 is worse."""
_MENDING = 0.25
"""What the network's own logits count in the sum."""


def measure_motion(picture: NDArray[np.uint8], previous: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Where each cell of a picture was on the one before, by DIS optical flow (Kroeger, 2016).

    Args:
        picture: (S, S) grey.
        previous: (S, S) grey.

    Returns:
        (S / 4, S / 4, 2), (x, y) from -1 to 1 over the picture, as `grid_sample` has it.
    """
    side = len(picture)
    num_cells = side // MASK_STRIDE
    flow_side = min(max(side, _FLOW_SIDE[0]), _FLOW_SIDE[1])
    if flow_side != side:
        how = cv2.INTER_LINEAR if flow_side > side else cv2.INTER_AREA
        size = flow_side, flow_side
        picture, previous = (
            np.asarray(cv2.resize(p, size, interpolation=how), np.uint8)
            for p in (picture, previous)
        )
    flow = _make_flow().calc(picture, previous, None) / flow_side
    flow = cv2.resize(flow, (num_cells, num_cells), interpolation=cv2.INTER_AREA)
    rows, columns = (np.mgrid[:num_cells, :num_cells].astype(np.float32) + 0.5) / num_cells
    return (2 * np.stack([columns + flow[..., 0], rows + flow[..., 1]], -1) - 1).astype(np.float32)


def measure_clip(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Motion of every frame of a clip from the one before it.

    Args:
        frames: (T, S, S, 3), RGB.

    Returns:
        (T, S / 4, S / 4, 2), see `measure_motion`; the first frame is said not to have moved.
    """
    pictures = [np.asarray(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), np.uint8) for f in frames]
    pairs = zip(pictures, [pictures[0], *pictures], strict=False)
    return np.stack([measure_motion(picture, previous) for picture, previous in pairs])


def carry(low_res_logits: Tensor, motion: Tensor) -> Tensor:
    """Move masks along with what they cover.

    Args:
        low_res_logits: (B, 1, h, w) of the frame before; those of absence stay such.
        motion: (B, h, w, 2), from `measure_motion`.

    Returns:
        (B, 1, h, w), within what the decoder is used to.
    """
    limited = low_res_logits.float().clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
    return sample_within(limited, motion)


def decode_carried(
    model: SAM2,
    features: ImageFeatures,
    conditioned: Tensor,
    carried: Tensor | None,
    *,
    stays_near: bool = False,
) -> Decoding:
    """Decode a tracked frame: what the network says mends the mask carried there.

    Args:
        model: One that follows motion.
        features: Of the frame; B, or 1 for objects that share it.
        conditioned: (B, C, h, w), from `SAM2.with_memory`.
        carried: (B, 1, 4 h, 4 w), from `carry`; None where there is nothing to carry.
        stays_near: The network adds nothing that is not next to the carried mask. Of things that it
            does not know it makes masks that spread over the whole picture.

    Returns:
        The sum of the decoder's logits, made smaller, and of the carried ones, limited; where the
        object was absent, the decoder's alone.
    """
    decoding = model.decode(features, conditioned, mask_logits=carried)
    if carried is None:
        return decoding
    was_seen = (carried.flatten(1).amax(1) > -LOGIT_LIMIT)[:, None, None, None]
    trusted = carried.clamp(-TRUST, TRUST) * was_seen
    said = _MENDING * decoding.low_res_logits
    if stays_near:
        is_near = functional.max_pool2d((trusted > 0).float(), 3, stride=1, padding=1) > 0
        said = torch.where(is_near | ~was_seen, said, said.clamp(max=0))
    return decoding._replace(low_res_logits=said + trusted)


def through_window(motion: Tensor, window: Window, before: Window) -> Tensor:
    """Motion within one window of a plane, as places in another window.

    Args:
        motion: (B, h, w, 2), both pictures seen through `window`.
        window: What was looked through for the motion.
        before: What the mask to be carried was seen through.
    """
    (x, y), (width, height) = (window.x0, window.y0), window.size[::-1]
    size = torch.tensor([width, height], device=motion.device)
    size_before = torch.tensor(before.size[::-1], device=motion.device)
    offset = torch.tensor([x - before.x0, y - before.y0], device=motion.device)
    pixels = (motion + 1) / 2 * size + offset
    return pixels / size_before * 2 - 1


def _make_flow() -> Any:
    """OpenCV's DIS optical flow, medium preset, but less smooth: objects have edges."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow.setVariationalRefinementAlpha(_SMOOTHNESS)
    return flow
