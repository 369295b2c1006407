"""Tracks the objects of one video: frames and prompts in, masks out. Knows no dataset."""

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sam2_plugins.core import SAM2, FrameMasks, FrameSource, VideoTracker
from sam2_plugins.fiftyone_plugin.frame_prompt import Prompt
from sam2_plugins.fiftyone_plugin.labels import to_frame_number

DIRECTIONS = ("both", "forward", "backward")


@dataclass(frozen=True, slots=True)
class Job:
    """One video's work. Frames are counted from 0 in the video.

    Attributes:
        frames: All of the video.
        prompts: By object id (1 or more) and frame.
        compute: The frames that are to have masks, ascending.
        direction: "both", "forward" or "backward", away from the prompts.
        name: What to call the video in messages.
    """

    frames: FrameSource
    prompts: Mapping[int, Mapping[int, Prompt]]
    compute: Sequence[int]
    direction: str = "both"
    name: str = "video"

    @property
    def visited(self) -> list[int]:
        """The frames that are read: those to compute, and those with prompts."""
        return sorted({*self.compute, *(n for frames in self.prompts.values() for n in frames)})

    @property
    def num_visits(self) -> int:
        """How many frames are tracked or passed; those reached from both sides count twice."""
        span = set(self.visited) & set(range(self.compute[0], self.compute[-1] + 1))
        ahead: set[int] = set()
        behind: set[int] = set()
        for prompts in self.prompts.values():
            reached = _reach(prompts, self.visited, self.direction)
            ahead |= reached[0]
            behind |= reached[1]
        return len(ahead & span) + len(behind & span)

    def last_reached(self, object_id: int) -> int:
        """The last frame to compute that the object's tracking comes to."""
        ahead, behind = _reach(self.prompts[object_id], self.visited, self.direction)
        return max((ahead | behind).intersection(self.compute), default=self.compute[-1])


class Keeper(Protocol):
    """Puts a tracker aside, and brings it back."""

    def load(self, model: SAM2, frames: FrameSource) -> VideoTracker | None:
        """The tracker as it was put aside; None where there is none."""

    def keep(self, tracker: VideoTracker) -> None:
        """Put the tracker aside, if it is time to; called after every frame."""

    def save(self, tracker: VideoTracker) -> None:
        """Put the tracker aside, since the run ends before its time."""


def run_job(
    model: SAM2, job: Job, keeper: Keeper | None = None
) -> Generator[tuple[FrameMasks, int], None, None]:
    """Track.

    Args:
        model: From `load_model`.
        job: What to do.
        keeper: Of a run with the same job that ended before its time, and of this one.

    Yields:
        The masks of a frame that is to have some, as they are computed, and how many of the job's
        visits are done; its `frame_index` is that of the whole video. A frame that is reached both
        ways comes twice; the later has all. What an earlier run has computed comes first.

    Raises:
        ValueError: A prompt does not fit its frame; the message names both.
    """
    if not job.prompts or not job.compute:
        return
    visited, wanted = job.visited, set(job.compute)
    frames = SelectedFrames(job.frames, visited)
    tracker = keeper.load(model, frames) if keeper is not None else None
    known = [] if tracker is None else tracker.known_frames()
    tracker = tracker or _begin(model, job, frames)
    is_over = False
    try:
        for found, num_visited in _masks(tracker, job, known):
            frame = visited[found.frame_index]
            if frame in wanted:
                yield found.on_frame(frame), num_visited
            if keeper is not None:
                keeper.keep(tracker)
        is_over = True
    finally:
        if keeper is not None and not is_over:
            keeper.save(tracker)


def _begin(model: SAM2, job: Job, frames: FrameSource) -> VideoTracker:
    """A tracker that knows the prompts."""
    tracker = VideoTracker(model, frames)
    positions = {frame: position for position, frame in enumerate(job.visited)}
    for object_id, prompts in job.prompts.items():
        for frame in sorted(prompts):
            try:
                give_prompt(tracker, positions[frame], object_id, prompts[frame])
            except ValueError as error:
                number = to_frame_number(frame)
                raise ValueError(f"{job.name}, frame {number}: {error}") from error
    return tracker


def _masks(
    tracker: VideoTracker, job: Job, known: Sequence[int]
) -> Iterator[tuple[FrameMasks, int]]:
    """What is known already, then what is computed; each with how many visits are done."""
    for frame in known:
        yield tracker.masks(frame), 0
    positions = {frame: position for position, frame in enumerate(job.visited)}
    run = tracker.propagate(
        start=positions[job.compute[0]],
        stop=positions[job.compute[-1]] + 1,
        direction=job.direction,  # type: ignore[arg-type]
    )
    for found in run:
        yield found, run.num_visited


def give_prompt(tracker: VideoTracker, position: int, object_id: int, prompt: Prompt) -> None:
    """Tell a tracker what labels say of an object on a frame.

    Raises:
        ValueError: The prompt does not fit the frame.
    """
    if prompt.mask is not None:
        tracker.set_mask(position, object_id, prompt.mask)
    elif prompt.box is None and not prompt.points:
        raise ValueError("a prompt has no points; give it some, or remove it")
    if prompt.box is not None:
        tracker.set_box(position, object_id, prompt.box)
    if prompt.points:
        tracker.add_points(position, object_id, prompt.points, prompt.point_labels)


class SelectedFrames:
    """Some frames of a source, in order, as a source of their own.

    Args:
        source: All frames.
        chosen: Which, ascending.
    """

    def __init__(self, source: FrameSource, chosen: Sequence[int]) -> None:
        self._source = source
        self._chosen = tuple(chosen)

    @property
    def num_frames(self) -> int:
        """How many were chosen."""
        return len(self._chosen)

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W) of every frame in pixels."""
        return self._source.frame_size

    @property
    def is_rgb(self) -> bool:
        """Whether frames are (H, W, 3) colours."""
        return self._source.is_rgb

    @property
    def shows_time(self) -> bool:
        """Always: they are frames of a video, also where it is grey."""
        return True

    @property
    def signature(self) -> str:
        """That of the source, and which were chosen."""
        return f"{self._source.signature}-{hash(self._chosen)}"

    def read(self, frame_index: int) -> Any:
        """The chosen frame with that position."""
        return self._source.read(self._chosen[frame_index])

    def close(self) -> None:
        """Close the source."""
        self._source.close()


def _reach(
    prompted: Collection[int], visited: Sequence[int], direction: str
) -> tuple[set[int], set[int]]:
    """The frames that an object's tracking reaches forward and backward; its prompts once."""
    first, last = min(prompted), max(prompted)
    ahead = {frame for frame in visited if frame >= first}
    behind = {frame for frame in visited if frame <= last}
    if direction == "forward":
        return ahead, set()
    if direction == "backward":
        return set(), behind
    return ahead, behind.difference(prompted)
