"""What the protocols of `evaluate` share: data, objects, the tracker's switches, and the run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import say
from sam2_plugins.commands.options import add_json, add_model

if TYPE_CHECKING:
    import argparse

    from sam2_plugins.core.evaluation import RunOptions, VosSequence
    from sam2_plugins.core.model.sam2 import SAM2

_TRACKER_OPTIONS = (
    "memory_frames",
    "memory_stride",
    "memory_selection",
    "max_conditioning_frames",
    "fill_hole_area",
)


def add_sequences(parser: argparse.ArgumentParser) -> None:
    """Add DATA and the options that choose a part of it."""
    parser.add_argument("data", type=Path, metavar="DATA")
    group = parser.add_argument_group("which data")
    group.add_argument(
        "--names",
        type=Path,
        metavar="FILE",
        help="only the sequences that this text file names, such as ImageSets/2017/val.txt",
    )
    group.add_argument("--max-sequences", type=int, help="at most so many, evenly spaced by name")
    group.add_argument("--max-frames", type=int, help="only so many frames of each, from the first")
    group.add_argument("--max-objects", type=int, help="at most so many objects of each")


def add_tracker(parser: argparse.ArgumentParser) -> None:
    """Add the switches of the tracker, those of the paper's ablations."""
    group = parser.add_argument_group("tracker (for ablations)")
    group.add_argument(
        "--memory-frames", type=int, help="how many of the last frames it attends to"
    )
    group.add_argument("--memory-stride", type=int, help="every how manyth of them (1)")
    group.add_argument(
        "--memory-selection",
        type=float,
        metavar="IOU",
        help="of recent frames, remember those where the object is seen with at least this "
        "predicted IoU (all)",
    )
    group.add_argument(
        "--max-conditioning-frames", type=int, help="how many frames with prompts are attended"
    )
    group.add_argument("--fill-hole-area", type=int, help="fill holes of so many cells (8)")
    group.add_argument(
        "--no-motion",
        action="store_true",
        help="do not carry masks along with the picture, where the model was trained for it",
    )
    group.add_argument(
        "--no-looking-back",
        action="store_true",
        help="do not hold such masks against how the object looked some frames ago",
    )
    group.add_argument(
        "--no-appearance",
        action="store_true",
        help="nor against what it looks like where it was prompted",
    )
    group.add_argument(
        "--no-retouching",
        action="store_true",
        help="do not draw masks anew from near",
    )
    group.add_argument(
        "--keep-alike",
        action="store_true",
        help="do not let go of objects that look as they did, also where frames are grey",
    )
    group.add_argument(
        "--no-smoothing",
        action="store_true",
        help="believe the object score of every frame by itself",
    )
    group.add_argument(
        "--window-side",
        type=int,
        metavar="PIXELS",
        help="of the smallest window that objects are followed through; 0 to see frames whole",
    )
    group.add_argument("--no-pointers", action="store_true", help="without object pointers")
    group.add_argument(
        "--exact", action="store_true", help="by the rules of the published implementation"
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run and of its groups."""
    group = parser.add_argument_group("groups")
    group.add_argument(
        "--attributes",
        type=Path,
        metavar="FILE.csv",
        help="columns sequence, perhaps object, and attributes to group objects by",
    )
    group.add_argument(
        "--by", metavar="A,B", help="tables by kind, size, length, absence, category or a column"
    )
    add_how(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap's draws (0)")


def add_how(parser: argparse.ArgumentParser) -> None:
    """Add how a run is carried out: output, processes, model."""
    group = parser.add_argument_group("run")
    group.add_argument("-o", "--output", type=Path, metavar="DIR", help="keep every score")
    group.add_argument(
        "--page",
        type=Path,
        metavar="FILE.md",
        help="also put the tables into a page that has the lines <!-- PROTOCOL --> and "
        "<!-- end of PROTOCOL -->",
    )
    group.add_argument("--resume", action="store_true", help="go on with the run in DIR")
    group.add_argument("--workers", type=int, default=1, help="processes that share the work (1)")
    add_model(parser)
    add_json(parser)


def open_sequences(arguments: argparse.Namespace) -> list[VosSequence]:
    """The sequences that the arguments choose."""
    from sam2_plugins.core.evaluation import load_sequences
    from sam2_plugins.core.evaluation.starts import pick_evenly

    names = None
    if arguments.names:
        names = arguments.names.read_text(encoding="utf-8").split()
    sequences = pick_evenly(load_sequences(arguments.data, names=names), arguments.max_sequences)
    if arguments.max_frames is not None:
        sequences = [sequence.first(arguments.max_frames) for sequence in sequences]
    return sequences


def tracker_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The tracker's switches that were given."""
    given = {name: getattr(arguments, name) for name in _TRACKER_OPTIONS}
    options = {name: value for name, value in given.items() if value is not None}
    if arguments.no_motion:
        options["follow_motion"] = False
    if arguments.no_looking_back:
        options["look_back"] = False
    if arguments.no_appearance:
        options["learn_appearance"] = False
    if arguments.no_retouching:
        options["retouch"] = False
    if arguments.keep_alike:
        options["keep_alike"] = True
    if arguments.no_smoothing:
        options["smooth_presence"] = False
    if arguments.window_side is not None:
        options["window_side"] = arguments.window_side or None
    return options | ({"exact": True} if arguments.exact else {})


def choose_network(arguments: argparse.Namespace, model: SAM2) -> SAM2:
    """The model, without object pointers if asked."""
    from sam2_plugins.core.evaluation.ablations import without_pointers

    return without_pointers(model) if arguments.no_pointers else model


def run_options(arguments: argparse.Namespace) -> RunOptions:
    """How the run is carried out."""
    from sam2_plugins.core.evaluation import RunOptions

    if arguments.resume and not arguments.output:
        raise ValueError("--resume needs -o DIR, the folder of the run to go on with")
    return RunOptions(arguments.output, arguments.resume, arguments.workers)


class Progress:
    """One line per part, and from the second on about how long the rest takes."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._began_s = 0.0

    def __call__(self, number: int, count: int, name: str) -> None:
        """Tell of a part: its number from 0, their count, its name."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._began_s = number, now
        done = number - self._first
        left = ""
        if done:
            left_s = (now - self._began_s) / done * (count - number)
            left = (
                f", about {left_s / 60:.0f} min left" if left_s > 90 else f", {left_s:.0f} s left"
            )
        say(f"{number + 1} of {count}: {name}{left}")


def check_page(arguments: argparse.Namespace, protocol: str) -> None:
    """Refuse a page that has no place for the tables, before any work is done."""
    if arguments.page:
        _around(arguments.page, protocol)


def write_page(arguments: argparse.Namespace, protocol: str, tables: str) -> None:
    """Put the tables into the page, if one is given."""
    if arguments.page:
        before, after = _around(arguments.page, protocol)
        start, end = _lines(protocol)
        write_text(arguments.page, f"{before}{start}\n{tables.rstrip()}\n{end}{after}")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, and say so."""
    scratch = path.with_suffix(".part")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)
    say(f"wrote {path}")


def _lines(protocol: str) -> tuple[str, str]:
    return f"<!-- {protocol} -->", f"<!-- end of {protocol} -->"


def _around(page: Path, protocol: str) -> tuple[str, str]:
    """What stands before and after the tables of a page."""
    start, end = _lines(protocol)
    before, found_start, rest = page.read_text(encoding="utf-8").partition(start)
    _, found_end, after = rest.partition(end)
    if not found_start or not found_end:
        raise ValueError(f"{page} needs the lines {start} and {end}")
    return before, after
