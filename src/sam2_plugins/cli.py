"""The command line: `sam2-plugins COMMAND …`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sam2_plugins import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = argparse.ArgumentParser(prog="sam2-plugins", description="SAM 2 from the shell.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    build_parser().parse_args(argv)
    return 0
