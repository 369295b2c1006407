"""`sam2-plugins train`: the bundled model, from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import say

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("train", help="train the bundled model from scratch")
    parts = parser.add_subparsers(metavar="PART", required=True)
    nano = parts.add_parser("nano", help="train on the processor, one process per core")
    nano.add_argument("data", type=Path, metavar="DATA", help="folder of the training sets")
    nano.add_argument(
        *("-o", "--output"),
        type=Path,
        required=True,
        metavar="DIR",
        help="gets checkpoint.pt, log.txt and metrics.csv",
    )
    nano.add_argument("--minutes", type=float, default=110, help="budget of the whole run (110)")
    nano.add_argument("--resume", action="store_true", help="go on from DIR/checkpoint.pt")
    nano.add_argument("--processes", type=int, help="processes that share every step")
    nano.add_argument("--seed", type=int, default=0, help="of weights and batches (0)")
    nano.set_defaults(run=run_nano)
    export = parts.add_parser("export", help="turn a checkpoint.pt into .safetensors to load")
    export.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    export.add_argument("--image-size", type=int, default=256, metavar="SIDE")
    export.set_defaults(run=run_export)
    held_out = parts.add_parser(
        "held-out", help="write what training never sees as folders for `evaluate`"
    )
    held_out.add_argument("data", type=Path, metavar="DATA", help="folder of the training sets")
    held_out.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    held_out.set_defaults(run=run_held_out)


def run_nano(arguments: argparse.Namespace) -> None:
    """Train."""
    if not arguments.data.is_dir():
        raise FileNotFoundError(f"there is no folder {arguments.data}")
    from sam2_plugins.core.training import train_nano

    checkpoint = train_nano(
        arguments.data,
        arguments.output,
        minutes=arguments.minutes,
        resume=arguments.resume,
        num_processes=arguments.processes,
        seed=arguments.seed,
    )
    say(f"wrote {checkpoint}")


def run_export(arguments: argparse.Namespace) -> None:
    """Export."""
    if not arguments.checkpoint.is_file():
        raise FileNotFoundError(f"there is no file {arguments.checkpoint}")
    from sam2_plugins.core.training import export_nano

    path = export_nano(arguments.checkpoint, arguments.output, image_size=arguments.image_size)
    say(f"wrote {path}")


def run_held_out(arguments: argparse.Namespace) -> None:
    """Write the held-out images and clips."""
    if not arguments.data.is_dir():
        raise FileNotFoundError(f"there is no folder {arguments.data}")
    from sam2_plugins.core.training import write_held_out

    say(f"wrote {write_held_out(arguments.data, arguments.output)}")
