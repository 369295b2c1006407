"""What needs no model: keeping the first mask where it is, and moving it with the optical flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from sam2_plugins.core.masks import FrameMasks
from sam2_plugins.core.pixels import PixelPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from sam2_plugins.core.evaluation.starts import PromptedMask
    from sam2_plugins.core.frames import FrameSource

__all__ = ["copy_masks", "warp_masks"]

_MIN_FLOW_SIDE = 128  # pixels; on smaller images the coarse levels of the flow have no room


def copy_masks(
    frames: FrameSource, prompts: Sequence[PromptedMask], *, backward: bool = False
) -> Iterator[FrameMasks]:
    """Repeats each object's mask on all later frames.

    Args:
        frames: Only their number is used.
        prompts: Where each object starts; each object once.
        backward: Also on earlier frames.

    Yields:
        One FrameMasks per frame, in order.
    """
    for frame_index in range(frames.num_frames):
        shown = [p for p in prompts if backward or p.frame_index <= frame_index]
        if shown:
            yield _frame(frame_index, {p.object_id: p.mask for p in shown})


def warp_masks(
    frames: FrameSource, prompts: Sequence[PromptedMask], *, backward: bool = False
) -> Iterator[FrameMasks]:
    """Moves each object's mask from frame to frame with OpenCV's DIS optical flow.

    The mask is carried as a number between 0 and 1 and shown where it is at least 0.5, so that
    rounding does not eat it up.

    Args:
        frames: The pictures.
        prompts: Where each object starts; each object once.
        backward: Also to earlier frames.

    Yields:
        One FrameMasks per frame: the later frames in order, then the earlier ones in reverse.
    """
    policy = PixelPolicy.fit(frames)
    order = range(frames.num_frames)
    yield from _warp(frames, prompts, policy, list(order))
    if backward:
        yield from _warp(frames, prompts, policy, list(reversed(order)))


def _warp(
    frames: FrameSource, prompts: Sequence[PromptedMask], policy: PixelPolicy, order: list[int]
) -> Iterator[FrameMasks]:
    carried: dict[int, NDArray[np.float32]] = {}
    previous: NDArray[np.uint8] | None = None
    flow = _Flow()
    for frame_index in order:
        starting = [p for p in prompts if p.frame_index == frame_index]
        if not carried and not starting:
            continue
        picture = _grey(frames, policy, frame_index)
        if carried and previous is not None:
            grid = flow.grid(picture, previous)
            carried = {key: flow.sample(mask, grid) for key, mask in carried.items()}
        carried |= {p.object_id: p.mask.astype(np.float32) for p in starting}
        previous = picture
        yield _frame(frame_index, {key: mask >= 0.5 for key, mask in carried.items()})


class _Flow:
    """Optical flow at the pictures' own size."""

    def __init__(self) -> None:
        self._dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def grid(self, picture: NDArray[np.uint8], previous: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Where each pixel came from: (H, W, 2) float32, (x, y) in the previous picture."""
        height, width = picture.shape
        factor = max(1, -(-_MIN_FLOW_SIDE // min(height, width)))
        if factor > 1:
            size = (width * factor, height * factor)
            picture, previous = (
                np.asarray(cv2.resize(p, size), np.uint8) for p in (picture, previous)
            )
        flow = self._dis.calc(picture, previous, None)
        if factor > 1:
            flow = cv2.resize(flow, (width, height)) / factor
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        return np.stack([columns + flow[..., 0], rows + flow[..., 1]], axis=-1)

    def sample(self, mask: NDArray[np.float32], grid: NDArray[np.float32]) -> NDArray[np.float32]:
        """The mask moved along the flow, (H, W) float32; outside the picture it is 0."""
        moved = cv2.remap(mask, grid[..., 0], grid[..., 1], cv2.INTER_LINEAR)
        return np.asarray(moved, np.float32)


def _grey(frames: FrameSource, policy: PixelPolicy, frame_index: int) -> NDArray[np.uint8]:
    rgb = policy.to_rgb(frames.read(frame_index))
    if rgb.dtype != np.uint8:
        rgb = rgb * 255
    grey = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.rint(grey).astype(np.uint8)


def _frame(frame_index: int, masks: dict[int, NDArray[np.bool_]]) -> FrameMasks:
    scores = np.ones(len(masks), np.float32)
    ids = np.array(list(masks), np.int64)
    return FrameMasks(frame_index, ids, np.stack(list(masks.values())), scores, 10 * scores)
