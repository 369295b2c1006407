"""`sam2-plugins auto`: everything in an image, and through a stack or video as masklets."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import json_result, progress, say
from sam2_plugins.commands.options import (
    OUTPUT_HELP,
    add_input,
    add_json,
    add_model,
    open_input,
    open_model,
)

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction

    from numpy.typing import NDArray

    from sam2_plugins.core.automatic import MaskGenerator
    from sam2_plugins.core.frames import FrameSource
    from sam2_plugins.core.masks import FrameMasks
    from sam2_plugins.core.tracker import VideoTracker

GENERATOR_OPTIONS = (
    ("points_per_side", int, 32, "a grid of so many clicks a side"),
    ("min_predicted_iou", float, None, "drop masks with a lower predicted IoU"),
    ("min_stability", float, None, "drop masks that change more with the threshold"),
    ("min_area", int, 0, "drop masks, regions and holes of fewer pixels"),
    ("crop_layers", int, 0, "look again at crops of 1/2, 1/4, … of the sides"),
)


def add_parser(subparsers: _SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("auto", help="segment everything, without prompts")
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
    group = parser.add_argument_group("what is kept")
    for name, kind, default, text in GENERATOR_OPTIONS:
        option = "--" + name.replace("_", "-")
        usual = "as suits the model" if default is None else default
        group.add_argument(option, type=kind, default=default, help=f"{text} ({usual})")
    add_model(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Find, track and write."""
    if arguments.every < 1:
        raise ValueError(f"--every must be 1 or more, not {arguments.every}")
    with closing(open_input(arguments.input, arguments)) as frames:
        from sam2_plugins.commands.overlay import check_overlay
        from sam2_plugins.commands.pictures import check_picture
        from sam2_plugins.core.automatic import MaskGenerator
        from sam2_plugins.core.formats.registry import check_output

        is_image = frames.num_frames == 1
        (check_picture if is_image else check_output)(arguments.output)
        if arguments.overlay:
            check_overlay(arguments.overlay)
        model = open_model(arguments)
        chosen = {name: getattr(arguments, name) for name, *_ in GENERATOR_OPTIONS}
        generator = MaskGenerator(model, **chosen)
        if is_image:
            num_objects = _image(arguments, frames, generator)
        else:
            from sam2_plugins.core.tracker import VideoTracker

            tracker = VideoTracker(model, frames)
            num_objects = _masklets(arguments, frames, generator, tracker)
    say(f"found {num_objects} objects; wrote {arguments.output}")
    if not num_objects:
        asked = ("min_predicted_iou", "min_stability", "min_area")
        kept = generator.options
        options = (f"--{name.replace('_', '-')} {getattr(kept, name):g}" for name in asked)
        say(f"nothing passed {', '.join(options)}: lower ones keep more")
    if arguments.json:
        json_result(
            command="auto",
            input=str(arguments.input),
            output=str(arguments.output),
            frames=frames.num_frames,
            objects=num_objects,
        )


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
    frames: FrameSource,
    generator: MaskGenerator,
    tracker: VideoTracker,
) -> int:
    from sam2_plugins.commands.tracked import new_masks, write_tracked
    from sam2_plugins.core.automatic import auto_masklets

    keys = key_frames(frames.num_frames, arguments.every)
    found = auto_masklets(tracker, generator, key_frames=keys)
    for _ in progress(found, total=None, label="tracking", unit="masks", size=new_masks()):
        pass
    write_tracked(tracker, arguments.output, arguments.overlay, shown=keys)
    return len(tracker.object_ids)


def key_frames(num_frames: int, every: int) -> list[int]:
    """The middle frames of stretches of about `every` frames that make up the whole."""
    count = -(-num_frames // every)
    return [(2 * index + 1) * num_frames // (2 * count) for index in range(count)]
