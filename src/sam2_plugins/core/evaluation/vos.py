"""One sequence of video object segmentation: prompt each object once, track it, compare."""

from __future__ import annotations

import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from sam2_plugins.core.evaluation.baselines import PromptedMask, copy_masks, warp_masks
from sam2_plugins.core.evaluation.clicks import next_click
from sam2_plugins.core.evaluation.metrics import FrameScore, score_frame, summarise
from sam2_plugins.core.evaluation.results import ScoreRow
from sam2_plugins.core.formats.stack import MaskStack
from sam2_plugins.core.masks import mask_to_box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from sam2_plugins.core.evaluation.sequences import VosSequence
    from sam2_plugins.core.frames import FrameSource
    from sam2_plugins.core.masks import FrameMasks

__all__ = ["Tracker", "run_sequence"]


class Tracker(Protocol):
    """What is evaluated: `VideoTracker`, or anything that takes the same prompts."""

    def add_points(
        self, frame_index: int, object_id: int, points: Any, point_labels: Any
    ) -> FrameMasks:
        """Adds clicks and gives the masks of that frame."""

    def set_box(self, frame_index: int, object_id: int, box: Any) -> FrameMasks:
        """Sets a box and gives the masks of that frame."""

    def set_mask(self, frame_index: int, object_id: int, mask: Any) -> FrameMasks:
        """Sets a mask and gives the masks of that frame."""

    def propagate(
        self, *, direction: Literal["both", "forward", "backward"] = "both"
    ) -> Iterator[FrameMasks]:
        """Tracks away from the prompts."""


def run_sequence(
    sequence: VosSequence,
    make_tracker: Callable[[FrameSource], Tracker],
    *,
    prompt: str,
    is_forward: bool,
    baselines: Sequence[str],
) -> tuple[list[ScoreRow], dict[str, float]]:
    """Tracks all objects of a sequence together, with the tracker and with each baseline.

    Args:
        sequence: Frames and truth.
        make_tracker: Gives a new tracker for the frames.
        prompt: `mask`, `box` or `N-click`.
        is_forward: Objects start on their first annotated frame and go forward; else on the frame
            where they are largest, and go both ways.
        baselines: Any of `copy` and `flow`.

    Returns:
        One row per method and object, and the seconds of each method.

    Raises:
        ValueError: Frames and truth do not fit together.
    """
    starts = _read_starts(sequence, is_forward=is_forward)
    rows: list[ScoreRow] = []
    seconds: dict[str, float] = {}
    with closing(sequence.open()) as frames:
        _check_frames(sequence, frames, starts)
        for method in ("sam2", *baselines):
            started = time.perf_counter()
            if method == "sam2":
                found = _track(make_tracker(frames), starts, prompt, is_forward=is_forward)
            else:
                baseline = copy_masks if method == "copy" else warp_masks
                found = baseline(frames, starts, backward=not is_forward)
            with _collect(found, frames) as stack:
                seconds[method] = time.perf_counter() - started
                scores = _score(sequence, stack, starts, is_forward=is_forward)
            rows += [
                ScoreRow(sequence.name, object_id, method, asdict(summarise(frame_scores)))
                for object_id, frame_scores in scores.items()
            ]
    return rows, seconds


def _read_starts(sequence: VosSequence, *, is_forward: bool) -> list[PromptedMask]:
    starts = []
    for span in sequence.spans():
        frame_index = span.first_frame if is_forward else span.largest_frame
        mask = _mask_of(sequence.read_truth(frame_index), span.object_id)
        starts.append(PromptedMask(span.object_id, frame_index, mask))
    return starts


def _check_frames(
    sequence: VosSequence, frames: FrameSource, starts: Sequence[PromptedMask]
) -> None:
    last = sequence.annotated_frames[-1]
    if last >= frames.num_frames:
        raise ValueError(
            f"{sequence.name}: frame {last} is annotated, but there are {frames.num_frames} frames"
        )
    for start in starts:
        if start.mask.shape != tuple(frames.frame_size):
            raise ValueError(
                f"{sequence.name}: masks have size {start.mask.shape}, "
                f"frames {tuple(frames.frame_size)}"
            )


def _track(
    tracker: Tracker, starts: Sequence[PromptedMask], prompt: str, *, is_forward: bool
) -> Iterator[FrameMasks]:
    for start in starts:
        if prompt == "mask":
            tracker.set_mask(start.frame_index, start.object_id, start.mask)
        elif prompt == "box":
            box = mask_to_box(start.mask).astype(np.float64)
            tracker.set_box(start.frame_index, start.object_id, box)
        else:
            _click(tracker, start, int(prompt.partition("-")[0]))
    return tracker.propagate(direction="forward" if is_forward else "both")


def _click(tracker: Tracker, start: PromptedMask, num_clicks: int) -> None:
    """Clicks where the preview is most wrong, until it is right or the clicks are spent."""
    mask = None
    for _ in range(num_clicks):
        click = next_click(start.mask, mask)
        if click is None:
            return
        preview = tracker.add_points(
            start.frame_index, start.object_id, [(click.x, click.y)], [click.point_label]
        )
        mask = _mask_of(preview, start.object_id)


@contextmanager
def _collect(found: Iterable[FrameMasks], frames: FrameSource) -> Iterator[MaskStack]:
    """Runs a tracker to its end and keeps its masks, compressed, in a scratch file."""
    with tempfile.TemporaryFile(buffering=0) as spool:
        stack = MaskStack(spool, num_frames=frames.num_frames, frame_size=frames.frame_size)
        for frame in found:
            stack.put(frame)
        yield stack


def _score(
    sequence: VosSequence,
    stack: MaskStack,
    starts: Sequence[PromptedMask],
    *,
    is_forward: bool,
) -> dict[int, list[FrameScore]]:
    """Object id -> scores of the frames that count."""
    scores: dict[int, list[FrameScore]] = {start.object_id: [] for start in starts}
    frames = sequence.annotated_frames
    # DAVIS leaves out the last frame of a video, a custom without meaning for slices of a volume
    for frame_index in frames if sequence.is_volume else frames[:-1]:
        shown, truth = stack[frame_index], sequence.read_truth(frame_index)
        for start in starts:
            is_before = is_forward and frame_index < start.frame_index
            if frame_index != start.frame_index and not is_before:
                mask, true_mask = _mask_of(shown, start.object_id), _mask_of(truth, start.object_id)
                scores[start.object_id].append(score_frame(mask, true_mask))
    return scores


def _mask_of(frame: FrameMasks, object_id: int) -> NDArray[np.bool_]:
    """The object's mask, (H, W) bool, empty when it has none on that frame."""
    rows = np.flatnonzero(frame.object_ids == object_id)
    if len(rows) == 0:
        return np.zeros(frame.masks.shape[1:], np.bool_)
    mask: NDArray[np.bool_] = frame.masks[rows[0]]
    return mask
