"""A video with its masklets, on the way between a dataset and files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sam2_plugins.core import FrameMasks

__all__ = ["Masklet", "MaskletVideo", "unique_names"]


@dataclass(frozen=True, slots=True)
class Masklet:
    """One object of a video.

    Attributes:
        object_id: Its number in the files, 1 or more.
        label: Class name; None when unknown.
        track: Identity of its track in the dataset; None when unknown.
    """

    object_id: int
    label: str | None = None
    track: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MaskletVideo:
    """One video (or image, of one frame) with its masklets, read frame by frame.

    Attributes:
        name: Unique in its folder.
        source: The file it is of; empty when unknown.
        num_frames: Frames of the video, as far as the masks tell.
        frame_size: (H, W) of the masks.
        masklets: The objects, as far as they are known before the masks are read.
        read: Gives the frames that have masks, in order; others may be among them.
        paths: Of its frames, where each is a file of its own.
    """

    name: str
    source: str
    num_frames: int
    frame_size: tuple[int, int]
    masklets: tuple[Masklet, ...]
    read: Callable[[], Iterator[FrameMasks]]
    paths: tuple[str, ...] = ()


def unique_names(given: Iterable[str], *, reserved: Iterable[str] = ()) -> list[str]:
    """The names; where two are the same, or one is reserved, the later one gets a number."""
    names: list[str] = []
    taken = set(reserved)
    for stem in given:
        name, number = stem or "video", 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        names.append(name)
    return names
