"""SEG and DET of the Cell Tracking Challenge, by the published package py-ctcmetrics."""

from __future__ import annotations

import io
import tempfile
from contextlib import redirect_stdout
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from sam2_plugins.core.evaluation.sequences import VosSequence
    from sam2_plugins.core.formats.stack import MaskStack

__all__ = ["score_cells"]

_LABELS = np.uint16


def score_cells(
    sequence: VosSequence, stack: MaskStack, object_ids: Sequence[int]
) -> dict[str, float]:
    """Segmentation (SEG) and detection (DET) accuracy of one sequence.

    A volume counts as one 3D picture, a volume in time as one per time point, a video as one
    picture per annotated frame. Both sides are label images: where masks overlap, the smaller
    object is on top.

    Args:
        sequence: The truth.
        stack: The masks.
        object_ids: The objects that were tracked; others are left out of the truth.

    Returns:
        `seg` and `det`; NaN where the truth is empty, 0 where only the result is.

    Raises:
        ModuleNotFoundError: py-ctcmetrics is not installed.
        ValueError: An id needs more than 16 bits.
    """
    try:
        published = import_module("ctc_metrics.scripts.evaluate")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "SEG and DET need py-ctcmetrics: pip install py-ctcmetrics"
        ) from error
    if max(object_ids, default=0) > np.iinfo(_LABELS).max:
        raise ValueError(f"{sequence.name}: SEG and DET take ids up to 65535, not {object_ids[-1]}")
    annotated = sequence.annotated_frames
    truth = (sequence.read_truth(frame).to_labels() for frame in annotated)
    found = (stack[frame].to_labels() for frame in annotated)
    with tempfile.TemporaryDirectory() as folder:
        reference, result = Path(folder) / "01_GT", Path(folder) / "01_RES"
        tracks = _write(
            _pictures(_only(truth, object_ids), sequence),
            [(reference / "TRA", "man_track"), (reference / "SEG", "man_seg")],
        )
        (reference / "TRA" / "man_track.txt").write_text(tracks, encoding="ascii")
        if not tracks:
            return {"seg": float("nan"), "det": float("nan")}
        tracks = _write(_pictures(_only(found, object_ids), sequence), [(result, "mask")])
        if not tracks:  # for the package this is no result
            return {"seg": 0.0, "det": 0.0}
        (result / "res_track.txt").write_text(tracks, encoding="ascii")
        with redirect_stdout(io.StringIO()):
            scores = published.evaluate_sequence(
                str(result), str(reference), ["SEG", "DET"], threads=1
            )
    return {"seg": float(scores["SEG"] or 0.0), "det": float(scores["DET"] or 0.0)}


def _only(
    labels: Iterable[NDArray[np.unsignedinteger]], object_ids: Sequence[int]
) -> Iterator[NDArray[np.uint16]]:
    for image in labels:
        yield np.where(np.isin(image, object_ids), image, 0).astype(_LABELS)


def _pictures(
    labels: Iterator[NDArray[np.uint16]], sequence: VosSequence
) -> Iterator[NDArray[np.uint16]]:
    if not sequence.is_volume:
        yield from labels
        return
    depth = sequence.depth or len(sequence.annotated_frames)
    num_pictures = len(sequence.annotated_frames) // depth
    for _ in range(num_pictures):
        picture = np.stack(list(islice(labels, depth)))
        yield picture
        if num_pictures == 1:
            # the package takes no single picture; both scores are shares: two of one change nothing
            yield picture


def _write(pictures: Iterable[NDArray[np.uint16]], folders: Sequence[tuple[Path, str]]) -> str:
    """Writes pictures into each folder and gives the table of tracks.

    A track of the challenge has no gaps: what returns is a new track with the old one as parent.
    """
    for folder, _ in folders:
        folder.mkdir(parents=True)
    tracks: dict[int, list[int]] = {}  # label -> first, last, parent
    label_of: dict[int, int] = {}
    next_label = 0
    pictures = list(pictures)
    next_label = 1 + max((int(picture.max(initial=0)) for picture in pictures), default=0)
    for index, picture in enumerate(pictures):
        relabelled = picture.copy()
        for object_id in np.unique(picture[picture > 0]).tolist():
            label = label_of.setdefault(object_id, object_id)
            if label in tracks and tracks[label][1] < index - 1:
                tracks[next_label] = [index, index, label]
                label_of[object_id] = label = next_label
                next_label += 1
            tracks.setdefault(label, [index, index, 0])[1] = index
            relabelled[picture == object_id] = label
        for folder, name in folders:
            tifffile.imwrite(
                folder / f"{name}{index:03d}.tif", relabelled, photometric="minisblack"
            )
    return "".join(f"{label} {a} {b} {parent}\n" for label, (a, b, parent) in tracks.items())
