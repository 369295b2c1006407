"""What is not evaluated because a part of it is missing, and the warnings that say so."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["LeftOut", "first_few", "warn_left_out"]

_NUM_SHOWN = 3


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that cannot be evaluated: its name, and what it is without."""

    name: str
    why: str


def warn_left_out(left_out: Sequence[LeftOut], *, root: Path, kind: str, num_kept: int) -> None:
    """Warn of what is not evaluated, in one line for each reason.

    Args:
        left_out: What is not.
        root: Where it is.
        kind: What it is, in the plural.
        num_kept: How many of the kind are evaluated.
    """
    total = num_kept + len(left_out)
    for why in dict.fromkeys(item.why for item in left_out):
        names = [item.name for item in left_out if item.why == why]
        told = f"left out {len(names)} of {total} {kind}, {why}: {first_few(names)}"
        warnings.warn(f"{root}: {told}", stacklevel=3)  # of who asked for the data


def first_few(names: Sequence[str]) -> str:
    """Names in one line, a long list cut."""
    return ", ".join(names[:_NUM_SHOWN]) + ", …" * (len(names) > _NUM_SHOWN)
