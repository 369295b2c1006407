"""One sequence of video object segmentation: prompt each object once, track it, compare."""

from __future__ import annotations

import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sam2_plugins.core.evaluation.cell_tracking import score_cells
from sam2_plugins.core.evaluation.following import BASELINES, Tracker, follow
from sam2_plugins.core.evaluation.metrics import FrameScore, mask_of, score_frame, summarise
from sam2_plugins.core.evaluation.rows import Outcome, ScoreRow
from sam2_plugins.core.evaluation.saving import save_predictions
from sam2_plugins.core.evaluation.starts import (
    check_frames,
    pick_evenly,
    prompted_frames,
    read_starts,
)
from sam2_plugins.core.formats.stack import MaskStack
from sam2_plugins.core.masks import FrameMasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sam2_plugins.core.evaluation.sequences import ObjectSpan, VosSequence
    from sam2_plugins.core.frames import FrameSource

__all__ = [
    "BASELINES",
    "PROMPT_FRAMES",
    "SCORINGS",
    "VOS_PROMPTS",
    "Tracker",
    "VosProtocol",
    "check_choice",
    "run_sequence",
]

VOS_PROMPTS = ("mask", "box", "1-click", "3-click", "5-click")
PROMPT_FRAMES = ("auto", "first", "largest")
SCORINGS = ("auto", "published", "held-out")
OVERLAPS = ("auto", "kept", "settled")


def check_choice(what: str, value: str, known: Sequence[str]) -> None:
    """Raise ValueError unless `value` is one of `known`."""
    if value not in known:
        raise ValueError(f"unknown {what} {value!r}; known are {', '.join(known)}")


@dataclass(frozen=True, slots=True)
class VosProtocol:
    """How objects are prompted and scored.

    Attributes:
        prompt: `mask`; `box`, the tight one; or `1-click`, `3-click`, `5-click`: the first at the
            object's centre, the others at the centre of the error of what came back.
        prompt_frame: `first` annotated frame, then forward, so objects may appear later; `largest`,
            where most of it is seen, then both ways; `auto`: first for videos, largest for volumes.
            In volumes in time the largest slice of the first time point, then as
            `follow_through_time` does.
        keyframes: Prompts on so many frames, evenly spaced over those where the object is seen, the
            first and the last of these among them, and then both ways. 1 for what `prompt_frame`
            says.
        scoring: `published`, the rule of the official evaluators of DAVIS, MOSE and SA-V: all
            annotated frames but the first and the last, from where the object is first seen or
            predicted. `held-out`: all annotated frames but the prompted one and those before it,
            and of videos but the last; of volumes in time but the prompted slice and earlier time
            points. `auto`: published for videos tracked forward from one frame, else held-out.
        overlaps: `settled`, masks are scored as a label image shows them; `kept`, each object by
            itself; `auto`: settled where the truth is label images.
        baselines: Any of `copy` and `flow`; both start from the true mask, whatever the prompt.
            They start from one frame: with several keyframes there are none.
        max_objects: At most so many objects of a sequence, evenly spaced by id; None for all.
        cell_tracking: Also SEG and DET of the Cell Tracking Challenge.
        save_masks: Folder that gets the masks as the official evaluators read them.

    Raises:
        ValueError: A choice is unknown, or does not go with another.
    """

    prompt: str = "mask"
    prompt_frame: str = "auto"
    keyframes: int = 1
    scoring: str = "auto"
    overlaps: str = "auto"
    baselines: Sequence[str] = BASELINES
    max_objects: int | None = None
    cell_tracking: bool = False
    save_masks: str | Path | None = None

    def __post_init__(self) -> None:
        check_choice("prompt", self.prompt, VOS_PROMPTS)
        check_choice("prompt_frame", self.prompt_frame, PROMPT_FRAMES)
        check_choice("scoring", self.scoring, SCORINGS)
        check_choice("overlaps", self.overlaps, OVERLAPS)
        for name in self.baselines:
            check_choice("baseline", name, BASELINES)
        if self.keyframes < 1:
            raise ValueError(f"keyframes must be 1 or more, not {self.keyframes}")
        if self.keyframes > 1:
            self._check_keyframes()

    def _check_keyframes(self) -> None:
        """Raise ValueError where something else takes objects to be prompted on one frame."""
        if self.baselines:
            raise ValueError("baselines start from one frame; several keyframes take none")
        for name, value in (("prompt_frame", self.prompt_frame), ("scoring", self.scoring)):
            if value not in ("auto", "held-out"):
                raise ValueError(f"{name} {value!r} is for one prompted frame, not for keyframes")

    def is_forward(self, sequence: VosSequence) -> bool:
        """Whether objects start on their first annotated frame and go forward."""
        if self.prompt_frame == "auto":
            return not sequence.is_volume and self.keyframes == 1
        return self.prompt_frame == "first"

    def is_published(self, sequence: VosSequence) -> bool:
        """Whether the rule of the official evaluators counts."""
        if self.scoring == "auto":
            return not sequence.is_volume and self.is_forward(sequence)
        return self.scoring == "published"

    def is_settled(self, sequence: VosSequence) -> bool:
        """Whether masks are scored as a label image shows them."""
        if self.overlaps == "auto":
            return sequence.object_frames is None
        return self.overlaps == "settled"


