"""Whether a video goes on to its end, or the file is cut short."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sam2_plugins.core.frames.source import Shortfall

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Frames are shown at most so many later than they are stored (H.264, H.265).
_MAX_REORDERED = 16
_HEAD_BYTES = 16
_BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide")
_ELEMENTS = (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67")  # EBML and Segment


@dataclass(slots=True)
class Ending:
    """What the last packet and the last frames of a video were like.

    Attributes:
        packet_is_whole: Whether the last packet is as long as it should be.
        frames_are_whole: Of the last frames, or of those that did not decode.
        position: Where the last packet begins, in bytes; 0 where that is not told.
    """

    packet_is_whole: bool = True
    frames_are_whole: deque[bool] = field(default_factory=lambda: deque(maxlen=_MAX_REORDERED))
    position: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing at the end is damaged."""
        return self.packet_is_whole and all(self.frames_are_whole)


def find_shortfall(
    path: Path, ending: Ending, *, num_frames: int, told_frames: int
) -> Shortfall | None:
    """Look for what is missing at the end of a video.

    Args:
        path: The file.
        ending: What reading it to its end found.
        num_frames: How many frames decode.
        told_frames: How many there are by its header, 0 where that does not say.

    Returns:
        None where nothing is missing.
    """
    if told_frames and num_frames >= told_frames:
        return None
    size, told_size = path.stat().st_size, _told_size(path)
    is_short = told_size is not None and size < told_size
    # The index of MP4 and MOV, which counts the frames, is written when all of them are.
    if is_short and told_frames and _part_reader(_head(path)) is _box_size:
        told = f"is truncated: {num_frames} of {told_frames} frames can be read"
        return Shortfall(f"{path}: {told}", is_certain=True)
    if is_short:
        told = f"ends early, after {size} of {told_size} bytes and {num_frames} frames"
    elif not ending.is_whole:
        told = f"is damaged at its end or ends early, after {num_frames} frames"
    else:
        return None
    return Shortfall(f"{path}: {told}", is_certain=False)


def _told_size(path: Path) -> int | None:
    """How many bytes a file should have, by the sizes that its outermost parts tell.

    Parts are the boxes of MP4 and MOV, the elements of Matroska and WebM, the chunks of AVI. None
    for other files, and where a part does not tell, as in what was stopped while recorded.
    """
    size, end = path.stat().st_size, 0
    part_size = _part_reader(_head(path))
    with path.open("rb") as file:
        while end < size:
            file.seek(end)
            length = part_size(file.read(_HEAD_BYTES)) if part_size else None
            if length is None:
                return None
            end += length
    return end


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _part_reader(head: bytes) -> Callable[[bytes], int | None] | None:
    if head[4:8] in _BOXES:
        return _box_size
    if head[:4] in _ELEMENTS:
        return _element_size
    return _chunk_size if head[:4] == b"RIFF" else None


def _box_size(head: bytes) -> int | None:
    size = int.from_bytes(head[:4], "big")
    if size == 1:
        size = int.from_bytes(head[8:16], "big")
    # Anything else than a box: what some programs leave behind the last one.
    return size if size >= 8 and head[4:8].isalnum() else None


def _element_size(head: bytes) -> int | None:
    if head[:4] not in _ELEMENTS or len(head) < 12 or not head[4]:
        return None
    # The leading zeros of the first byte tell how many bytes the number has.
    length = 9 - head[4].bit_length()
    value = int.from_bytes(head[4 : 4 + length], "big") - (1 << 7 * length)
    is_unknown = value == (1 << 7 * length) - 1
    return None if is_unknown else 4 + length + value


def _chunk_size(head: bytes) -> int | None:
    size = int.from_bytes(head[4:8], "little")
    return 8 + size + size % 2 if size and head[:4] == b"RIFF" else None
