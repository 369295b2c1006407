"""`sam2-plugins train finetune`: a model for one's own data, if it is better."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import json_result, result, say
from sam2_plugins.commands.options import add_json
from sam2_plugins.commands.train_fiftyone import add_dataset_options, data_folder
from sam2_plugins.commands.train_watch import add_going_on, watched

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction

    from sam2_plugins.core.training.finetune import Finetuned
    from sam2_plugins.core.training.watching import Watch

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
    add_going_on(parser)
    add_dataset_options(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Fine-tune, compare, and say whether it is better."""
    from sam2_plugins.core.training.finetune import finetune
    from sam2_plugins.core.training.finetune_plan import FinetuneSettings, claim_run_folder

    settings = FinetuneSettings(
        data=Path(arguments.data),
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
        overwrite=arguments.overwrite,
    )

    # What is wrong is said before a dataset is written.
    folder = claim_run_folder(settings)
    settings = dataclasses.replace(settings, data=data_folder(arguments, folder))

    def train(watch: Watch) -> int:
        tuned = finetune(settings, say=say, watch=watch)
        if arguments.json:
            json_result(command="train finetune", **tuned.to_json())
        else:
            _show(tuned)
        return 0 if tuned.is_better else NOT_BETTER

    return watched(train)


def _show(tuned: Finetuned) -> None:
    from sam2_plugins.core.training.verdict import spread

    decides = tuned.comparisons[-1]
    result(
        f"measured on what was kept apart: {tuned.kept_apart} (IoU, 95 % intervals over "
        f"{decides.num_units} {decides.unit})"
    )
    result("prompt  objects  before               after                change")
    for row in tuned.comparisons:
        cells = [
            f"{mean:.3f} [{low:.3f}, {high:.3f}]" for mean, low, high in (row.before, row.after)
        ]
        result(f"{row.prompt:<7} {row.num_objects:<8} {cells[0]}  {cells[1]}  {spread(row.change)}")
    if not tuned.is_better:
        result(f"not better: {tuned.verdict}. No model was made; the weights are {tuned.path}")
    elif tuned.name is not None:
        result(f"better: {tuned.verdict}. Load it as {tuned.name} ({tuned.path})")
    else:
        result(f"better: {tuned.verdict}. It is {tuned.path}")
