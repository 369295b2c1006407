"""`sam2-plugins track`: objects through a stack or video, from a file of prompts."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import INTERRUPTED, json_result, say
from sam2_plugins.commands.options import (
    OUTPUT_HELP,
    add_input,
    add_json,
    add_model,
    add_resume,
    open_input,
    open_model,
    partial_of,
)

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction

    from sam2_plugins.commands.frame_request import FrameRequest
    from sam2_plugins.commands.prompt_file import Entry
    from sam2_plugins.core.frames import FrameSource
    from sam2_plugins.core.masks import FrameMasks
    from sam2_plugins.core.tracker import VideoTracker


def add_parser(subparsers: _SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "track",
        help="track objects through a stack or video",
        description="Ctrl-C keeps what is finished in OUT.partial; --resume continues it.",
    )
    add_input(parser)
    parser.add_argument("--prompts", type=Path, required=True, metavar="JSON",
                        help="points, boxes and masks by frame and object")  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help=OUTPUT_HELP)
    parser.add_argument("--direction", choices=("both", "forward", "backward"), default="both",
                        help="which way from the prompts (both)")  # fmt: skip
    parser.add_argument("--start", type=int, metavar="FRAME", help="first frame to track")
    parser.add_argument("--stop", type=int, metavar="FRAME", help="first frame not to track")
    parser.add_argument("--stop-after-absent", type=int, metavar="N",
                        help="end an object when it was not seen on N frames in a row")  # fmt: skip
    parser.add_argument("--overlay", type=Path, metavar="PATH",
                        help="pictures of the result: .png sheet, .mp4, or a folder")  # fmt: skip
    add_resume(parser)
    add_model(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int | None:
    """Track and write; 130 when interrupted."""
    for needed in (arguments.input, arguments.prompts):
        if not needed.exists():
            raise FileNotFoundError(f"there is no file or folder {needed}")
    partial = partial_of(arguments.output, resume=arguments.resume)

    from sam2_plugins.commands.overlay import check_overlay
    from sam2_plugins.commands.prompt_file import check_ids, read_prompts
    from sam2_plugins.commands.tracked import keep, kept_on_failure
    from sam2_plugins.core.formats.registry import check_output
    from sam2_plugins.core.formats.staging import check_apart

    sources = [arguments.input, arguments.prompts]
    output = check_output(arguments.output, sources=sources)
    if arguments.overlay:
        check_overlay(arguments.overlay, [*sources, arguments.output])
    with closing(open_input(arguments.input, arguments)) as frames:
        _check_range(arguments, frames)
        entries = read_prompts(arguments.prompts, frames)
        check_ids(entries, output)
        for written in filter(None, (arguments.output, arguments.overlay)):
            check_apart(written, [entry.mask_file for entry in entries if entry.mask_file])
        started = time.monotonic()
        tracker = _begin(arguments, entries, frames, partial)
        asked, begun = _requests(arguments, frames, partial)
        # A second Ctrl-C there leaves at once, as was said after the first.
        with kept_on_failure(tracker, partial, failures=Exception, request=begun):
            is_whole = _propagate(tracker, arguments)
        seconds = time.monotonic() - started
        if is_whole:
            with kept_on_failure(tracker, partial, failures=BaseException, request=begun):
                _write(tracker, arguments)
            say(f"wrote {arguments.output}")
        if is_whole and asked.covers(begun):
            partial.unlink(missing_ok=True)
        else:
            if is_whole:
                say(f"of what was asked at first ({begun}) a part is left out")
            keep(tracker, partial, request=begun)
        _report(tracker, arguments, frames, seconds, is_whole)
    return None if is_whole else INTERRUPTED


def _requests(
    arguments: argparse.Namespace, frames: FrameSource, partial: Path
) -> tuple[FrameRequest, FrameRequest]:
    """What this run is asked for, and what is to be done before nothing has to be kept."""
    from sam2_plugins.commands.frame_request import FrameRequest

    asked = FrameRequest.of(arguments, frames.num_frames)
    begun = FrameRequest.read_from(partial) if arguments.resume else None
    return asked, asked if begun is None or asked.covers(begun) else begun


def _check_range(arguments: argparse.Namespace, frames: FrameSource) -> None:
    start = 0 if arguments.start is None else arguments.start
    stop = frames.num_frames if arguments.stop is None else arguments.stop
    if not 0 <= start < stop <= frames.num_frames:
        raise ValueError(
            f"--start {start} --stop {stop} is no range of frames; they are 0 to "
            f"{frames.num_frames - 1}, and --stop is the first one left out"
        )
    if arguments.stop_after_absent is not None and arguments.stop_after_absent < 1:
        raise ValueError(
            f"--stop-after-absent must be 1 or more, not {arguments.stop_after_absent}"
        )


def _begin(
    arguments: argparse.Namespace, entries: list[Entry], frames: FrameSource, partial: Path
) -> VideoTracker:
    """A tracker with the prompts, new or as it was when it was interrupted."""
    from sam2_plugins.commands.prompt_file import check_same_prompts, give_prompts
    from sam2_plugins.core.tracker import VideoTracker

    model = open_model(arguments)
    if arguments.resume:
        tracker = VideoTracker.load(partial, model, frames)
        check_same_prompts(tracker, entries, partial)
        return tracker
    tracker = VideoTracker(model, frames)
    give_prompts(tracker, entries)
    return tracker


def _propagate(tracker: VideoTracker, arguments: argparse.Namespace) -> bool:
    """Track until the end, or until the user asks to stop; whether the end was reached."""
    from sam2_plugins.commands.tracked import follow, with_progress

    found = tracker.propagate(
        start=arguments.start,
        stop=arguments.stop,
        direction=arguments.direction,
        stop_after_absent=arguments.stop_after_absent,
    )
    return follow(with_progress(found))


def _write(tracker: VideoTracker, arguments: argparse.Namespace) -> None:
    from sam2_plugins.commands.tracked import write_tracked

    prompted = {frame for masklet in tracker.prompts.values() for frame in masklet}
    write_tracked(tracker, arguments.output, arguments.overlay, shown=prompted)


def _report(
    tracker: VideoTracker,
    arguments: argparse.Namespace,
    frames: FrameSource,
    seconds: float,
    is_whole: bool,
) -> None:
    """Say how each object fared, and which frame to look at."""
    seen: dict[int, list[float]] = {object_id: [] for object_id in tracker.object_ids}
    for frame in map(tracker.masks, range(frames.num_frames)):
        _count(frame, seen)
    for object_id, scores in seen.items():
        mean = sum(scores) / len(scores) if scores else 0.0
        say(f"object {object_id}: on {len(scores)} frames, mean predicted IoU {mean:.2f}")
    doubtful = tracker.suggest_frame() if is_whole else None
    if doubtful is not None:
        say(f"most worth checking: frame {doubtful}")
    if arguments.json:
        json_result(
            command="track",
            status="finished" if is_whole else "interrupted",
            input=str(arguments.input),
            output=str(arguments.output),
            frames=frames.num_frames,
            objects=[
                {
                    "object": object_id,
                    "frames": len(scores),
                    "predicted_iou": round(sum(scores) / len(scores), 4) if scores else None,
                }
                for object_id, scores in seen.items()
            ],
            seconds=round(seconds, 3),
            suggested_frame=doubtful,
        )


def _count(frame: FrameMasks, seen: dict[int, list[float]]) -> None:
    """Note the scores of the objects that a label image shows."""
    import numpy as np

    is_shown = frame.masks.any(axis=(1, 2)) & ~frame.gives_way
    for row in np.flatnonzero(is_shown).tolist():
        seen[int(frame.object_ids[row])].append(float(frame.predicted_iou[row]))
