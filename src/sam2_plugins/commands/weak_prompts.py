"""Prompts that will hardly find anything: warnings, as they are no errors."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from sam2_plugins.commands.prompt_file import Entry
    from sam2_plugins.core.frames import FrameSource


def warn_of_weak_prompts(entries: Sequence[Entry], frames: FrameSource) -> None:
    """Warn of prompts on frames that show nothing, and of objects without one on them."""
    told = {entry.object_id: False for entry in entries}
    for entry in entries:
        told[entry.object_id] |= _tells_where(entry)
    warn_of_background_alone(object_id for object_id, is_told in told.items() if not is_told)
    warn_of_blank_frames(frames, (entry.frame_index for entry in entries))


def warn_of_background_alone(object_ids: Iterable[int]) -> None:
    """Warn of objects of which it is only told where they are not."""
    for object_id in object_ids:
        warnings.warn(
            f"of object {object_id} it is only told where it is not, so perhaps nothing is found: "
            "click on it, or draw a box or a mask",
            stacklevel=2,
        )


def warn_of_blank_frames(frames: FrameSource, frame_indices: Iterable[int]) -> None:
    """Warn of frames that show nothing.

    Args:
        frames: What the prompts are about.
        frame_indices: Those with prompts.
    """
    blank = [index for index in sorted(set(frame_indices)) if _is_blank(frames.read(index))]
    if blank:
        warnings.warn(
            f"there is nothing to see on {'frame' if len(blank) == 1 else 'frames'} "
            f"{', '.join(map(str, blank))}: all pixels are alike, NaN or infinite",
            stacklevel=2,
        )


def _tells_where(entry: Entry) -> bool:
    has_mask = entry.mask is not None and bool(entry.mask.mask.any())
    return has_mask or entry.box is not None or bool(entry.points and entry.points.on_object)


def _is_blank(frame: NDArray[Any]) -> bool:
    """Whether a frame, (H, W) or (H, W, C), has one finite value in every channel, or none."""
    for channel in frame.reshape(-1, frame.shape[2] if frame.ndim == 3 else 1).T:
        values = channel[np.isfinite(channel)] if channel.dtype.kind == "f" else channel
        if values.size and values.min() != values.max():
            return False
    return True
