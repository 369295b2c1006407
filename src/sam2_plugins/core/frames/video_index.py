"""One pass over a video: which frames it has, and where decoding can start."""

import itertools
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2_plugins.core.frames.source import Pixels, Shortfall
from sam2_plugins.core.frames.video_ending import Ending, find_shortfall

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

_CHECKSUM_STEP = 8
_MAX_KNOWN = 32
Told = Callable[[float], object]
"""Called with the share of a file that was read so far, 0 to 1."""


@dataclass(frozen=True, slots=True)
class VideoIndex:
    """What one pass over the whole video found.

    Attributes:
        timestamps: Presentation timestamp of every frame that decodes, in display order; None
            for frames without one.
        checksums: Of a sample of every frame's pixels.
        key_indices: Frames that decoding can start at, ascending; the first is 0.
        frame_shape: (H, W) or (H, W, 3) as read, upright.
        pixel_format: What decoded frames are converted to.
        quarter_turns: Counter-clockwise turns that put a decoded frame upright.
        shortfall: That the file ends early, if it does.
    """

    timestamps: tuple[int | None, ...]
    checksums: tuple[int, ...]
    key_indices: tuple[int, ...]
    frame_shape: tuple[int, ...]
    pixel_format: str
    quarter_turns: int
    shortfall: Shortfall | None = None

    def read(self, frame: "av.VideoFrame") -> Pixels:
        """Convert a decoded frame to an array of `frame_shape`."""
        array: Pixels = frame.to_ndarray(format=self.pixel_format)
        return np.rot90(array, self.quarter_turns)


_KNOWN: OrderedDict[tuple[Path, str], VideoIndex] = OrderedDict()


def index_video(path: Path, identity: str, *, progress: Told | None = None) -> VideoIndex:
    """Decode the whole video once; `identity` keeps the answer apart from a changed file's.

    Args:
        path: The file.
        identity: Changes when the file does.
        progress: Told how far this is; what it raises ends it.

    Raises:
        ValueError: When it is not a video, or none of its frames decodes.
    """
    known = _KNOWN.get((path, identity))
    if known is None:
        known = _KNOWN[path, identity] = _index(path, progress)
        while len(_KNOWN) > _MAX_KNOWN:
            _KNOWN.popitem(last=False)
    return known


def _index(path: Path, progress: Told | None) -> VideoIndex:
    container, stream = open_stream(path)
    told_frames = stream.frames
    ending = Ending()
    timestamps: list[int | None] = []
    checksums = []
    key_indices = []
    first: av.VideoFrame | None = None
    size_bytes = path.stat().st_size
    with container:
        for frame in decode_frames(container, stream, ending):
            if first is None:
                first = frame
            elif (frame.width, frame.height) != (first.width, first.height):
                raise ValueError(
                    f"{path}: frame {len(timestamps)} is {frame.width} x {frame.height} but the "
                    f"first is {first.width} x {first.height}; all frames must be alike"
                )
            if frame.key_frame:
                key_indices.append(len(timestamps))
            timestamps.append(frame.pts)
            checksums.append(checksum(frame))
            if progress is not None:
                progress(min(ending.position / size_bytes, 1.0))
    if first is None:
        raise ValueError(f"{path}: no frame decodes; the file is truncated or damaged")
    index = _describe(first, timestamps, checksums, key_indices)
    shortfall = find_shortfall(path, ending, num_frames=len(timestamps), told_frames=told_frames)
    return replace(index, shortfall=shortfall)


def _describe(
    first: "av.VideoFrame",
    timestamps: list[int | None],
    checksums: list[int],
    key_indices: list[int],
) -> VideoIndex:
    known = [pts for pts in timestamps if pts is not None]
    # Without rising timestamps a frame cannot be recognised after a jump.
    is_rising = all(a < b for a, b in itertools.pairwise(known))
    if len(known) < len(timestamps) or not is_rising:
        key_indices = []
    pixel_format = "rgb24"
    if first.format.name.startswith("gray"):
        pixel_format = "gray" if first.format.components[0].bits == 8 else "gray16le"
    quarter_turns = round(first.rotation / 90) % 4
    size = (first.width, first.height) if quarter_turns % 2 else (first.height, first.width)
    return VideoIndex(
        timestamps=tuple(timestamps),
        checksums=tuple(checksums),
        key_indices=tuple(sorted({0, *key_indices})),
        frame_shape=(*size, 3) if pixel_format == "rgb24" else size,
        pixel_format=pixel_format,
        quarter_turns=quarter_turns,
    )


def checksum(frame: "av.VideoFrame") -> int:
    """Return a checksum of a sample of a decoded frame's pixels."""
    plane: Any = frame.planes[0]  # a buffer, though its stub does not say so
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
    # Without the padding that may follow every row.
    sample = rows[::_CHECKSUM_STEP, : plane.width : _CHECKSUM_STEP]
    return zlib.crc32(sample.tobytes())


def open_stream(path: Path) -> tuple["InputContainer", "VideoStream"]:
    """Open a video file and its first video stream.

    Raises:
        ValueError: When it is not a video.
    """
    import av

    try:
        container = av.open(str(path), metadata_errors="ignore")
    except av.FFmpegError as error:
        raise ValueError(f"{path}: is not a video, or is truncated ({error.strerror})") from error
    if not container.streams.video:
        container.close()
        raise ValueError(f"{path}: has no video stream")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return container, stream


def decode_frames(
    container: "InputContainer", stream: "VideoStream", ending: Ending | None = None
) -> Iterator["av.VideoFrame"]:
    """Yield every frame that decodes, in display order, to the end whatever is damaged.

    Args:
        container: The opened file.
        stream: Its stream.
        ending: Told what the end was like.
    """
    import av

    ending = ending or Ending()
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            packet = None
            ending.packet_is_whole = False
        if packet is not None and packet.size:
            ending.packet_is_whole = not packet.is_corrupt
            ending.position = packet.pos or 0
        try:
            frames = stream.decode(packet)
        except EOFError:
            frames = []
        except av.FFmpegError:
            frames = []
            ending.frames_are_whole.append(False)
        for frame in frames:
            ending.frames_are_whole.append(not frame.is_corrupt)
            yield frame
        if packet is None:
            return
