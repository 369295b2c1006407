"""`sam2-plugins benchmark core`: images and tracking, beside the published sam2 package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sam2_plugins.commands.console import json_result, result, say
from sam2_plugins.commands.options import add_json

if TYPE_CHECKING:
    import argparse

    from sam2_plugins.core.benchmark import Measurement

CPU_IMAGE_SIZE = 256
"""Where a frame at the models' own size takes seconds, ratios are measured at a smaller one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--model", default="sam2.1-tiny", help="which size (sam2.1-tiny)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (auto)")
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="SIDE",
        help=f"side the network works at ({CPU_IMAGE_SIZE} on a CPU, else the model's own)",
    )
    parser.add_argument("--frames", type=int, default=10, help="frames of the clip (10)")
    parser.add_argument("--rounds", type=int, default=2, help="how often all is measured (2)")
    parser.add_argument(
        "--alone", action="store_true", help="leave the published package out even if installed"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    import torch

    from sam2_plugins.core.benchmark import Workload, benchmark_core
    from sam2_plugins.core.config import MODELS, check_image_size
    from sam2_plugins.core.weights import load_model

    config = MODELS.get(arguments.model)
    if config is None:
        raise ValueError(f"unknown model {arguments.model!r}; the models are {', '.join(MODELS)}")
    device = load_model(device=arguments.device).device
    own_size = config.image_size if device.type != "cpu" else CPU_IMAGE_SIZE
    workload = Workload(
        model=arguments.model,
        image_size=check_image_size(arguments.image_size or own_size),
        device=str(device),
        num_frames=arguments.frames,
        rounds=arguments.rounds,
        with_published=not arguments.alone,
    )
    where = f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    say(f"{workload.model} at {workload.image_size} px, random weights, on {where}")
    found = []
    for measurement in benchmark_core(workload):
        found.append(measurement)
        say(f"measured {measurement.name}")
    if arguments.json:
        json_result(
            command="benchmark core",
            model=workload.model,
            image_size=workload.image_size,
            where=where,
            measurements=[_row(measurement) for measurement in found],
        )
        return 0
    for line in table(found):
        result(line)
    return 0


def _row(measurement: Measurement) -> dict[str, str | float | None]:
    return {
        "name": measurement.name,
        "value": measurement.value,
        "unit": measurement.unit,
        "other": measurement.other,
        "compared_with": measurement.compared_with,
        "times_better": measurement.ratio,
    }


def table(found: list[Measurement]) -> list[str]:
    """The lines of a table in Markdown."""
    rows = [("what", "figure", "compared with", "times better")]
    rows.append(("---",) * 4)
    for measurement in found:
        other = ""
        if measurement.other is not None:
            other = f"{measurement.other:.3g} {measurement.unit}, {measurement.compared_with}"
        ratio = "" if measurement.ratio is None else f"{measurement.ratio:.2f}"
        rows.append((measurement.name, f"{measurement.value:.3g} {measurement.unit}", other, ratio))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
