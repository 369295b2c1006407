"""Masks as files that the official evaluators and servers read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sam2_plugins.core.evaluation.metrics import mask_of
from sam2_plugins.core.formats.davis import write_png
from sam2_plugins.core.formats.staging import (
    explain_write_errors,
    move_into_place,
    staging_folder,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sam2_plugins.core.evaluation.sequences import ObjectSpan, VosSequence
    from sam2_plugins.core.formats.stack import MaskStack

__all__ = ["save_predictions"]

_MAX_PALETTE = 255


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
        ValueError: An object's id does not fit into a palette.
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
        move_into_place(written, target)
    return target
