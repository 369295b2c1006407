"""The protocols of the paper, from a data set to a table."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sam2_plugins.core.evaluation.images import Predictor, evenly, image_pairs, run_image
from sam2_plugins.core.evaluation.results import Evaluation, ScoreRow
from sam2_plugins.core.evaluation.sequences import VosSequence, load_sequences
from sam2_plugins.core.evaluation.vos import Tracker, run_sequence
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.predictor import ImagePredictor
from sam2_plugins.core.tracker import VideoTracker
from sam2_plugins.core.weights import model_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sam2_plugins.core.frames import FrameSource

__all__ = [
    "BASELINES",
    "IMAGE_PROMPTS",
    "PROMPT_FRAMES",
    "VOS_PROMPTS",
    "evaluate_image",
    "evaluate_vos",
]

VOS_PROMPTS = ("mask", "box", "1-click", "3-click", "5-click")
IMAGE_PROMPTS = ("1-click", "3-click", "5-click", "box")
PROMPT_FRAMES = ("auto", "first", "largest")
BASELINES = ("copy", "flow")


def evaluate_vos(
    model: SAM2 | Callable[[FrameSource], Tracker],
    sequences: Sequence[VosSequence] | str | Path,
    *,
    prompt: str = "mask",
    prompt_frame: Literal["auto", "first", "largest"] = "auto",
    baselines: Sequence[str] = BASELINES,
    tracker_options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Evaluation:
    """Tracks every object of every sequence from one prompted frame, and scores the others.

    Not scored are an object's prompted frame, frames before it when tracking forward, and the last
    annotated frame of a video (the rule of DAVIS). An object without a frame to score is NaN. The
    headline is `j_and_f`, as in the tables of DAVIS and SA-V. In volumes, where objects are absent
    from most slices, no mask at all would reach 0.8 by it; with a volume among the sequences the
    headline is `visible_j_and_f`, over frames with the object or a mask of it.

    Args:
        model: From `load_model`; or a function that makes a tracker for frames.
        sequences: From `load_sequences`, or the path to give to it.
        prompt: `mask`; `box`, the tight one; or `1-click`, `3-click`, `5-click`: the first at the
            object's centre, the others at the centre of the error of what came back.
        prompt_frame: `first` annotated frame, then forward, so objects may appear later; `largest`,
            where most of it is seen, then both ways; `auto`: first for videos, largest for volumes.
        baselines: Any of `copy` and `flow`; both start from the true mask, whatever the prompt.
        tracker_options: Further arguments of `VideoTracker`.
        progress: Called before each sequence with its number, their count and its name.

    Returns:
        Rows by sequence, method (`sam2` and the baselines) and object.

    Raises:
        ValueError: An option is unknown, there are no sequences, or truth and frames do not fit.
        FileNotFoundError: There is no such folder.
    """
    _check_vos_choices(prompt, prompt_frame, baselines)
    sequences = load_sequences(sequences) if isinstance(sequences, (str, Path)) else sequences
    if not sequences:
        raise ValueError("there are no sequences to evaluate")
    has_volume = any(sequence.is_volume for sequence in sequences)
    headline = "visible_j_and_f" if has_volume else "j_and_f"
    options = tracker_options or {}
    make_tracker = partial(VideoTracker, model, **options) if isinstance(model, SAM2) else model
    rows: list[ScoreRow] = []
    seconds: Counter[str] = Counter()
    for number, sequence in enumerate(sequences):
        if progress is not None:
            progress(number, len(sequences), sequence.name)
        is_first = prompt_frame == "first" or (prompt_frame == "auto" and not sequence.is_volume)
        new_rows, spent = run_sequence(
            sequence, make_tracker, prompt=prompt, is_forward=is_first, baselines=baselines
        )
        rows += new_rows
        seconds.update(spent)
    chosen = {"prompt": prompt, "prompt_frame": prompt_frame, "sequences": len(sequences)}
    chosen |= options
    return Evaluation("vos", tuple(rows), headline, chosen, _hash(model), seconds)


def evaluate_image(
    model: SAM2 | Predictor,
    folder: str | Path,
    *,
    prompts: Sequence[str] = IMAGE_PROMPTS,
    max_images: int | None = None,
    max_objects: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Evaluation:
    """Segments every labelled object of a folder of images, each by itself.

    The first click is at the object's centre, with several candidates of which the model's own
    choice counts; each further one is at the centre of the error, refines the mask before, and
    gives one candidate. The box is the tight one and gives one candidate.

    Args:
        model: From `load_model`; or a predictor.
        folder: With `images/NAME.*` and `labels/NAME.png` (or `.tif`), pixel value = object id.
        prompts: Any of `1-click`, `3-click`, `5-click` and `box`.
        max_images: At most so many images, evenly spaced; None for all.
        max_objects: At most so many objects of one image, evenly spaced by id; None for all.
        progress: Called before each image with its number, their count and its name.

    Returns:
        Rows by image, object and prompt; the headline is the IoU, its mean the mIoU.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: Unknown prompt, no images with labels, or sizes that differ.
    """
    if not prompts:
        raise ValueError(f"there are no prompts; prompts are {', '.join(IMAGE_PROMPTS)}")
    for prompt in prompts:
        _check_choice("prompt", prompt, IMAGE_PROMPTS)
    predictor = ImagePredictor(model) if isinstance(model, SAM2) else model
    pairs = evenly(image_pairs(folder), max_images)
    rows: list[ScoreRow] = []
    started = time.perf_counter()
    for number, (image, labels) in enumerate(pairs):
        if progress is not None:
            progress(number, len(pairs), image.stem)
        rows += run_image(predictor, image, labels, prompts=prompts, max_objects=max_objects)
    chosen = {
        "folder": Path(folder).resolve().name,
        "images": len(pairs),
        "max_objects": max_objects,
    }
    seconds = {"all prompts": time.perf_counter() - started}
    return Evaluation("image", tuple(rows), "iou", chosen, _hash(model), seconds)


def _check_vos_choices(prompt: str, prompt_frame: str, baselines: Sequence[str]) -> None:
    _check_choice("prompt", prompt, VOS_PROMPTS)
    _check_choice("prompt_frame", prompt_frame, PROMPT_FRAMES)
    for name in baselines:
        _check_choice("baseline", name, BASELINES)


def _check_choice(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"unknown {what} {value!r}; known are {', '.join(known)}")


def _hash(model: object) -> str:
    return model_hash(model) if isinstance(model, SAM2) else ""
