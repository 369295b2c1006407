"""`sam2-plugins benchmark fiftyone`: propagation in a dataset, beside FiftyOne's built-in model."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import json_result, result, say
from sam2_plugins.commands.options import add_json

if TYPE_CHECKING:
    import argparse

    from sam2_plugins.fiftyone_plugin.benchmark import Cost

CPU_IMAGE_SIZE = 256
"""Where a frame at the models' own size takes seconds, ratios are measured at a smaller one."""
LETTERS = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}
MEGABYTE = 2**20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--model", default="sam2.1-tiny", help="which size (sam2.1-tiny)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (auto)")
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="SIDE",
        help=f"side the network works at ({CPU_IMAGE_SIZE} on a CPU, else the model's own)",
    )
    parser.add_argument(
        "--frames",
        type=int,
        nargs="+",
        default=[100, 1000],
        metavar="N",
        help="lengths of the videos (100 1000)",
    )
    parser.add_argument(
        "--alone", action="store_true", help="leave the built-in model out even if it can run"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    import torch

    from sam2_plugins.core.benchmark import random_model
    from sam2_plugins.core.config import MODELS
    from sam2_plugins.core.weights import load_model
    from sam2_plugins.fiftyone_plugin.importing import import_fiftyone

    config = MODELS.get(arguments.model)
    if config is None or arguments.model == "nano":
        known = ", ".join(name for name in MODELS if name != "nano")
        raise ValueError(f"no published model {arguments.model!r}; the models are {known}")
    import_fiftyone()
    device = load_model(device=arguments.device).device
    side = arguments.image_size or (CPU_IMAGE_SIZE if device.type == "cpu" else config.image_size)
    say(f"{arguments.model} at {side} px, random weights, on {device}, torch {torch.__version__}")
    if not arguments.alone and find_spec("sam2") is None:
        say("the built-in model needs the sam2 package: left out")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "random.pt"
        torch.save({"model": random_model(arguments.model, side).state_dict()}, weights)
        found = _measure_all(arguments, Path(folder), weights, side=side, device=str(device))
    if arguments.json:
        json_result(model=arguments.model, image_size=side, device=str(device), **found)
    return 0


def _measure_all(
    arguments: argparse.Namespace, folder: Path, weights: Path, *, side: int, device: str
) -> dict[str, Any]:
    from sam2_plugins.fiftyone_plugin import benchmark

    kinds = {"ours": ""}
    if not arguments.alone and find_spec("sam2") is not None:
        kinds["built-in"] = _config_file(arguments.model)
    rows: list[dict[str, Any]] = []
    for num_frames in arguments.frames:
        dataset = benchmark.make_dataset(folder, num_frames)
        try:
            for kind, config_file in kinds.items():
                task = benchmark.Task(dataset.name, str(weights), config_file, side, device)
                cost = benchmark.measure(task)
                rows.append(_row(kind, num_frames, cost))
                result(_line(rows[-1]))
        finally:
            dataset.delete()
    for line in _growth_lines(rows):
        result(line)
    rate = benchmark.measure_writing(max(arguments.frames))
    result(f"writing   {rate:8.1f} frames of 3 masks per second")
    return {"runs": rows, "frames_written_per_second": round(rate, 1)}


def _row(kind: str, num_frames: int, cost: Cost) -> dict[str, Any]:
    return {
        "model": kind,
        "frames": num_frames,
        "seconds": round(cost.seconds, 2),
        "cpu_seconds": round(cost.cpu_seconds, 2),
        "frames_per_second": round(num_frames / cost.seconds, 3),
        "memory_growth_mb": round(cost.growth_bytes / MEGABYTE, 1),
        "gpu_memory_mb": round(cost.device_bytes / MEGABYTE, 1),
    }


def _line(row: dict[str, Any]) -> str:
    gpu = f", {row['gpu_memory_mb']:.0f} MB on the GPU" if row["gpu_memory_mb"] else ""
    return (
        f"{row['model']:9} {row['frames']:6} frames: {row['frames_per_second']:8.2f} per second, "
        f"{row['cpu_seconds']:.1f} CPU seconds, "
        f"memory grows by {row['memory_growth_mb']:.0f} MB{gpu}"
    )


def _growth_lines(rows: list[dict[str, Any]]) -> list[str]:
    """What a further frame costs: between the shortest and the longest video, loading cancels."""
    lines = []
    for kind in sorted({row["model"] for row in rows}, reverse=True):
        ours = sorted((row for row in rows if row["model"] == kind), key=lambda row: row["frames"])
        first, last = ours[0], ours[-1]
        more = last["frames"] - first["frames"]
        if more > 0:
            seconds = last["seconds"] - first["seconds"]
            cpu_seconds = last["cpu_seconds"] - first["cpu_seconds"]
            growth = last["memory_growth_mb"] - first["memory_growth_mb"]
            lines.append(
                f"{kind:9} each further frame: {seconds / more:.3f} s, "
                f"{cpu_seconds / more:.3f} CPU seconds, {growth / more:.3f} MB"
            )
    return lines


def _config_file(model: str) -> str:
    """The published package's name for a model."""
    family, _, size = model.partition("-")
    return f"configs/{family}/{family}_hiera_{LETTERS[size]}.yaml"
