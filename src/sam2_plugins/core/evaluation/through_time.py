"""Volumes in time (3D+t): one volume per time point, read and followed slice by slice.

Frames are numbered through: frame `t * depth + z` is slice z of time point t. The tracker walks in
two dimensions, through depth or through time; what follows an object in both is here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from sam2_plugins.core.evaluation.starts import PromptedMask
from sam2_plugins.core.frames.source import check_frame_index, file_identity
from sam2_plugins.core.masks import FrameMasks, PackedMask, pack_mask, unpack_mask
from sam2_plugins.core.pixels import PixelPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sam2_plugins.core.frames import FrameSource

__all__ = ["TimePoints", "follow_through_time", "volume_shape"]


def volume_shape(path: Path) -> tuple[int, int, int] | None:
    """(Z, H, W) of a grey TIFF that holds a volume; None for one that holds a picture."""
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        shape = tuple(series.shape)
    if "S" in series.axes or len(shape) != 3:
        return None
    return shape[0], shape[1], shape[2]


@dataclass(frozen=True, slots=True)
class TimePoints:
    """The slices of TIFF volumes, one file per time point; see `FrameSource`.

    Attributes:
        files: In the order of time.
        shape: (Z, H, W) of every one.
    """

    files: tuple[Path, ...]
    shape: tuple[int, int, int]

    @property
    def num_frames(self) -> int:
        """Slices of all time points."""
        return len(self.files) * self.shape[0]

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.shape[1], self.shape[2]

    @property
    def is_rgb(self) -> bool:
        """Never: the volumes are grey."""
        return False

    @property
    def signature(self) -> str:
        """Changes when a file does."""
        return "|".join(file_identity(file) for file in self.files)

    def read(self, frame_index: int) -> NDArray[Any]:
        """One slice, (H, W), as stored.

        Raises:
            ValueError: There is no such slice, or the file is unlike the others.
        """
        check_frame_index(frame_index, self.num_frames, str(self.files[0].parent))
        time_point, depth_index = divmod(frame_index, self.shape[0])
        page = tifffile.imread(self.files[time_point], key=depth_index)
        if page.shape != self.frame_size:
            raise ValueError(
                f"{self.files[time_point]} has slices of {page.shape}, not {self.frame_size}"
            )
        return page

    def labels(self, frame_index: int) -> FrameMasks:
        """One slice as masks: its values are object ids."""
        return FrameMasks.from_labels(frame_index, self.read(frame_index))

    def close(self) -> None:
        """Nothing is open between reads."""


class _Slices:
    """Some frames of a source as colours, by the policy of the whole; see `FrameSource`."""

    is_rgb = True

    def __init__(self, frames: FrameSource, policy: PixelPolicy, indices: range) -> None:
        self._frames, self._policy, self._indices = frames, policy, indices
        self.num_frames = len(indices)
        self.frame_size = frames.frame_size
        self.signature = f"{frames.signature}-{indices}"

    def read(self, frame_index: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8."""
        rgb = self._policy.to_rgb(self._frames.read(self._indices[frame_index]))
        return rgb if rgb.dtype == np.uint8 else np.rint(rgb * 255).astype(np.uint8)

    def close(self) -> None:
        """The whole stays open."""


def follow_through_time(
    frames: FrameSource,
    starts: Sequence[PromptedMask],
    *,
    depth: int,
    follow: Callable[[FrameSource, Sequence[PromptedMask]], Iterator[FrameMasks]],
    carry: Callable[[FrameSource, Sequence[PromptedMask]], Iterator[FrameMasks]],
) -> Iterator[FrameMasks]:
    """Follows objects through the depth of the time point they start on, then through time.

    In depth, from the slice that is prompted both ways; in time, every slice by itself, forward
    from the masks found there. An object that moves into a slice where it was not when it started
    is not found there.

    Args:
        frames: Frame `t * depth + z` is slice z of time point t.
        starts: Where each object starts; each object once.
        depth: Slices of a time point.
        follow: Walks both ways through a volume.
        carry: Walks forward through a video, from masks.

    Yields:
        Masks, slice after slice; those of objects that are in none are missing.
    """
    policy = PixelPolicy.fit(frames)
    found: dict[int, list[PromptedMask]] = {}  # slice -> masks at the object's first time point
    for time_point in sorted({start.frame_index // depth for start in starts}):
        begin = time_point * depth
        own = [
            replace(start, frame_index=start.frame_index - begin)
            for start in starts
            if start.frame_index // depth == time_point
        ]
        masks: dict[tuple[int, int], PackedMask] = {}
        for shown in follow(_Slices(frames, policy, range(begin, begin + depth)), own):
            for object_id, mask in zip(shown.object_ids.tolist(), shown.masks, strict=True):
                masks[shown.frame_index, object_id] = pack_mask(mask)
        for (z, object_id), packed in sorted(masks.items()):
            if (mask := unpack_mask(packed)).any():
                found.setdefault(z, []).append(PromptedMask(object_id, time_point, mask))
    for z, seen in sorted(found.items()):
        video = _Slices(frames, policy, range(z, frames.num_frames, depth))
        for shown in carry(video, seen):
            yield shown.on_frame(shown.frame_index * depth + z)
