"""`sam2-plugins train`: from scratch, by the paper's recipe, or on your own data; export."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands import train_finetune
from sam2_plugins.commands.console import say
from sam2_plugins.commands.train_fiftyone import add_dataset_options, data_folder
from sam2_plugins.commands.train_watch import add_going_on, watched

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction

    from sam2_plugins.core.training.launch import TrainingRun
    from sam2_plugins.core.training.loop import RunSettings
    from sam2_plugins.core.training.watching import Watch


def add_parser(subparsers: _SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("train", help="train and fine-tune models, and export them")
    parts = parser.add_subparsers(metavar="PART", required=True)
    train_finetune.add_parser(parts)
    nano = parts.add_parser("nano", help="train the bundled model from scratch")
    nano.add_argument(
        "data", type=Path, metavar="DATA", help="folder of the training sets, or a packed file"
    )
    nano.add_argument(
        *("-o", "--output"),
        type=Path,
        required=True,
        metavar="DIR",
        help="gets checkpoint.pt, log.txt and metrics.csv",
    )
    nano.add_argument("--minutes", type=float, default=110, help="budget of the whole run (110)")
    _add_run_options(nano)
    nano.set_defaults(run=run_nano)
    recipe = parts.add_parser("recipe", help="train by a stage of the paper's recipe")
    recipe.add_argument("stage", metavar="STAGE", help="image, full, long or mose")
    recipe.add_argument("data", metavar="DATA", help="labelled data, as of finetune")
    recipe.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    recipe.add_argument("--model", default="sam2.1-base-plus", help="network (sam2.1-base-plus)")
    recipe.add_argument("--image-size", type=int, metavar="SIDE", help="side of the input, pixels")
    recipe.add_argument("--steps", type=int, help="instead of the paper's")
    recipe.add_argument("--accumulate", type=int, default=1, help="batches per step (1)")
    _add_run_options(recipe)
    add_dataset_options(recipe)
    recipe.set_defaults(run=run_recipe)
    pack = parts.add_parser("pack", help="put the training sets into one small file")
    pack.add_argument("data", type=Path, metavar="DATA", help="folder of the training sets")
    pack.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    pack.add_argument("--max-mib", type=float, default=64, help="largest size of the file (64)")
    pack.set_defaults(run=run_pack)
    export = parts.add_parser("export", help="write weights in another layout")
    export.add_argument(
        "weights", metavar="WEIGHTS", help="name of a model, a weights file, or a checkpoint.pt"
    )
    export.add_argument(
        *("-o", "--output"),
        type=Path,
        required=True,
        metavar="OUT",
        help=".safetensors: our own; .pt: as the sam2 package reads it; a folder: transformers",
    )
    export.add_argument("--image-size", type=int, metavar="SIDE", help="the input it is meant for")
    export.set_defaults(run=run_export)
    held_out = parts.add_parser(
        "held-out", help="write what training never sees as folders for `evaluate`"
    )
    held_out.add_argument("data", type=Path, metavar="DATA", help="folder of the training sets")
    held_out.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    held_out.set_defaults(run=run_held_out)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what every run can be told."""
    add_going_on(parser)
    parser.add_argument("--init-from", metavar="WEIGHTS", help="name or file to start from")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (auto)")
    parser.add_argument(
        "--processes", type=int, help="processes that share every step (one per GPU, or per core)"
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that make batches, for each of those (0)"
    )
    parser.add_argument(
        "--batch-scale", type=float, default=1, metavar="K", help="batches K times as large (1)"
    )
    parser.add_argument(
        "--shard",
        action="store_true",
        help="every process keeps only a share of the image encoder (FSDP), for networks that one "
        "GPU cannot hold",
    )
    parser.add_argument("--tensorboard", action="store_true", help="write events for TensorBoard")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches (0)")


def _run_settings(arguments: argparse.Namespace, **about: object) -> RunSettings:
    """Where and how a run is made.

    Args:
        arguments: As of `_add_run_options`.
        about: What the run is, beside what all runs are told.
    """
    from sam2_plugins.core.training.loop import RunSettings

    common = {
        "init_from": arguments.init_from,
        "batch_scale": arguments.batch_scale,
        "shard": arguments.shard,
        "seed": arguments.seed,
    }
    return RunSettings(
        arguments.output,
        seed=arguments.seed,
        num_workers=arguments.workers,
        tensorboard=arguments.tensorboard,
        shards=arguments.shard,
        about={**about, **common},
    )


