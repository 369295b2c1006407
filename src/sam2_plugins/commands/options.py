"""Options that several commands share, and what they open."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam2_plugins.core.frames import FrameSource
    from sam2_plugins.core.model.sam2 import SAM2

INPUT_HELP = "multi-page TIFF, OME-TIFF, OME-Zarr, zarr, .npy, video file, or folder of images"
OUTPUT_HELP = ".tif: label stack; .zarr: OME-Zarr labels; .json: run lengths; else a folder of PNGs"

GENERATOR_OPTIONS = (
    ("points_per_side", int, 32, "a grid of so many clicks a side"),
    ("min_predicted_iou", float, None, "drop masks with a lower predicted IoU"),
    ("min_stability", float, None, "drop masks that change more with the threshold"),
    ("max_known_share", float, None, "drop masks of which better ones cover more; 1 for none"),
    ("min_area", int, 0, "drop masks, regions and holes of fewer pixels"),
    ("crop_layers", int, 0, "look again at crops of 1/2, 1/4, … of the sides"),
)


def add_input(parser: argparse.ArgumentParser, name: str = "input") -> None:
    """Add INPUT and the options that say how its axes are read."""
    parser.add_argument(name, metavar=name.upper(), type=Path, help=INPUT_HELP)
    group = parser.add_argument_group("reading the input")
    group.add_argument(
        *("--axis", "--axes"),
        metavar="AXES",
        help="a letter per axis of t z c y x s (t: time, in which things stay; z: slices, where "
        "they end; s: RGB), such as yxz; or, of three axes, the number of the one to walk through",
    )
    group.add_argument(
        "--at",
        action="append",
        default=[],
        type=position,
        metavar="AXIS=INDEX",
        help="stay at one index of an axis, such as t=0",
    )
    group.add_argument("--channels", type=indices, metavar="I,J,K", help="one to three channels")
    group.add_argument("--level", type=int, default=0, help="resolution level of a pyramid")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options of `load_model`."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", help="a name from `sam2-plugins models` (nano)")
    group.add_argument("--checkpoint", type=Path, help="a file with weights, instead of --model")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (auto)")
    group.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16 (auto)")
    group.add_argument(
        "--image-size", type=int, metavar="SIDE", help="side the network works at, in pixels"
    )


def add_generator(parser: argparse.ArgumentParser) -> None:
    """Add which masks that nobody asked for are kept."""
    group = parser.add_argument_group("what is kept")
    for name, kind, default, text in GENERATOR_OPTIONS:
        option = "--" + name.replace("_", "-")
        usual = "as suits the model" if default is None else default
        group.add_argument(option, type=kind, default=default, help=f"{text} ({usual})")


def generator_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Options of `MaskGenerator`, by name."""
    return {name: getattr(arguments, name) for name, *_ in GENERATOR_OPTIONS}


def add_resume(parser: argparse.ArgumentParser) -> None:
    """Add --resume."""
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print a summary as one line of JSON")


def partial_of(output: Path, *, resume: bool) -> Path:
    """Where a run that does not come to its end keeps what it has found.

    Args:
        output: Of the command.
        resume: Whether there must be something to go on from.

    Raises:
        FileNotFoundError: There is nothing.
    """
    partial = output.with_name(output.name + ".partial")
    if resume and not partial.exists():
        raise FileNotFoundError(f"nothing to resume: there is no {partial}")
    return partial


def open_input(path: Path, arguments: argparse.Namespace) -> FrameSource:
    """Open INPUT as the arguments say; one that is cut short is refused."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    from sam2_plugins.core.frames import check_whole, open_frames

    frames = open_frames(
        path,
        axes=_axes(arguments.axis),
        at=dict(arguments.at) or None,
        level=arguments.level,
        channels=arguments.channels,
    )
    check_whole(frames)
    return frames


def _axes(axis: str | None) -> str | None:
    """Letters as they are; the number of the axis to walk, as letters."""
    if axis is None or axis.isalpha():
        return axis
    walked = {"0": "zyx", "1": "yzx", "2": "yxz", "-1": "yxz", "-2": "yzx", "-3": "zyx"}
    if axis not in walked:
        raise ValueError(f"--axis takes letters of t z c y x s, or 0, 1 or 2, not {axis!r}")
    return walked[axis]


def open_model(arguments: argparse.Namespace) -> SAM2:
    """Load the model that the arguments name."""
    from sam2_plugins.core.weights import load_model

    if arguments.checkpoint and arguments.model:
        raise ValueError("--model and --checkpoint exclude each other: a checkpoint tells its size")
    return load_model(
        arguments.model or "nano",
        checkpoint=arguments.checkpoint,
        device=arguments.device,
        dtype=arguments.dtype,
        image_size=arguments.image_size,
    )


def take_negative_numbers(parser: argparse.ArgumentParser) -> None:
    """Let coordinates such as -5,3 be values of options, and not options that nobody knows."""
    parser._negative_number_matcher = re.compile(r"-\.?\d")  # noqa: SLF001 - no public name


def position(text: str) -> tuple[str, int]:
    """Parse `t=3`."""
    letter, _, index = text.partition("=")
    if len(letter) != 1 or not index.isdecimal():
        raise argparse.ArgumentTypeError(f"expected AXIS=INDEX such as t=0, found {text!r}")
    return letter, int(index)


def indices(text: str) -> list[int]:
    """Parse `0` or `0,2`."""
    if not all(part.isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"expected indices such as 0 or 0,2, found {text!r}")
    return [int(part) for part in text.split(",")]


def numbers(text: str, counts: tuple[int, ...], form: str) -> list[float]:
    """Parse comma-separated numbers, as many as one of `counts`."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in counts:
        raise argparse.ArgumentTypeError(f"expected {form}, found {text!r}")
    return values


def point(text: str) -> tuple[float, float, int]:
    """Parse `x,y` or `x,y,label`."""
    x, y, *label = numbers(text, (2, 3), "x,y or x,y,label")
    if label and label[0] not in (0, 1):
        raise argparse.ArgumentTypeError(f"the label is 1 (object) or 0 (not), found {text!r}")
    return x, y, int(label[0]) if label else 1


def box(text: str) -> list[float]:
    """Parse `x0,y0,x1,y1`."""
    return numbers(text, (4,), "x0,y0,x1,y1")
