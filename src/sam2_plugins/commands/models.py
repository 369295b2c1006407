"""`sam2-plugins models`: the table of models."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import json_result, result
from sam2_plugins.commands.options import add_json

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("models", help="list the models and where their weights are")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print one row per model."""
    from sam2_plugins.core.weights import list_models

    models = list_models()
    if arguments.json:
        json_result(
            models=[{**dataclasses.asdict(model), "path": str(model.path)} for model in models]
        )
        return
    rows = [("name", "parameters", "image size", "licence", "weights")]
    rows += [
        (
            model.name,
            f"{model.num_parameters / 1e6:.1f} M",
            str(model.image_size),
            model.licence,
            f"{model.where}: {model.path}",
        )
        for model in models
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        result("  ".join(cells).rstrip())
