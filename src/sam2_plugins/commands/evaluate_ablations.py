"""`sam2-plugins evaluate ablations`: what each part of the tracker is worth, as one table."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import json_result, result
from sam2_plugins.commands.evaluate_options import (
    Progress,
    add_how,
    add_sequences,
    check_page,
    open_sequences,
    run_options,
    write_page,
    write_text,
)
from sam2_plugins.commands.options import open_model

if TYPE_CHECKING:
    from argparse import _SubParsersAction
    from collections.abc import Sequence

    from sam2_plugins.core.evaluation.ablations import Variant
    from sam2_plugins.core.model.sam2 import SAM2


def add_ablations(protocols: _SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = protocols.add_parser(
        "ablations",
        help="`evaluate vos` with parts of the tracker changed one by one",
        description="DATA: as of `evaluate vos`. With -o DIR every variant's scores are kept in a "
        "folder of its own, and the table in DIR/ablations.md.",
    )
    add_sequences(parser)
    parser.add_argument("--prompt", default="mask", help="mask, box, 1-click, 3-click or 5-click")
    parser.add_argument(
        "--variants", metavar="A,B", help="only these, beside the default; names as in the table"
    )
    add_how(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Measure every variant and print the table."""
    if not arguments.data.is_dir():
        raise FileNotFoundError(f"there is no folder {arguments.data}")
    from sam2_plugins.core.evaluation.ablations import ablations_table, evaluate_ablations

    check_page(arguments, "ablations")

    def make_model(image_size: int | None) -> SAM2:
        options = vars(arguments)
        if image_size is not None:
            options = options | {"image_size": image_size}
        return open_model(argparse.Namespace(**options))

    found = evaluate_ablations(
        make_model,
        open_sequences(arguments),
        variants=_variants(arguments.variants),
        prompt=arguments.prompt,
        max_objects=arguments.max_objects,
        run=run_options(arguments),
        progress=Progress(),
    )
    table = ablations_table(found)
    if arguments.output:
        write_text(arguments.output / "ablations.md", table)
    write_page(arguments, "ablations", table)
    if arguments.json:
        summary = {name: json.loads(e.to_json())["summary"]["sam2"] for name, e in found.items()}
        json_result(command="evaluate ablations", data=str(arguments.data), variants=summary)
    else:
        result(table.rstrip())


def _variants(names: str | None) -> Sequence[Variant]:
    """All, or the default and those that are named."""
    from sam2_plugins.core.evaluation.ablations import VARIANTS

    if names is None:
        return VARIANTS
    known = [variant.name for variant in VARIANTS]
    for name in names.split(","):
        if name not in known:
            raise ValueError(f"unknown variant {name!r}; known are {', '.join(known)}")
    return [v for v in VARIANTS if v.name in names.split(",") or v is VARIANTS[0]]
