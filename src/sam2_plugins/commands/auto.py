"""`sam2-plugins auto`: everything in an image, and through a stack or video as masklets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[Any]) -> None:
    """Add the command."""
    subparsers.add_parser("auto")
