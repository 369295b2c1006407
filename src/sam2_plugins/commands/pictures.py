"""The masks of one image on disk: every format of `track`, and one palette PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sam2_plugins.core.formats import save_masks
from sam2_plugins.core.formats.davis import write_png
from sam2_plugins.core.formats.registry import check_output
from sam2_plugins.core.formats.staging import (
    check_apart,
    explain_write_errors,
    move_into_place,
    staging_folder,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sam2_plugins.core.masks import FrameMasks

MAX_PALETTE = 255


def check_picture(path: Path, sources: Iterable[Path]) -> None:
    """Refuse a path that cannot or must not be written, before any work is done.

    Args:
        path: Of `write_masks`.
        sources: What is read.

    Raises:
        ValueError: Unknown ending; something else stands there; or it is, or lies in, what is read.
        OSError: The folder around it is missing or cannot be written to.
    """
    if path.suffix.lower() != ".png":
        check_output(path, sources=sources)
        return
    check_apart(path, sources)
    if path.is_dir():
        raise ValueError(f"{path} exists and is a folder")
    with staging_folder(path.absolute()):
        pass


def write_masks(path: Path, masks: FrameMasks) -> None:
    """Write the masks of one image, whole or not at all."""
    if path.suffix.lower() != ".png":
        save_masks(path, [masks], frame_size=masks.masks.shape[1:], num_frames=1)
        return
    if masks.object_ids.max(initial=0) > MAX_PALETTE:
        raise ValueError(f"{path}: a palette image holds ids up to {MAX_PALETTE}; write .tif")
    with staging_folder(path.absolute()) as folder, explain_write_errors(path):
        write_png(folder / path.name, masks.to_labels())
        move_into_place(folder / path.name, path)
