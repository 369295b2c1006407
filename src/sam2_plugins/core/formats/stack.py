"""What the formats share: frames spooled on the way to disk, and frames read back one by one."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np

from sam2_plugins.core.masks import FrameMasks, PackedMask, pack_mask, unpack_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import FileIO

    from numpy.typing import NDArray

__all__ = ["MaskStack", "SavedMasks", "empty_frame"]


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where one frame lies in the spool, and what does not need to be on disk."""

    offset: int
    num_bytes: int
    object_ids: NDArray[np.int64]
    predicted_iou: NDArray[np.float32]
    object_score_logits: NDArray[np.float32]
    prompt_distance: NDArray[np.int64]
    shown_within: NDArray[np.int64]


class MaskStack:
    """The masks of a whole stack, compressed in one scratch file while they arrive in any order.

    In memory stay only ids, scores and file positions. A frame that comes again replaces the
    objects it names and leaves the others, as the tracker reports only what is new.

    Attributes:
        frame_size: (H, W) in pixels.
        frame_names: One name per frame, without ending; None for numbers.
        stack_axis: `T` for time, `Z` for depth.
        title: Name of the whole, for formats that hold one.
    """

    def __init__(
        self,
        spool: FileIO,
        *,
        num_frames: int | None,
        frame_size: tuple[int, int],
        frame_names: Sequence[str] | None = None,
        stack_axis: str = "T",
        title: str = "masks",
    ) -> None:
        if num_frames is not None and num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, not {num_frames}")
        if frame_names is not None and num_frames is None:
            num_frames = len(frame_names)
        if frame_names is not None and len(frame_names) != num_frames:
            raise ValueError(f"{len(frame_names)} frame names for {num_frames} frames")
        self.frame_size = frame_size
        self.frame_names = frame_names
        self.stack_axis = stack_axis
        self.title = title
        self._num_frames = num_frames
        self._spool = spool  # unbuffered, so that a full disk shows at once and not on closing
        self._end = 0
        self._entries: dict[int, _Entry] = {}

    @property
    def num_frames(self) -> int:
        """Frames of the stack, those without masks included."""
        if self._num_frames is not None:
            return self._num_frames
        return max(self._entries, default=-1) + 1

    @property
    def axes(self) -> str:
        """A letter for each axis."""
        return f"{self.stack_axis}YX"

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, H, W) or (Z, H, W)."""
        return self.num_frames, *self.frame_size

    @property
    def scale(self) -> tuple[float, ...]:
        """Size of a pixel along each axis: nothing is known of it."""
        return 1.0, 1.0, 1.0

    @property
    def units(self) -> tuple[str, ...]:
        """Of the scale: none."""
        return "", "", ""

    @property
    def object_ids(self) -> NDArray[np.int64]:
        """Ids of all objects on any frame, ascending."""
        ids = [entry.object_ids for entry in self._entries.values()]
        return np.unique(np.concatenate(ids)) if ids else np.zeros(0, np.int64)

    @property
    def label_dtype(self) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
        """Integer type of label images of all frames: uint16, or uint32 for ids above 65535."""
        ids = self.object_ids
        is_wide = len(ids) > 0 and ids[-1] > np.iinfo(np.uint16).max
        return np.dtype(np.uint32) if is_wide else np.dtype(np.uint16)

    def frame_name(self, frame_index: int) -> str:
        """Name of a frame without ending: the given one, else its index with five digits."""
        return self.frame_names[frame_index] if self.frame_names else f"{frame_index:05d}"

    def check(self, frame: FrameMasks) -> None:
        """Refuses a frame that does not belong to this stack.

        Raises:
            ValueError: The frame's index or size is not one of the stack's.
        """
        if frame.frame_index < 0 or frame.frame_index >= (self._num_frames or np.inf):
            raise ValueError(
                f"masks for frame {frame.frame_index}, but the stack has frames 0 to "
                f"{self.num_frames - 1}"
            )
        if frame.masks.shape[1:] != tuple(self.frame_size):
            raise ValueError(
                f"masks of frame {frame.frame_index} have size {frame.masks.shape[1:]}, "
                f"the frames have {tuple(self.frame_size)}"
            )

    def put(self, frame: FrameMasks) -> None:
        """Adds a frame, or what is new on a frame that was added before."""
        if frame.frame_index in self._entries:
            frame = _merge(self[frame.frame_index], frame)
        data = zlib.compress(pack_mask(frame.masks).bits.tobytes(), 1)
        self._spool.seek(self._end)
        rest = memoryview(data)
        while rest:  # an unbuffered file may take less than it was given, as on a full disk
            rest = rest[self._spool.write(rest) :]
        self._entries[frame.frame_index] = _Entry(
            self._end,
            len(data),
            frame.object_ids,
            frame.predicted_iou,
            frame.object_score_logits,
            frame.prompt_distance,
            frame.shown_within,
        )
        self._end += len(data)

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, frame_index: int) -> FrameMasks:
        entry = self._entries.get(frame_index)
        if entry is None:
            return empty_frame(frame_index, self.frame_size)
        self._spool.seek(entry.offset)
        bits = np.frombuffer(zlib.decompress(self._spool.read(entry.num_bytes)), np.uint8)
        masks = unpack_mask(PackedMask(bits, (len(entry.object_ids), *self.frame_size)))
        return FrameMasks(
            *(frame_index, entry.object_ids, masks),
            *(entry.predicted_iou, entry.object_score_logits),
            *(entry.prompt_distance, entry.shown_within),
        )

    def __iter__(self) -> Iterator[FrameMasks]:
        """All frames in order, one in memory at a time; frames without masks have no objects."""
        return (self[frame_index] for frame_index in range(self.num_frames))

    def labels(self) -> Iterator[NDArray[np.unsignedinteger]]:
        """All frames in order as (H, W) label images of `label_dtype`."""
        dtype = self.label_dtype
        return (frame.to_labels().astype(dtype, copy=False) for frame in self)

    def pages(self) -> Iterator[NDArray[np.unsignedinteger]]:
        """What `labels` returns: a frame is a plane."""
        return self.labels()


def empty_frame(frame_index: int, frame_size: tuple[int, int]) -> FrameMasks:
    """A frame without objects."""
    scores = np.zeros(0, np.float32)
    masks = np.zeros((0, *frame_size), np.bool_)
    return FrameMasks(frame_index, np.zeros(0, np.int64), masks, scores, scores)


def _merge(old: FrameMasks, new: FrameMasks) -> FrameMasks:
    kept = ~np.isin(old.object_ids, new.object_ids)
    return FrameMasks(
        new.frame_index,
        np.concatenate([old.object_ids[kept], new.object_ids]),
        np.concatenate([old.masks[kept], new.masks]),
        np.concatenate([old.predicted_iou[kept], new.predicted_iou]),
        np.concatenate([old.object_score_logits[kept], new.object_score_logits]),
        np.concatenate([old.prompt_distance[kept], new.prompt_distance]),
        np.concatenate([old.shown_within[kept], new.shown_within]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class SavedMasks(Sequence[FrameMasks]):
    """Masks in a file or folder, read one frame at a time: `saved[3]`, or a loop over all.

    Label formats hold no scores: predicted IoU is 1 and the object score +10 for every object that
    has a pixel on the frame.

    Attributes:
        num_frames: Number of frames.
        frame_size: (H, W) in pixels.
        read: Frame index (0 to num_frames - 1) -> FrameMasks.
        frame_names: Names of the frames, where the format has them.
    """

    num_frames: int
    frame_size: tuple[int, int]
    read: Callable[[int], FrameMasks]
    frame_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return self.num_frames

    @overload
    def __getitem__(self, index: int) -> FrameMasks: ...
    @overload
    def __getitem__(self, index: slice) -> list[FrameMasks]: ...
    def __getitem__(self, index: int | slice) -> FrameMasks | list[FrameMasks]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.num_frames))]
        frame_index = index + self.num_frames if index < 0 else index
        if not 0 <= frame_index < self.num_frames:
            raise IndexError(f"no frame {index}; frames are 0 to {self.num_frames - 1}")
        return self.read(frame_index)
