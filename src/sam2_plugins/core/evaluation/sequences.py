"""Annotated videos and volumes: frames and truth, both read one frame at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2_plugins.core.frames import check_whole, open_frames, shows_time
from sam2_plugins.core.frames.source import hash_sample
from sam2_plugins.core.masks import FrameMasks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from sam2_plugins.core.frames import FrameSource

__all__ = ["FirstFrames", "ObjectSpan", "VosSequence", "size_bucket"]


@dataclass(frozen=True, slots=True)
class ObjectSpan:
    """Where one object is in its sequence, by its annotated frames.

    Attributes:
        object_id: Its id in the annotation.
        first_frame: First frame with a pixel of it.
        largest_frame: Frame with most of its pixels, the first of equal ones; of a volume in time,
            of the time point where it is first seen.
        num_visible: Frames with a pixel of it.
        num_absent: Frames (time points of a volume in time) without one between its first and its
            last.
        mean_area: Pixels per frame with it.
        visible_frames: Frames with a pixel of it, ascending.
    """

    object_id: int
    first_frame: int
    largest_frame: int
    num_visible: int = 1
    num_absent: int = 0
    mean_area: float = 0.0
    visible_frames: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class VosSequence:
    """A video or volume with its true masks, both read one frame at a time.

    Attributes:
        name: Unique within an evaluation.
        source: What `open_frames` takes.
        annotated_frames: Indices of the frames with truth, ascending.
        read_truth: Frame index -> true masks of that frame.
        is_volume: Whether the frames are slices through z.
        depth: Of a volume in time, the slices of each time point: frame `t * depth + z` is slice z
            of time point t. None for anything else.
        frame_names: Names of all frames without ending; None where files do not name them.
        object_frames: Object id -> its annotated frames, where every object has files of its own
            and objects may overlap; None where the truth is label images.
        output_step: Masks are saved of every how manyth frame.
        categories: Object id -> category, where the data set tells it.
        num_frames: Only so many frames from the first on; None for all.
    """

    name: str
    source: Any
    annotated_frames: tuple[int, ...]
    read_truth: Callable[[int], FrameMasks]
    is_volume: bool = False
    depth: int | None = None
    frame_names: tuple[str, ...] | None = None
    object_frames: Mapping[int, tuple[int, ...]] | None = None
    output_step: int = 1
    categories: Mapping[int, str] = field(default_factory=dict)
    num_frames: int | None = None

    def open(self) -> FrameSource:
        """Opens the frames; the caller closes them.

        Raises:
            ValueError: They cannot be read, or their file is cut short.
        """
        frames = open_frames(self.source)
        check_whole(frames)
        num_frames = min(self.num_frames or frames.num_frames, frames.num_frames)
        is_film = not self.is_volume and self.depth is None
        is_to_be_said = is_film and not shows_time(frames)
        if num_frames == frames.num_frames and not is_to_be_said:
            return frames
        return FirstFrames(frames, num_frames, shows_time=is_film)

    def first(self, num_frames: int) -> VosSequence:
        """The same sequence cut short: so many frames, or time points of a volume in time.

        Raises:
            ValueError: No frame, or none with truth, would be left.
        """
        num_frames *= self.depth or 1
        annotated = tuple(frame for frame in self.annotated_frames if frame < num_frames)
        if not annotated:
            raise ValueError(f"{self.name}: none of the first {num_frames} frames is annotated")
        object_frames = self.object_frames and {
            object_id: tuple(frame for frame in frames if frame < num_frames)
            for object_id, frames in self.object_frames.items()
        }
        return replace(
            self, annotated_frames=annotated, object_frames=object_frames, num_frames=num_frames
        )

    def point(self, frame_index: int) -> int:
        """The time point that a slice of a volume in time is of; elsewhere the frame itself."""
        return frame_index // (self.depth or 1)

    def is_earlier(self, frame_index: int, start: int) -> bool:
        """Whether a slice of a volume in time is of an earlier time point than another."""
        return self.depth is not None and self.point(frame_index) < self.point(start)

    def frames_of(self, object_id: int) -> tuple[int, ...]:
        """The annotated frames of an object."""
        if self.object_frames is None:
            return self.annotated_frames
        return self.object_frames.get(object_id, ())

    def spans(self) -> list[ObjectSpan]:
        """All objects, by id; reads every annotated frame once."""
        areas: dict[int, dict[int, int]] = {}
        for frame_index in self.annotated_frames:
            truth = self.read_truth(frame_index)
            for object_id, mask in zip(truth.object_ids.tolist(), truth.masks, strict=True):
                if mask.any():
                    areas.setdefault(object_id, {})[frame_index] = int(mask.sum())
        return [self._span(object_id, frames) for object_id, frames in sorted(areas.items())]

    def _span(self, object_id: int, areas: Mapping[int, int]) -> ObjectSpan:
        visible = {self.point(frame) for frame in areas}
        told = {self.point(frame) for frame in self.frames_of(object_id)}
        first, last = min(visible), max(visible)
        where = areas
        if self.depth is not None:
            where = {frame: a for frame, a in areas.items() if self.point(frame) == first}
        return ObjectSpan(
            object_id,
            min(areas),
            max(where, key=lambda frame: (areas[frame], -frame)),
            len(areas),
            sum(first <= point <= last for point in told) - len(visible),
            float(np.mean(list(areas.values()))),
            tuple(sorted(areas)),
        )

    def has_only_prompts(self, spans: list[ObjectSpan]) -> bool:
        """Whether the annotation only says where objects start, so that nothing can be scored.

        The public part of YouTube-VOS, MOSE and LVOS validation sets is of this kind.
        """
        starts = {span.first_frame for span in spans}
        return all(span.num_visible == 1 for span in spans) and starts == set(self.annotated_frames)

    def attributes(self, span: ObjectSpan, num_frames: int) -> dict[str, str]:
        """What objects are grouped by: kind, size, length, absence and, where known, category.

        Args:
            span: Of the object.
            num_frames: Of the whole sequence.
        """
        num_frames //= self.depth or 1
        kind = "volume" if self.is_volume else "video"
        found = {
            "kind": kind if self.depth is None else "volume in time",
            "size": size_bucket(span.mean_area),
            "length": "short" if num_frames < 60 else "medium" if num_frames < 300 else "long",
            "absence": "sometimes absent" if span.num_absent else "always there",
        }
        if span.object_id in self.categories:
            found["category"] = self.categories[span.object_id]
        return found

    def signature(self) -> str:
        """A hash of some pixels of frames and truth: the same wherever the files lie."""
        frames = self.open()
        try:
            shown = sorted({0, frames.num_frames // 2, frames.num_frames - 1})
            pixels = hash_sample(str(frames.num_frames), (frames.read(index) for index in shown))
        finally:
            frames.close()
        annotated = self.annotated_frames
        told = sorted({annotated[0], annotated[len(annotated) // 2], annotated[-1]})
        truth = hash_sample(repr(annotated), (self.read_truth(index).masks for index in told))
        return hashlib.sha256(f"{pixels} {truth}".encode()).hexdigest()[:16]

    @classmethod
    def from_arrays(
        cls, name: str, source: Any, labels: np.ndarray[Any, Any], *, is_volume: bool = False
    ) -> VosSequence:
        """A sequence in memory.

        Args:
            name: What to call it in results.
            source: What `open_frames` takes.
            labels: (T, H, W) integer, ids consistent over frames, 0 = background.
            is_volume: Whether the frames are slices through z.
        """
        return cls(name, source, tuple(range(len(labels))), partial(_read, labels), is_volume)


def size_bucket(area: float) -> str:
    """Small, medium or large: below 32 x 32 pixels, below 96 x 96, above, as COCO and SA-V do."""
    return "small" if area < 32**2 else "medium" if area < 96**2 else "large"


def _read(labels: NDArray[Any], frame_index: int) -> FrameMasks:
    return FrameMasks.from_labels(frame_index, labels[frame_index])


class FirstFrames:
    """The first frames of a source, or all, of which it is known what they are; see `FrameSource`.

    Args:
        frames: The source.
        num_frames: How many.
        shows_time: See `frames.shows_time`.
    """

    def __init__(self, frames: FrameSource, num_frames: int, *, shows_time: bool) -> None:
        self._frames = frames
        self.num_frames = num_frames
        self.shows_time = shows_time

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self._frames.frame_size

    @property
    def is_rgb(self) -> bool:
        """As in the whole."""
        return self._frames.is_rgb

    @property
    def signature(self) -> str:
        """That of the whole, and how much of it."""
        if self.num_frames == self._frames.num_frames:
            return self._frames.signature
        return f"{self._frames.signature}-{self.num_frames}"

    def read(self, frame_index: int) -> NDArray[Any]:
        """One frame, raw.

        Raises:
            ValueError: The frame is cut off.
        """
        if not 0 <= frame_index < self.num_frames:
            raise ValueError(f"no frame {frame_index}; frames are 0 to {self.num_frames - 1}")
        return self._frames.read(frame_index)

    def close(self) -> None:
        """Closes the whole."""
        self._frames.close()
