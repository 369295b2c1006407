"""`sam2-plugins evaluate ablations`: what each part of the tracker is worth, as one table."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import json_result, result, say
from sam2_plugins.commands.evaluate_options import (
    add_how,
    add_sequences,
    open_sequences,
    run_options,
    say_progress,
)
from sam2_plugins.commands.options import open_model

if TYPE_CHECKING:
    from argparse import _SubParsersAction

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
    from sam2_plugins.core.evaluation.ablations import (
        VARIANTS,
        ablations_table,
        evaluate_ablations,
    )

    variants = list(VARIANTS)
    if arguments.variants:
        wanted = arguments.variants.split(",")
        known = [variant.name for variant in variants]
        for name in wanted:
            if name not in known:
                raise ValueError(f"unknown variant {name!r}; known are {', '.join(known)}")
        variants = [v for v in variants if v.name in wanted or v.name == known[0]]

    def make_model(image_size: int | None) -> SAM2:
        options = vars(arguments)
        if image_size is not None:
            options = options | {"image_size": image_size}
        return open_model(argparse.Namespace(**options))

    found = evaluate_ablations(
        make_model,
        open_sequences(arguments),
        variants=variants,
        prompt=arguments.prompt,
        max_objects=arguments.max_objects,
        run=run_options(arguments),
        progress=say_progress,
    )
    table = ablations_table(found)
    if arguments.output:
        path = arguments.output / "ablations.md"
        scratch = path.with_suffix(".part")
        scratch.write_text(table, encoding="utf-8")
        scratch.replace(path)
        say(f"wrote {path}")
    if arguments.json:
        summary = {name: json.loads(e.to_json())["summary"]["sam2"] for name, e in found.items()}
        json_result(command="evaluate ablations", data=str(arguments.data), variants=summary)
    else:
        result(table.rstrip())
