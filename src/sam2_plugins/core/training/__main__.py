"""`python -m sam2_plugins.core.training train|export …`."""

import argparse
from pathlib import Path

from sam2_plugins.core.training.nano import export_nano, train_nano


def main() -> None:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m sam2_plugins.core.training")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train nano from scratch")
    train.add_argument("data_root", type=Path)
    train.add_argument("out_dir", type=Path)
    train.add_argument("--minutes", type=float, default=110)
    train.add_argument("--resume", action="store_true")
    train.add_argument("--processes", type=int)
    train.add_argument("--seed", type=int, default=0)
    export = commands.add_parser("export", help="write float16 safetensors")
    export.add_argument("checkpoint", type=Path)
    export.add_argument("target", type=Path)
    export.add_argument("--image-size", type=int, default=256)
    arguments = parser.parse_args()
    if arguments.command == "export":
        export_nano(arguments.checkpoint, arguments.target, image_size=arguments.image_size)
    else:
        train_nano(
            arguments.data_root,
            arguments.out_dir,
            minutes=arguments.minutes,
            resume=arguments.resume,
            num_processes=arguments.processes,
            seed=arguments.seed,
        )


if __name__ == "__main__":
    main()
