"""Images without prompts: how much of everything is found, and how much else."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2_plugins.core.automatic import MaskGenerator
from sam2_plugins.core.evaluation.images import image_pairs, read_pair
from sam2_plugins.core.evaluation.protocols import gather, header_of, model_options
from sam2_plugins.core.evaluation.rows import Outcome, ScoreRow
from sam2_plugins.core.evaluation.runs import RunOptions, run_parts
from sam2_plugins.core.evaluation.starts import pick_evenly
from sam2_plugins.core.frames.source import hash_sample
from sam2_plugins.core.rgb_frames import image_to_rgb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sam2_plugins.core.evaluation.results import Evaluation
    from sam2_plugins.core.evaluation.runs import Progress
    from sam2_plugins.core.model.sam2 import SAM2

__all__ = ["count_matches", "evaluate_everything", "run_everything"]

_IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""From which IoU on an object counts as found: those of the 2018 Data Science Bowl, and of COCO."""


def evaluate_everything(
    model: SAM2,
    folder: str | Path,
    *,
    max_images: int | None = None,
    generator: Mapping[str, Any] | None = None,
    run: RunOptions | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Looks for everything in a folder of images, and holds it against their labels.

    Args:
        model: From `load_model`.
        folder: As of `evaluate_image`.
        max_images: At most so many images, evenly spaced; all if not given.
        generator: Options of `MaskGenerator`, by name; what suits the model if not given.
        run: See `evaluate_image`.
        progress: See there.

    Returns:
        A row for each image; the headline is the F1 score at an IoU of 0.5.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: There are no images with labels, or sizes that differ.
        TypeError: There is no such option.
    """
    looks = MaskGenerator(model, **(generator or {}))
    pairs = pick_evenly(image_pairs(folder), max_images)
    chosen = {
        "folder": Path(folder).resolve().name,
        "images": len(pairs),
        **model_options(model),
        **asdict(looks.options),
    }
    outcomes = run_parts(
        partial(run_everything, generator=looks),
        {image.name: (image, labels) for image, labels in pairs},
        header=header_of("everything", model, chosen),
        run=run or RunOptions(),
        progress=progress,
    )
    return gather("everything", outcomes, headline="f1_50", options=chosen, model=model)


def run_everything(pair: tuple[Path, Path], *, generator: MaskGenerator) -> Outcome:
    """Looks for everything in one image.

    Args:
        pair: See `run_image`.
        generator: Looks.

    Returns:
        One row: F1 at an IoU of 0.5 and of 0.75, precision and recall at 0.5, and `ap`, the mean
        over the IoUs 0.5, 0.55, … 0.95 of the share found / (found + missed + too much), which is
        the measure of the 2018 Data Science Bowl (Caicedo 2019).

    Raises:
        ValueError: Image and labels differ in size, or cannot be read.
    """
    _, truth, pixels, is_rgb = read_pair(pair)
    picture = image_to_rgb(pixels, rgb=is_rgb)
    started = time.perf_counter()
    found = [each.mask for each in generator.generate_rgb(picture)]
    seconds = {"sam2": time.perf_counter() - started}
    metrics = _scores(count_matches(found, truth), len(found), len(truth))
    row = ScoreRow(pair[0].stem, 0, "sam2", metrics, {})
    return Outcome((row,), seconds, hash_sample("", (pixels, truth))[:16])


def count_matches(found: Sequence[NDArray[np.bool_]], truth: NDArray[np.bool_]) -> dict[float, int]:
    """How many objects are found, by the IoU from which on they count as such.

    Each mask is of one object at most, and each object found once; the most alike go together.

    Args:
        found: Masks (H, W) bool.
        truth: (N, H, W) bool.
    """
    flat = truth.reshape(len(truth), -1)
    areas = flat.sum(axis=1)
    pairs = []
    for row, mask in enumerate(found):
        inside = np.flatnonzero(mask)
        shared = flat[:, inside].sum(axis=1)
        iou = shared / np.maximum(areas + len(inside) - shared, 1)
        pairs += [(iou[other], row, int(other)) for other in np.flatnonzero(iou >= _IOUS[0])]
    counts = dict.fromkeys(_IOUS, 0)
    met: set[int] = set()
    known: set[int] = set()
    for iou, row, other in sorted(pairs, key=lambda pair: -pair[0]):
        if row in met or other in known:
            continue
        met.add(row)
        known.add(other)
        for least in _IOUS:
            counts[least] += bool(iou >= least)
    return counts


def _scores(counts: Mapping[float, int], num_found: int, num_true: int) -> dict[str, float]:
    either = num_found + num_true

    def f1(least: float) -> float:
        return 2 * counts[least] / either if either else float("nan")

    precisions = [counts[least] / (either - counts[least]) for least in _IOUS] if either else []
    return {
        "f1_50": f1(0.5),
        "f1_75": f1(0.75),
        "precision_50": counts[0.5] / num_found if num_found else float("nan"),
        "recall_50": counts[0.5] / num_true if num_true else float("nan"),
        "ap": float(np.mean(precisions)) if precisions else float("nan"),
        "found": float(num_found),
        "labelled": float(num_true),
    }
