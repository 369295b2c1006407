"""Frames of video files, exact whichever way they are walked."""

import itertools
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2_plugins.core.frames.array import ArrayFrames, PlaneArray
from sam2_plugins.core.frames.source import Pixels, Selection, file_identity

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts",
    ".wmv", ".flv", ".ogv", ".3gp", ".gif", ".mjpeg",
)  # fmt: skip

_CACHE_BYTES = 64 * 2**20
_CACHE_FRAMES = (2, 64)
_CHECKSUM_STEP = 8
# Some containers jump to a little after where they are told, so earlier key frames are tried.
_JUMP_TRIES = 4


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
        cached_frames: How many decoded frames fit the cache.
    """

    timestamps: tuple[int | None, ...]
    checksums: tuple[int, ...]
    key_indices: tuple[int, ...]
    frame_shape: tuple[int, ...]
    pixel_format: str
    quarter_turns: int
    cached_frames: int

    def read(self, frame: "av.VideoFrame") -> Pixels:
        """Convert a decoded frame to an array of `frame_shape`."""
        array: Pixels = frame.to_ndarray(format=self.pixel_format)
        return np.rot90(array, self.quarter_turns)


def open_video(path: Path, selection: Selection) -> ArrayFrames:
    """Open a video file. The whole video is decoded once, to know which frames there are.

    Raises:
        ValueError: When it is not a video, or none of its frames decodes.
    """
    name = str(path)
    selection.refuse_level(name)
    identity = file_identity(path)
    index = _index_video(path, identity)
    reader = VideoReader(path, index)
    is_rgb = len(index.frame_shape) == 3
    dtype = np.dtype(np.uint16 if index.pixel_format.startswith("gray16") else np.uint8)
    return ArrayFrames(
        PlaneArray(reader.read, (len(index.timestamps),), index.frame_shape, dtype),
        "tyxs" if is_rgb else "tyx",
        selection=selection,
        rgb_from_file=is_rgb,
        name=name,
        identity=identity,
        close=reader.close,
    )


class VideoReader:
    """Reads any frame of a video by decoding from the nearest key frame before it.

    A frame is known by its timestamp, never by a rate. What comes after a jump is compared with
    the index of the whole video, timestamps and pixels, and if they differ (some streams have
    key frames that decoding cannot really start at) the video is decoded from its start instead.
    The last few decoded frames are kept, so walking backward decodes each stretch once.
    """

    def __init__(self, path: Path, index: VideoIndex) -> None:
        self._path = path
        self._index = index
        self._positions = {pts: i for i, pts in enumerate(index.timestamps) if pts is not None}
        self._container: InputContainer | None = None
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._next = 0
        self._has_jumped = False
        self._kept: OrderedDict[int, av.VideoFrame] = OrderedDict()

    def read(self, frame_index: int) -> Pixels:
        """Return frame `frame_index` as (H, W) or (H, W, 3).

        Raises:
            ValueError: When the file no longer holds the frames it held when it was opened.
        """
        if frame_index not in self._kept:
            self._decode_until(frame_index)
        return self._index.read(self._kept[frame_index])

    def close(self) -> None:
        """Close the file and drop the kept frames."""
        self._kept.clear()
        self._frames = iter(())
        if self._container is not None:
            self._container.close()
            self._container = None

    def _decode_until(self, frame_index: int) -> None:
        keys = self._index.key_indices
        nearest = bisect_right(keys, frame_index) - 1
        if self._container is not None and keys[nearest] <= self._next <= frame_index:
            if self._advance(frame_index):
                return
        else:
            for key in reversed(keys[max(1, nearest - _JUMP_TRIES + 1) : nearest + 1]):
                if self._jump(key, frame_index) and self._advance(frame_index):
                    return
        self._restart()
        if not self._advance(frame_index):
            raise ValueError(
                f"{self._path}: frame {frame_index} no longer decodes; the file has changed"
            )

    def _restart(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container, stream = _open_stream(self._path)
        self._frames = _decoded(self._container, stream, set())
        self._next = 0
        self._has_jumped = False

    def _jump(self, key: int, frame_index: int) -> bool:
        """Continue from key frame `key` or one before it; False when that cannot be done."""
        import av

        if self._container is None:
            self._restart()
        assert self._container is not None
        stream = self._container.streams.video[0]
        timestamp = self._index.timestamps[key]
        assert timestamp is not None
        try:
            self._container.seek(timestamp, stream=stream)
        except av.FFmpegError:
            return False
        self._frames = _decoded(self._container, stream, set())
        self._has_jumped = True
        starts = set(self._index.key_indices)
        for frame in self._frames:
            # Frames shown before the key frame but stored after it lack what they refer to.
            found = self._positions.get(frame.pts) if frame.pts is not None else None
            if found is not None and found in starts:
                self._next = found
                return found <= frame_index and self._keep(frame)
        return False

    def _advance(self, frame_index: int) -> bool:
        """Decode up to `frame_index`; False when a frame is not the one the index tells."""
        while self._next <= frame_index:
            frame = next(self._frames, None)
            if frame is None or not self._keep(frame):
                return False
        return True

    def _keep(self, frame: "av.VideoFrame") -> bool:
        """Keep the next frame; False when it is not the one the index tells."""
        if frame.pts != self._index.timestamps[self._next]:
            return False
        # Only after a jump: damaged frames need not decode to the same pixels twice.
        if self._has_jumped and _checksum(frame) != self._index.checksums[self._next]:
            return False
        self._kept[self._next] = frame
        self._kept.move_to_end(self._next)
        self._next += 1
        while len(self._kept) > self._index.cached_frames:
            self._kept.popitem(last=False)
        return True


@lru_cache(maxsize=32)
def _index_video(path: Path, identity: str) -> VideoIndex:
    """Decode the whole video once; `identity` keeps the answer apart from a changed file's."""
    container, stream = _open_stream(path)
    timestamps: list[int | None] = []
    checksums = []
    key_timestamps: set[int | None] = set()
    key_indices = []
    first: av.VideoFrame | None = None
    with container:
        for frame in _decoded(container, stream, key_timestamps):
            if first is None:
                first = frame
            elif (frame.width, frame.height) != (first.width, first.height):
                raise ValueError(
                    f"{path}: frame {len(timestamps)} is {frame.width} x {frame.height} but the "
                    f"first is {first.width} x {first.height}; all frames must be alike"
                )
            if frame.key_frame and frame.pts in key_timestamps:
                key_indices.append(len(timestamps))
            timestamps.append(frame.pts)
            checksums.append(_checksum(frame))
    if first is None:
        raise ValueError(f"{path}: no frame decodes; the file is truncated or damaged")
    return _describe(first, timestamps, checksums, key_indices)


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
    fewest, most = _CACHE_FRAMES
    frame_bytes = sum(plane.buffer_size for plane in first.planes)
    return VideoIndex(
        timestamps=tuple(timestamps),
        checksums=tuple(checksums),
        key_indices=tuple(sorted({0, *key_indices})),
        frame_shape=(*size, 3) if pixel_format == "rgb24" else size,
        pixel_format=pixel_format,
        quarter_turns=quarter_turns,
        cached_frames=min(max(_CACHE_BYTES // frame_bytes, fewest), most),
    )


def _checksum(frame: "av.VideoFrame") -> int:
    plane: Any = frame.planes[0]  # a buffer, though its stub does not say so
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
    # Without the padding that may follow every row.
    sample = rows[::_CHECKSUM_STEP, : plane.width : _CHECKSUM_STEP]
    return zlib.crc32(sample.tobytes())


def _open_stream(path: Path) -> tuple["InputContainer", "VideoStream"]:
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


def _decoded(
    container: "InputContainer", stream: "VideoStream", key_timestamps: set[int | None]
) -> Iterator["av.VideoFrame"]:
    """Yield every frame that decodes, in display order, to the end whatever is damaged.

    Args:
        container: Where to read.
        stream: Which stream to decode.
        key_timestamps: Gets the timestamps of packets that decoding can start at.
    """
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            packet = None
        if packet is not None and packet.is_keyframe:
            key_timestamps.add(packet.pts)
        try:
            frames = stream.decode(packet)
        except av.FFmpegError:
            frames = []
        yield from frames
        if packet is None:
            return