def _train(run: TrainingRun) -> int:
    """Train with a watch on it."""
    from sam2_plugins.core.training.launch import run_training

    def train(watch: Watch) -> int:
        names = ", ".join(stage.name for stage in run.stages)
        say(f"training: {names}; log in {run.settings.out_dir}")
        say(f"wrote {run_training(run, watch)}")
        return 0

    return watched(train)


def run_nano(arguments: argparse.Namespace) -> int:
    """Train the bundled model."""
    if not arguments.data.exists():
        raise FileNotFoundError(f"there is no folder or file {arguments.data}")
    if arguments.minutes <= 0:
        raise ValueError(f"--minutes must be positive, not {arguments.minutes}")
    from sam2_plugins.core.config import NANO
    from sam2_plugins.core.training import launch, nano_stages
    from sam2_plugins.core.training.run_folders import known_as

    start = (
        partial(launch.model_to_start_from, arguments.init_from)
        if arguments.init_from
        else partial(launch.new_model, NANO, seed=arguments.seed)
    )
    run = launch.TrainingRun(
        load_data=partial(launch.load_sets, arguments.data),
        make_model=start,
        stages=launch.fit_to_device(
            nano_stages(arguments.minutes),
            device=arguments.device,
            batch_scale=arguments.batch_scale,
        ),
        settings=_run_settings(arguments, data=known_as(arguments.data)),
        device=arguments.device,
        num_processes=arguments.processes,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
    )
    # What is wrong is said before processes start.
    launch.check_run(run)
    launch.load_sets(arguments.data)
    return _train(run)


def run_recipe(arguments: argparse.Namespace) -> int:
    """Train by a stage of the paper's recipe."""
    from sam2_plugins.core.training import launch
    from sam2_plugins.core.training.presets import load_recipe_data, recipe_stage
    from sam2_plugins.core.training.run_folders import known_as

    stage = recipe_stage(
        arguments.stage,
        model=arguments.model,
        image_size=arguments.image_size,
        steps=arguments.steps,
        accumulate=arguments.accumulate,
    )
    size = stage.size
    weights = arguments.init_from or arguments.model
    data = Path(arguments.data)
    run = launch.TrainingRun(
        load_data=partial(load_recipe_data, data, size),
        make_model=partial(launch.model_to_start_from, weights, image_size=size),
        stages=launch.fit_to_device(
            (stage,), device=arguments.device, batch_scale=arguments.batch_scale
        ),
        settings=_run_settings(
            arguments,
            stage=arguments.stage,
            data=known_as(arguments.data),
            model=arguments.model,
            image_size=size,
            accumulate=arguments.accumulate,
        ),
        device=arguments.device,
        num_processes=arguments.processes,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
    )
    # What is wrong is said before a dataset is written, or processes start.
    launch.check_run(run)
    run.make_model()
    data = data_folder(arguments, arguments.output)
    if not data.is_dir():
        raise FileNotFoundError(f"there is no folder {data}")
    return _train(replace(run, load_data=partial(load_recipe_data, data, size)))


def run_pack(arguments: argparse.Namespace) -> None:
    """Pack."""
    if not arguments.data.is_dir():
        raise FileNotFoundError(f"there is no folder {arguments.data}")
    from sam2_plugins.core.training.launch import load_sets
    from sam2_plugins.core.training.packing import pack

    packed = pack(*load_sets(arguments.data), arguments.output, max_mib=arguments.max_mib)
    say(
        f"wrote {packed.path}: {packed.num_images} images and {packed.num_volumes} volumes in "
        f"{packed.size_bytes / 2**20:.1f} MiB, JPEG quality {packed.quality}"
    )


def run_export(arguments: argparse.Namespace) -> None:
    """Export."""
    from sam2_plugins.core.exports import export
    from sam2_plugins.core.training.launch import model_to_start_from

    model = model_to_start_from(arguments.weights, image_size=arguments.image_size)
    model.config = replace(model.config, image_size=model.image_size)
    say(f"wrote {export(model, arguments.output)}")


def run_held_out(arguments: argparse.Namespace) -> None:
    """Write the held-out images and clips."""
    if not arguments.data.is_dir():
        raise FileNotFoundError(f"there is no folder {arguments.data}")
    from sam2_plugins.core.training import write_held_out

    say(f"wrote {write_held_out(arguments.data, arguments.output)}")