def run_sequence(
    sequence: VosSequence, *, make_tracker: Callable[[FrameSource], Tracker], protocol: VosProtocol
) -> Outcome:
    """Tracks all objects of a sequence together, with the tracker and with each baseline.

    Args:
        sequence: Frames and truth.
        make_tracker: Gives a new tracker for the frames.
        protocol: How.

    Returns:
        One row per method and object (and one of object 0 for what is measured of the whole), and
        the seconds of each method.

    Raises:
        ValueError: Frames and truth do not fit together, or a volume in time is to be followed or
            scored as a video.
    """
    if sequence.depth is not None and (
        protocol.is_forward(sequence) or protocol.is_published(sequence)
    ):
        raise ValueError(
            f"{sequence.name} is a volume in time: objects start on their largest slice and are "
            "scored on what is held out (prompt_frame and scoring auto)"
        )
    if sequence.depth is not None and protocol.keyframes > 1:
        raise ValueError(f"{sequence.name} is a volume in time: these are prompted on one slice")
    everything = sequence.spans()
    is_scored = not sequence.has_only_prompts(everything)
    spans = pick_evenly(everything, protocol.max_objects)
    is_forward = protocol.is_forward(sequence)
    starts = read_starts(sequence, spans, is_forward=is_forward, keyframes=protocol.keyframes)
    rows: list[ScoreRow] = []
    seconds: dict[str, float] = {}
    with closing(sequence.open()) as frames:
        check_frames(sequence, frames, starts)
        for method in ("sam2", *protocol.baselines):
            started = time.perf_counter()
            found = follow(
                *(frames, starts),
                method=make_tracker if method == "sam2" else method,
                prompt=protocol.prompt,
                is_forward=is_forward,
                depth=sequence.depth,
            )
            with _collect(found, frames) as stack:
                seconds[method] = time.perf_counter() - started
                if method == "sam2" and protocol.save_masks is not None:
                    save_predictions(Path(protocol.save_masks), sequence, stack, spans)
                scores = _scores(sequence, stack, spans, protocol=protocol) if is_scored else {}
                rows += _rows(sequence, spans, scores, method=method, length=frames.num_frames)
                if protocol.cell_tracking and is_scored:
                    cells = score_cells(sequence, stack, [span.object_id for span in spans])
                    rows.append(ScoreRow(sequence.name, 0, method, cells))
    return Outcome(tuple(rows), seconds, sequence.signature())


