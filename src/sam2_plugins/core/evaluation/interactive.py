"""A simulated annotator who corrects frame after frame (SAM 2 paper, promptable segmentation).

Every object is annotated by itself: some clicks on the frame where it first appears, each at the
centre of the error; then the video is tracked, another frame is chosen, corrected, and so on. The
protocols differ in how that frame is found:

- `offline`: after watching the whole result, the frame with the lowest IoU.
- `online`: watching only once, the next frame whose IoU is below a threshold; what is before stays.
- `suggested`: not watching at all, the frame that the tracker itself doubts most; the truth only
  serves to click. A frame that is right is confirmed instead.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from sam2_plugins.core.evaluation.clicks import click_until_right
from sam2_plugins.core.evaluation.metrics import FrameScore, mask_of, nan_mean, score_frame
from sam2_plugins.core.evaluation.rows import Outcome, ScoreRow
from sam2_plugins.core.evaluation.starts import check_frames, pick_evenly, read_starts
from sam2_plugins.core.evaluation.vos import check_choice
from sam2_plugins.core.masks import PackedMask, pack_mask, unpack_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from sam2_plugins.core.evaluation.sequences import ObjectSpan, VosSequence
    from sam2_plugins.core.frames import FrameSource
    from sam2_plugins.core.masks import FrameMasks

__all__ = [
    "ABSENT",
    "INTERACTIVE",
    "AnnotationTime",
    "CorrectableTracker",
    "InteractiveProtocol",
    "run_interactive",
]

INTERACTIVE = ("offline", "online", "suggested")
ABSENT = ("clicks", "mask")


@dataclass(frozen=True, slots=True)
class AnnotationTime:
    """How long the simulated annotator takes, in seconds, by the paper's model.

    Attributes:
        examine_s: To watch 300 frames.
        locate_s: To find the object on a frame.
        click_s: To place a click.
    """

    examine_s: float = 30.0
    locate_s: float = 1.0
    click_s: float = 1.5

    def seconds(self, *, watched_frames: int, num_frames: int, num_clicks: int) -> float:
        """Time for so many frames watched, frames worked on and clicks."""
        watching = self.examine_s * watched_frames / 300
        return watching + self.locate_s * num_frames + self.click_s * num_clicks


@dataclass(frozen=True, slots=True)
class InteractiveProtocol:
    """How the annotator works.

    Attributes:
        protocols: Any of `offline`, `online` and `suggested`.
        clicks_per_frame: At most so many clicks on a frame.
        num_frames: At most so many frames with clicks.
        threshold: Online: a frame with a lower IoU is corrected.
        absent: What the annotator does on a frame without the object: `clicks`, as on any other, or
            `mask`, an empty one, which says at the cost of a click that it is not there.
        max_objects: At most so many objects of a sequence, evenly spaced by id; None for all.
        time: How long it takes.

    Raises:
        ValueError: A choice is unknown or out of range.
    """

    protocols: Sequence[str] = INTERACTIVE
    clicks_per_frame: int = 3
    num_frames: int = 8
    threshold: float = 0.75
    absent: str = "clicks"
    max_objects: int | None = None
    time: AnnotationTime = field(default_factory=AnnotationTime)

    def __post_init__(self) -> None:
        if not self.protocols:
            raise ValueError(f"there are no protocols; they are {', '.join(INTERACTIVE)}")
        for name in self.protocols:
            check_choice("protocol", name, INTERACTIVE)
        check_choice("absent", self.absent, ABSENT)
        if self.clicks_per_frame < 1 or self.num_frames < 1:
            raise ValueError(
                "clicks and frames must be 1 or more, not "
                f"{self.clicks_per_frame} and {self.num_frames}"
            )
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"the threshold is an IoU, 0 to 1, not {self.threshold}")


class CorrectableTracker(Protocol):
    """What is evaluated: `VideoTracker`, or anything that takes the same corrections."""

    def add_points(
        self, frame_index: int, object_id: int, points: Any, point_labels: Any
    ) -> FrameMasks:
        """Adds clicks and gives the masks of that frame."""

    def set_mask(self, frame_index: int, object_id: int, mask: Any) -> FrameMasks:
        """Sets a mask and gives the masks of that frame."""

    def propagate(
        self,
        *,
        start: int | None = None,
        direction: Literal["both", "forward", "backward"] = "both",
        object_ids: Sequence[int] | None = None,
    ) -> Iterator[FrameMasks]:
        """Tracks away from the prompts."""

    def masks(self, frame_index: int) -> FrameMasks:
        """What is known of a frame."""

    def confirm(self, object_id: int, frame_index: int) -> None:
        """Says that a mask is right."""

    def suggest_frame(self, object_id: int | None = None) -> int | None:
        """The frame most worth checking."""

    def remove_object(self, object_id: int) -> None:
        """Forgets an object."""


def run_interactive(
    sequence: VosSequence,
    *,
    make_tracker: Callable[[FrameSource], CorrectableTracker],
    protocol: InteractiveProtocol,
) -> Outcome:
    """Annotates each object of a sequence by each protocol.

    Args:
        sequence: Frames and truth.
        make_tracker: Gives a tracker for the frames; its encoded frames serve all objects.
        protocol: How.

    Returns:
        One row per protocol and object. `j_and_f@n` is the mean over the annotated frames from the
        object's first on, prompted ones included, once n frames have clicks; `seconds@n` the time
        it took the annotator; `j_and_f` the mean over n.

    Raises:
        ValueError: Frames and truth do not fit together, or the truth only says where objects
            start.
    """
    if sequence.depth is not None:
        raise ValueError(f"{sequence.name} is a volume in time: only `evaluate vos` takes it")
    everything = sequence.spans()
    if sequence.has_only_prompts(everything):
        raise ValueError(f"{sequence.name}: the truth only says where objects start")
    spans = pick_evenly(everything, protocol.max_objects)
    rows = []
    seconds = dict.fromkeys(protocol.protocols, 0.0)
    with closing(sequence.open()) as frames:
        check_frames(sequence, frames, read_starts(sequence, spans, is_forward=True))
        tracker = make_tracker(frames)
        for span in spans:
            truth = _read_truth(sequence, span)
            for name in protocol.protocols:
                started = time.perf_counter()
                annotator = _Annotator(tracker, span, truth, protocol)
                metrics = annotator.work(name, frames.num_frames - span.first_frame)
                tracker.remove_object(span.object_id)
                seconds[name] += time.perf_counter() - started
                attributes = sequence.attributes(span, frames.num_frames)
                rows.append(ScoreRow(sequence.name, span.object_id, name, metrics, attributes))
    return Outcome(tuple(rows), seconds, sequence.signature())


def _read_truth(sequence: VosSequence, span: ObjectSpan) -> dict[int, PackedMask]:
    """The true masks of an object from its first frame on."""
    return {
        frame: pack_mask(mask_of(sequence.read_truth(frame), span.object_id))
        for frame in sequence.frames_of(span.object_id)
        if frame >= span.first_frame
    }


class _Annotator:
    """Works on one object."""

    def __init__(
        self,
        tracker: CorrectableTracker,
        span: ObjectSpan,
        truth: dict[int, PackedMask],
        protocol: InteractiveProtocol,
    ) -> None:
        self._tracker, self._span = tracker, span
        self._truth, self._protocol = truth, protocol
        self._num_clicks = 0
        self._visited: list[int] = []
        self._scores: dict[int, tuple[bytes, FrameScore]] = {}

    def work(self, name: str, length: int) -> dict[str, float]:
        """All rounds of one protocol.

        Args:
            name: Of the protocol.
            length: Frames from the object's first on.

        Returns:
            The metrics of the row.
        """
        metrics: dict[str, float] = {}
        frame: int | None = self._span.first_frame
        for number in range(1, self._protocol.num_frames + 1):
            if frame is not None:
                self._correct(frame)
                self._track(frame if name == "online" else self._span.first_frame, name)
            # whoever has nothing left to do stops: quality and time stay as they are
            watched = {"offline": len(self._visited), "online": 1, "suggested": 0}[name]
            metrics[f"j_and_f@{number}"] = self._j_and_f()
            metrics[f"seconds@{number}"] = self._protocol.time.seconds(
                watched_frames=watched * length,
                num_frames=len(self._visited),
                num_clicks=self._num_clicks,
            )
            frame = None if frame is None else self._next(name)
        mean = nan_mean(
            metrics[f"j_and_f@{number}"] for number in range(1, self._protocol.num_frames + 1)
        )
        done = {"frames": len(self._visited), "clicks": self._num_clicks}
        return {"j_and_f": mean, **done, **metrics}

    def _correct(self, frame: int) -> None:
        """Clicks on a frame until it is right or the clicks are spent."""
        object_id, truth = self._span.object_id, unpack_mask(self._truth[frame])
        before = mask_of(self._tracker.masks(frame), object_id)
        self._visited.append(frame)
        if self._protocol.absent == "mask" and before.any() and not truth.any():
            self._tracker.set_mask(frame, object_id, truth)
            self._num_clicks += 1
            return

        def add(xy: tuple[int, int], point_label: int) -> NDArray[np.bool_]:
            preview = self._tracker.add_points(frame, object_id, [xy], [point_label])
            return mask_of(preview, object_id)

        num_clicks = click_until_right(
            truth, before, add, num_clicks=self._protocol.clicks_per_frame
        )
        if num_clicks == 0:
            self._tracker.confirm(object_id, frame)
        self._num_clicks += num_clicks

    def _track(self, start: int, name: str) -> None:
        direction: Literal["both", "forward"] = "forward" if name == "online" else "both"
        for _ in self._tracker.propagate(
            start=start, direction=direction, object_ids=[self._span.object_id]
        ):
            pass
        for frame, packed in self._truth.items():
            mask = mask_of(self._tracker.masks(frame), self._span.object_id)
            bits = np.packbits(mask).tobytes()
            if frame not in self._scores or self._scores[frame][0] != bits:
                self._scores[frame] = bits, score_frame(mask, unpack_mask(packed))

    def _j_and_f(self) -> float:
        return nan_mean((score.j + score.f) / 2 for _, score in self._scores.values())

    def _next(self, name: str) -> int | None:
        """The frame to correct next; None where there is nothing left to do."""
        iou = {f: score.j for f, (_, score) in self._scores.items() if f not in self._visited}
        if name == "offline":
            worst = min(iou, key=lambda frame: (iou[frame], frame), default=None)
            return None if worst is None or iou[worst] == 1 else worst
        if name == "online":
            low = (f for f in iou if f > self._visited[-1] and iou[f] < self._protocol.threshold)
            return min(low, default=None)
        suggested = self._tracker.suggest_frame(self._span.object_id)
        if suggested is None:
            return None
        # not every frame has a truth to click by
        return min(iou, key=lambda frame: (abs(frame - suggested), frame), default=None)
