"""`sam2-plugins benchmark`: speed and memory on this machine."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction

SUBJECTS = {
    "core": "images and tracking, beside the published sam2 package where it is installed",
    "napari": "clicks, slices and propagation in the viewer",
    "fiftyone": "propagating prompts in a data set of videos",
}
"""What can be measured. Each is a module `benchmark_<subject>` with `add_arguments(parser)`, which
imports nothing heavy, and `run(arguments)`, which returns the exit status."""


def add_parser(subparsers: _SubParsersAction[Any]) -> None:
    """Add the command, with the subjects that there are."""
    parser = subparsers.add_parser("benchmark", help="measure speed and memory on this machine")
    subjects = parser.add_subparsers(metavar="WHAT", required=True)
    for subject, summary in SUBJECTS.items():
        name = f"sam2_plugins.commands.benchmark_{subject}"
        if find_spec(name) is None:
            continue
        module = import_module(name)
        subparser: argparse.ArgumentParser = subjects.add_parser(
            subject, help=summary, description=summary.capitalize() + "."
        )
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