@contextmanager
def _collect(found: Iterable[FrameMasks], frames: FrameSource) -> Iterator[MaskStack]:
    """Runs a tracker to its end and keeps its masks, compressed, in a scratch file."""
    with tempfile.TemporaryFile(buffering=0) as spool:
        stack = MaskStack(spool, num_frames=frames.num_frames, frame_size=frames.frame_size)
        for frame in found:
            stack.put(frame)
        yield stack


def _rows(
    sequence: VosSequence,
    spans: Sequence[ObjectSpan],
    scores: Mapping[int, Sequence[FrameScore]],
    *,
    method: str,
    length: int,
) -> list[ScoreRow]:
    return [
        ScoreRow(
            *(sequence.name, span.object_id, method),
            asdict(summarise(scores.get(span.object_id, ()))),
            sequence.attributes(span, length),
        )
        for span in spans
    ]


def _scores(
    sequence: VosSequence,
    stack: MaskStack,
    spans: Sequence[ObjectSpan],
    *,
    protocol: VosProtocol,
) -> dict[int, list[FrameScore]]:
    """Object id -> scores of the frames that count."""
    read = _settled(stack) if protocol.is_settled(sequence) else stack.__getitem__
    if protocol.is_published(sequence):
        return _published_scores(sequence, read, spans)
    return _held_out_scores(sequence, read, spans, protocol=protocol)


def _settled(stack: MaskStack) -> Callable[[int], FrameMasks]:
    """Reads the masks of a frame as a label image shows them."""
    return lambda index: FrameMasks.from_labels(index, stack[index].to_labels())


def _published_scores(
    sequence: VosSequence, read: Callable[[int], FrameMasks], spans: Sequence[ObjectSpan]
) -> dict[int, list[FrameScore]]:
    """Object id -> scores, by the rule of the official evaluators."""
    scores: dict[int, list[FrameScore]] = {span.object_id: [] for span in spans}
    is_annotated: set[int] = set()
    counted = {span.object_id: set(sequence.frames_of(span.object_id)[1:-1]) for span in spans}
    for frame_index in sequence.annotated_frames:
        shown, truth = read(frame_index), sequence.read_truth(frame_index)
        for object_id, rows in scores.items():
            if frame_index not in counted[object_id]:
                continue
            score = score_frame(mask_of(shown, object_id), mask_of(truth, object_id))
            if rows or score.is_visible:
                rows.append(score)
            if score.truth_area:
                is_annotated.add(object_id)
    # what the truth never shows on a counted frame is not concluded
    return {key: rows if key in is_annotated else [] for key, rows in scores.items()}


def _held_out_scores(
    sequence: VosSequence,
    read: Callable[[int], FrameMasks],
    spans: Sequence[ObjectSpan],
    *,
    protocol: VosProtocol,
) -> dict[int, list[FrameScore]]:
    """Object id -> scores of the frames that tracking alone decides."""
    is_forward = protocol.is_forward(sequence)
    prompted = {
        span.object_id: prompted_frames(span, is_forward=is_forward, keyframes=protocol.keyframes)
        for span in spans
    }
    scores: dict[int, list[FrameScore]] = {span.object_id: [] for span in spans}
    frames = sequence.annotated_frames
    # DAVIS leaves out the last frame of a video, a custom without meaning for slices of a volume
    for frame_index in frames if sequence.is_volume else frames[:-1]:
        shown, truth = read(frame_index), sequence.read_truth(frame_index)
        for span in spans:
            if frame_index not in sequence.frames_of(span.object_id):
                continue
            start, *_ = said = prompted[span.object_id]
            is_before = (
                frame_index < start if is_forward else sequence.is_earlier(frame_index, start)
            )
            if frame_index not in said and not is_before:
                mask, true_mask = mask_of(shown, span.object_id), mask_of(truth, span.object_id)
                scores[span.object_id].append(score_frame(mask, true_mask))
    return scores
