"""Cell Tracking Challenge results: one 16-bit TIFF per frame and a table of tracks.

A track of the challenge has no gaps. An object that leaves and returns becomes several tracks with
new labels, each with the one before as parent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from sam2_plugins.core.formats.stack import SavedMasks
from sam2_plugins.core.formats.tiff import is_own_page, write_page
from sam2_plugins.core.masks import FrameMasks

if TYPE_CHECKING:
    from pathlib import Path

    from sam2_plugins.core.formats.volumes import LabelSource

__all__ = ["is_ctc", "is_output", "read", "write"]

_FRAME_FILE = re.compile(r"(mask|man_track|man_seg)(\d+)\.tif", re.IGNORECASE)
_TRACK_FILES = ("res_track.txt", "man_track.txt")
_MAX_LABEL = 2**16 - 1


def write(path: Path, stack: LabelSource) -> None:
    """Writes mask000.tif, … and res_track.txt with label, first frame, last frame and parent.

    A file is a plane, or a volume with a page for each slice.

    Raises:
        ValueError: Objects with gaps need more labels than 16 bits have.
    """
    path.mkdir()
    digits = max(3, len(str(stack.num_frames - 1)))
    object_ids = stack.object_ids
    next_label = int(object_ids[-1]) + 1 if len(object_ids) else 1
    label_of: dict[int, int] = {}
    tracks: dict[int, list[int]] = {}  # label -> first frame, last frame, parent
    for frame_index, labels in enumerate(stack.labels()):
        relabelled = labels.astype(np.uint16)
        for object_id in np.unique(labels[labels > 0]).tolist():
            label = label_of.setdefault(object_id, object_id)
            if label not in tracks:
                tracks[label] = [frame_index, frame_index, 0]
            elif tracks[label][1] < frame_index - 1:
                tracks[next_label] = [frame_index, frame_index, label]
                label_of[object_id] = label = next_label
                next_label += 1
            tracks[label][1] = frame_index
            if label > _MAX_LABEL:
                raise ValueError(f"the tracks need more than {_MAX_LABEL} labels; write .tif")
            relabelled[labels == object_id] = label
        write_page(path / f"mask{frame_index:0{digits}d}.tif", relabelled)
    lines = [f"{label} {' '.join(map(str, track))}\n" for label, track in sorted(tracks.items())]
    (path / "res_track.txt").write_text("".join(lines), encoding="ascii")


def is_ctc(path: Path) -> bool:
    """Whether a folder has a table of tracks."""
    return any((path / name).is_file() for name in _TRACK_FILES)


def is_output(path: Path) -> bool:
    """Whether a folder holds results of ours and nothing else."""
    if not (path / "res_track.txt").is_file():
        return False
    frames = [child for child in path.iterdir() if child.name != "res_track.txt"]
    return all(_FRAME_FILE.fullmatch(frame.name) and is_own_page(frame) for frame in frames)


def read(path: Path) -> SavedMasks:
    """Opens results (mask000.tif) or reference tracks (man_track000.tif); labels as in the files.

    Raises:
        ValueError: There are no such files.
    """
    files = sorted(
        (int(match[2]), child)
        for child in path.iterdir()
        if (match := _FRAME_FILE.fullmatch(child.name))
    )
    if not files:
        raise ValueError(f"no mask000.tif or man_track000.tif in {path}")

    def read_frame(frame_index: int) -> FrameMasks:
        return FrameMasks.from_labels(frame_index, tifffile.imread(files[frame_index][1]))

    size = tifffile.imread(files[0][1]).shape
    if len(size) != 2:
        raise ValueError(f"{path} holds volumes of shape {size}; masks are read plane by plane")
    return SavedMasks(
        len(files), (size[0], size[1]), read_frame, tuple(file.stem for _, file in files)
    )
