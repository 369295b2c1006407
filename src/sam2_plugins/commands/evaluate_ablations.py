"""`sam2-plugins evaluate ablations`: what each part of the tracker is worth, as one table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
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
    from collections.abc import Sequence

    from sam2_plugins.core.evaluation.ablations import Variant
    from sam2_plugins.core.model.sam2 import SAM2

PAGE_START, PAGE_END = "<!-- ablations -->", "<!-- end of ablations -->"


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
    parser.add_argument(
        "--page",
        type=Path,
        metavar="FILE.md",
        help=f"also put the table into a page, between the lines {PAGE_START} and {PAGE_END}",
    )
    add_how(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Measure every variant and print the table."""
    if not arguments.data.is_dir():
        raise FileNotFoundError(f"there is no folder {arguments.data}")
    from sam2_plugins.core.evaluation.ablations import ablations_table, evaluate_ablations

    if arguments.page:
        _split(arguments.page)

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
        progress=say_progress,
    )
    table = ablations_table(found)
    if arguments.output:
        _write(arguments.output / "ablations.md", table)
    if arguments.page:
        before, after = _split(arguments.page)
        _write(arguments.page, f"{before}{PAGE_START}\n{table}{PAGE_END}{after}")
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


def _split(page: Path) -> tuple[str, str]:
    """What stands before and after the table of a page."""
    text = page.read_text(encoding="utf-8")
    before, start, rest = text.partition(PAGE_START)
    _, end, after = rest.partition(PAGE_END)
    if not start or not end:
        raise ValueError(f"{page} needs the lines {PAGE_START} and {PAGE_END}")
    return before, after


def _write(path: Path, text: str) -> None:
    scratch = path.with_suffix(".part")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)
    say(f"wrote {path}")
