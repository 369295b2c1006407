"""`sam2-plugins train finetune`: a model for one's own data, if it is better."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import json_result, result, say
from sam2_plugins.commands.options import add_json
from sam2_plugins.commands.train_fiftyone import add_dataset_options, data_folder

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction

    from sam2_plugins.core.training.finetune import Finetuned

NOT_BETTER = 1


def add_parser(parts: _SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = parts.add_parser("finetune", help="fine-tune a model on your own labelled data")
    parser.add_argument(
        *("--data", "-d"),
        required=True,
        metavar="DIR_OR_DATASET",
        help="images/ with labels/, volume.tif with labels.tif, a DAVIS, YouTube-VOS or SA-V "
        "folder, an export of the FiftyOne plugin, an autosave folder of the napari plugin, or "
        "fiftyone:DATASET",
    )
    parser.add_argument(
        *("--out", "-o"),
        required=True,
        metavar="NAME_OR_DIR",
        help="name of the new model, such as my-nuclei, or a folder (with a slash)",
    )
    parser.add_argument("--image", type=Path, help="the image that an autosave folder is of")
    parser.add_argument("--model", default="nano", help="name or file to start from (nano)")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, default=5.0, help="budget of the training (5)")
    budget.add_argument("--steps", type=int, help="budget in steps instead")
    parser.add_argument(
        "--adapt",
        default="auto",
        choices=("auto", "all", "decoder", "lora"),
        help="what learns: everything, all but the image encoder, that by adapters; auto is "
        "everything in small models and adapters in large ones",
    )
    parser.add_argument("--image-size", type=int, metavar="SIDE", help="side of the input, pixels")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (auto)")
    parser.add_argument("--processes", type=int, help="processes that share every step")
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches (0)")
    parser.add_argument("--seed", type=int, default=0, help="of batches and adapters (0)")
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    add_dataset_options(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Fine-tune, compare, and say whether it is better."""
    from sam2_plugins.core.training.finetune import FinetuneSettings, finetune, run_folder

    settings = FinetuneSettings(
        data=data_folder(arguments, run_folder(arguments.out)),
        out=arguments.out,
        model=arguments.model,
        image=arguments.image,
        minutes=arguments.minutes,
        steps=arguments.steps,
        adapt=arguments.adapt,
        image_size=arguments.image_size,
        device=arguments.device,
        num_processes=arguments.processes,
        num_workers=arguments.workers,
        seed=arguments.seed,
        resume=arguments.resume,
    )
    tuned = finetune(settings, say=say)
    if arguments.json:
        content = {**dataclasses.asdict(tuned), "path": str(tuned.path)}
        json_result(command="train finetune", is_better=tuned.is_better, **content)
    else:
        _show(tuned)
    return 0 if tuned.is_better else NOT_BETTER


def _show(tuned: Finetuned) -> None:
    result(f"measured on what was kept apart: {tuned.kept_apart} (IoU, 95 % intervals)")
    result("prompt  objects  before               after                change")
    for row in tuned.comparisons:
        cells = [
            f"{mean:.3f} [{low:.3f}, {high:.3f}]" for mean, low, high in (row.before, row.after)
        ]
        mean, low, high = row.change
        change = f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
        result(f"{row.prompt:<7} {row.num_objects:<8} {cells[0]}  {cells[1]}  {change}")
    if not tuned.is_better:
        result(
            f"not better: the change may be chance. No model was made; the weights are {tuned.path}"
        )
    elif tuned.name is not None:
        result(f"better: load it as {tuned.name} ({tuned.path})")
    else:
        result(f"better: {tuned.path}")
