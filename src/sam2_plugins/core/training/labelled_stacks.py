"""Reading the labelled frames of videos and volumes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.frames import FrameSource
from sam2_plugins.core.rgb_frames import RGBFrames
from sam2_plugins.core.training.labelled import LabelledStack


class LabelsWhenRead(Mapping[int, NDArray[Any]]):
    """Labels by frame index, each made when it is asked for: all at once may not fit in memory.

    Args:
        frames: Indices of the labelled frames.
        read: Frame index -> (H, W) ids.
    """

    def __init__(self, frames: Sequence[int], read: Callable[[int], NDArray[Any]]) -> None:
        self._frames = frames
        self._read = read

    def __getitem__(self, frame_index: int) -> NDArray[Any]:
        return self._read(frame_index)

    def __iter__(self) -> Iterator[int]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)


def read_stack(
    name: str,
    source: FrameSource,
    labels: Mapping[int, NDArray[Any]],
    *,
    max_side: int,
    is_volume: bool,
) -> LabelledStack:
    """Read the labelled frames of a stack, as RGB and shrunk to a long side.

    Args:
        name: What to call it.
        source: The frames.
        labels: (H, W) ids by frame index.
        max_side: Larger frames are shrunk to this long side, in pixels.
        is_volume: Whether the frames are slices.

    Raises:
        ValueError: Labels and frames differ in size, or an id does not fit in 16 bits.
    """
    rgb = RGBFrames(source)
    height, width = source.frame_size
    scale = min(max_side / max(height, width), 1.0)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    frames, planes = [], []
    for frame_index in sorted(labels):
        plane = np.asarray(labels[frame_index])
        if plane.shape != (height, width):
            raise ValueError(f"{name}: labels of size {plane.shape}, frames of {(height, width)}")
        if plane.max(initial=0) > np.iinfo(np.uint16).max:
            raise ValueError(f"{name} has an object {plane.max()}; ids go up to 65535")
        frame = rgb.read(frame_index)
        if frame.dtype != np.uint8:
            frame = np.round(np.clip(frame, 0, 1) * 255).astype(np.uint8)
        frames.append(cv2.resize(np.ascontiguousarray(frame), size, interpolation=cv2.INTER_AREA))
        planes.append(cv2.resize(plane.astype(np.uint16), size, interpolation=cv2.INTER_NEAREST))
    return LabelledStack(
        name, np.stack(frames).astype(np.uint8), np.stack(planes).astype(np.uint16), is_volume
    )
