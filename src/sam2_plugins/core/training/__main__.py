"""`python -m sam2_plugins.core.training …`: the files of weights that the package bundles.

Training, and every other export, is `sam2-plugins train`.
"""

import argparse
from pathlib import Path

from sam2_plugins.core.config import NANO
from sam2_plugins.core.training.choice import train_choice
from sam2_plugins.core.training.nano import export_nano
from sam2_plugins.core.training.retouch import train_retouch


def main() -> None:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m sam2_plugins.core.training")
    commands = parser.add_subparsers(required=True)
    export = commands.add_parser("export", help="write float16 safetensors with data and licence")
    export.add_argument("checkpoint", type=Path)
    export.add_argument("target", type=Path)
    export.add_argument("--image-size", type=int, default=NANO.image_size)
    export.add_argument("--object-score-shift", type=float, default=0.0)
    recipes = (
        ("choice", train_choice, "train what chooses among the masks of a click"),
        ("retouch", train_retouch, "train what draws masks anew"),
    )
    for name, train, meaning in recipes:
        command = commands.add_parser(name, help=meaning)
        command.add_argument("data", type=Path)
        command.add_argument("target", type=Path)
        command.add_argument("--processes", type=int, default=2)
        command.set_defaults(train=train)
    arguments = parser.parse_args()
    if "train" in arguments:
        arguments.train(arguments.data, arguments.target, num_processes=arguments.processes)
        return
    export_nano(
        *(arguments.checkpoint, arguments.target),
        image_size=arguments.image_size,
        object_score_shift=arguments.object_score_shift,
    )


if __name__ == "__main__":
    main()
