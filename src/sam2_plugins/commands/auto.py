"""`sam2-plugins auto`: everything in an image, and through a stack or video as masklets."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import INTERRUPTED, json_result, say
from sam2_plugins.commands.options import (
    OUTPUT_HELP,
    add_generator,
    add_input,
    add_json,
    add_model,
    add_resume,
    generator_options,
    open_input,
    open_model,
    partial_of,
)

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sam2_plugins.core.automatic import MaskGenerator
    from sam2_plugins.core.frames import FrameSource
    from sam2_plugins.core.masks import FrameMasks
    from sam2_plugins.core.tracker import VideoTracker


def add_parser(subparsers: _SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "auto",
        help="segment everything, without prompts",
        description="Of a stack or video, Ctrl-C keeps what is finished in OUT.partial; --resume "
        "continues it.",
    )
    add_input(parser)
    parser.add_argument(
        *("-o", "--output"),
        type=Path,
        required=True,
        metavar="OUT",
        help=f"{OUTPUT_HELP}; .png for one image",
    )
    parser.add_argument(
        "--every",
        type=int,
        default=30,
        metavar="N",
        help="look for objects on one of N frames, and track them to the others (30)",
    )
    parser.add_argument(
        "--overlay", type=Path, metavar="PATH", help="pictures of the result, as in track"
    )
    add_resume(parser)
    add_generator(parser)
    add_model(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int | None:
    """Find, track and write; 130 when interrupted."""
    if arguments.every < 1:
        raise ValueError(f"--every must be 1 or more, not {arguments.every}")
    partial = partial_of(arguments.output, resume=arguments.resume)
    with closing(open_input(arguments.input, arguments)) as frames:
        from sam2_plugins.commands.overlay import check_overlay
        from sam2_plugins.commands.pictures import check_picture
        from sam2_plugins.core.automatic import MaskGenerator
        from sam2_plugins.core.formats.registry import check_output

        is_image = frames.num_frames == 1
        if is_image:
            check_picture(arguments.output, [arguments.input])
        else:
            check_output(arguments.output, sources=[arguments.input])
        if arguments.overlay:
            check_overlay(arguments.overlay, [arguments.input, arguments.output])
        model = open_model(arguments)
        generator = MaskGenerator(model, **generator_options(arguments))
        if is_image:
            num_objects, is_whole = _image(arguments, frames, generator), True
        else:
            from sam2_plugins.core.tracker import VideoTracker

            if arguments.resume:
                tracker = VideoTracker.load(partial, model, frames)
            else:
                tracker = VideoTracker(model, frames)
            is_whole = _masklets(arguments, generator, tracker, partial=partial)
            num_objects = len(tracker.object_ids)
    _report(arguments, generator, num_objects, is_whole)
    if arguments.json:
        json_result(
            command="auto",
            status="finished" if is_whole else "interrupted",
            input=str(arguments.input),
            output=str(arguments.output),
            frames=frames.num_frames,
            objects=num_objects,
        )
    return None if is_whole else INTERRUPTED


def _report(
    arguments: argparse.Namespace, generator: MaskGenerator, num_objects: int, is_whole: bool
) -> None:
    """Say what was found, or why that is nothing."""
    wrote = f"; wrote {arguments.output}" if is_whole else " so far"
    say(f"found {num_objects} objects{wrote}")
    if is_whole and not num_objects:
        asked = ("min_predicted_iou", "min_stability", "min_area")
        kept = generator.options
        options = (f"--{name.replace('_', '-')} {getattr(kept, name):g}" for name in asked)
        say(f"nothing passed {', '.join(options)}: lower ones keep more")


def _image(arguments: argparse.Namespace, frames: FrameSource, generator: MaskGenerator) -> int:
    from sam2_plugins.commands.overlay import draw, write_overlay
    from sam2_plugins.commands.pictures import write_masks
    from sam2_plugins.core.pixels import PixelPolicy

    image = PixelPolicy.fit(frames).to_rgb(frames.read(0))
    masks = _as_frame(generator, image)
    write_masks(arguments.output, masks)
    if arguments.overlay:
        write_overlay(arguments.overlay, lambda _: draw(image, masks), 1)
    return len(masks.object_ids)


def _as_frame(generator: MaskGenerator, image: NDArray[Any]) -> FrameMasks:
    """Everything found in an image, the surest first, as objects 1, 2, …."""
    import numpy as np

    from sam2_plugins.core.masks import FrameMasks

    found = generator.generate_rgb(image)
    masks = np.zeros((len(found), *image.shape[:2]), bool)
    for row, entry in zip(masks, found, strict=True):
        row[:] = entry.mask
    return FrameMasks(
        frame_index=0,
        object_ids=np.arange(1, len(found) + 1),
        masks=masks,
        predicted_iou=np.array([entry.predicted_iou for entry in found], np.float32),
        object_score_logits=np.full(len(found), 10, np.float32),
    )


def _masklets(
    arguments: argparse.Namespace,
    generator: MaskGenerator,
    tracker: VideoTracker,
    *,
    partial: Path,
) -> bool:
    """Find, track and write; whether the end was reached."""
    from sam2_plugins.commands.tracked import (
        follow,
        keep,
        kept_on_failure,
        with_count,
        write_tracked,
    )

    keys = key_frames(tracker.num_frames, arguments.every)
    # A second Ctrl-C there leaves at once, as was said after the first.
    with kept_on_failure(tracker, partial, failures=Exception):
        is_whole = follow(with_count(_found(arguments, generator, tracker)))
    if is_whole:
        with kept_on_failure(tracker, partial, failures=BaseException):
            write_tracked(tracker, arguments.output, arguments.overlay, shown=keys)
        partial.unlink(missing_ok=True)
    else:
        keep(tracker, partial)
    return is_whole


def _found(
    arguments: argparse.Namespace, generator: MaskGenerator, tracker: VideoTracker
) -> Iterator[FrameMasks]:
    """Everything, as it is found; first the rest of what a resumed run had found."""
    from sam2_plugins.core.automatic import auto_masklets
    from sam2_plugins.core.formats.registry import check_highest_id, format_of

    output = format_of(arguments.output)
    if tracker.object_ids:
        yield from tracker.propagate()
    keys = key_frames(tracker.num_frames, arguments.every)
    for frame in auto_masklets(tracker, generator, key_frames=keys):
        # Told as soon as it is known, not when all is tracked.
        check_highest_id(max(tracker.object_ids), output)
        yield frame


def key_frames(num_frames: int, every: int) -> list[int]:
    """The middle frames of stretches of about `every` frames that make up the whole."""
    count = -(-num_frames // every)
    return [(2 * index + 1) * num_frames // (2 * count) for index in range(count)]
