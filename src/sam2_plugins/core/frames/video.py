"""Frames of video files, exact whichever way they are walked."""

from bisect import bisect_right
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sam2_plugins.core.frames.array import ArrayFrames, PlaneArray
from sam2_plugins.core.frames.source import Pixels, Selection, file_identity
from sam2_plugins.core.frames.video_index import (
    Told,
    VideoIndex,
    checksum,
    decode_frames,
    index_video,
    open_stream,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import av
    from av.container import InputContainer

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts",
    ".wmv", ".flv", ".ogv", ".3gp", ".gif", ".mjpeg",
)  # fmt: skip

_CACHE_BYTES = 64 * 2**20
_CACHE_FRAMES = (2, 64)
# Some containers jump to a little after where they are told, so earlier key frames are tried.
_JUMP_TRIES = 4


def open_video(path: Path, selection: Selection, *, progress: Told | None = None) -> ArrayFrames:
    """Open a video file. The whole video is decoded once, to know which frames there are.

    Of one that is cut short it is what decodes; its `shortfall` says so.

    Args:
        path: The file.
        selection: What the caller chose.
        progress: See `open_frames`.

    Raises:
        ValueError: When it is not a video, or none of its frames decodes.
    """
    name = str(path)
    selection.refuse_level(name)
    identity = file_identity(path)
    index = index_video(path, identity, progress=progress)
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
        shortfall=index.shortfall,
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
        self._container, stream = open_stream(self._path)
        self._frames = decode_frames(self._container, stream)
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
        self._frames = decode_frames(self._container, stream)
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
        if self._has_jumped and checksum(frame) != self._index.checksums[self._next]:
            return False
        self._kept[self._next] = frame
        self._kept.move_to_end(self._next)
        self._next += 1
        fewest, most = _CACHE_FRAMES
        fitting = _CACHE_BYTES // sum(plane.buffer_size for plane in frame.planes)
        while len(self._kept) > min(max(fitting, fewest), most):
            self._kept.popitem(last=False)
        return True
