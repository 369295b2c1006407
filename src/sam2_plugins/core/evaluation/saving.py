"""Masks as files that the official evaluators and servers read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sam2_plugins.core.evaluation.metrics import mask_of
from sam2_plugins.core.formats.davis import is_output, write_png
from sam2_plugins.core.formats.staging import (
    check_replaceable,
    explain_write_errors,
    move_into_place,
    staging_folder,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sam2_plugins.core.evaluation.sequences import ObjectSpan, VosSequence
    from sam2_plugins.core.formats.stack import MaskStack

__all__ = ["check_predictions", "save_predictions"]

_MAX_PALETTE = 255


def check_predictions(folder: Path, names: Iterable[str], data: str | Path | None = None) -> None:
    """Refuse to write masks over what is read, or over anything but earlier ones.

    Args:
        folder: Of `save_predictions`.
        names: Of the sequences.
        data: The folder that they are read from; None where that is not known.

    Raises:
        ValueError: The folder is, or lies in, that of the data; or something else is there.
    """
    written = folder.resolve()
    if data is not None and Path(data).resolve() in (written, *written.parents):
        raise ValueError(f"{folder} lies in {data}, which is read; choose another output")
    for name in names:
        check_replaceable(folder / name, _is_own_video)


def save_predictions(
    folder: Path, sequence: VosSequence, stack: MaskStack, spans: Sequence[ObjectSpan]
) -> Path:
    """Writes palette PNGs, `folder/<video>/<frame>.png`, named as the frames are.

    Where the truth has a folder per object, so has the output: `folder/<video>/<object>/`, objects
    numbered from 000 as SA-V does. A video is written whole or not at all.

    Args:
        folder: Made if missing.
        sequence: Names video and frames, and says every how manyth frame is wanted.
        stack: The masks.
        spans: The objects.

    Returns:
        The video's folder.

    Raises:
        ValueError: An object's id does not fit into a palette, or something else is there.
        OSError: The folder cannot be written to.
    """
    largest = max((span.object_id for span in spans), default=0)
    if sequence.object_frames is None and largest > _MAX_PALETTE:
        raise ValueError(
            f"{sequence.name}: a palette image holds ids up to {_MAX_PALETTE}, not {largest}"
        )
    target = folder.absolute() / sequence.name
    with explain_write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with staging_folder(target) as scratch, explain_write_errors(target):
        written = scratch / "masks"
        written.mkdir()
        for frame_index in range(0, stack.num_frames, sequence.output_step):
            names = sequence.frame_names
            name = f"{names[frame_index] if names else f'{frame_index:05d}'}.png"
            shown = stack[frame_index]
            if sequence.object_frames is None:
                write_png(written / name, shown.to_labels())
                continue
            for span in spans:
                own = written / f"{span.object_id - 1:03d}"
                own.mkdir(exist_ok=True)
                write_png(own / name, mask_of(shown, span.object_id).astype(np.uint8))
        move_into_place(written, target, is_output=_is_own_video)
    return target


def _is_own_video(folder: Path) -> bool:
    """Whether a folder holds masks that `save_predictions` has written, and nothing else."""
    if is_output(folder):
        return True
    return all(child.is_dir() and is_output(child) for child in folder.iterdir())
