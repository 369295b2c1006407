"""The protocols of the paper, from a data set to a table."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.core.evaluation.images import (
    ImageProtocol,
    Predictor,
    image_pairs,
    run_image,
)
from sam2_plugins.core.evaluation.interactive import (
    CorrectableTracker,
    InteractiveProtocol,
    run_interactive,
)
from sam2_plugins.core.evaluation.layouts import load_sequences
from sam2_plugins.core.evaluation.results import Evaluation
from sam2_plugins.core.evaluation.runs import Progress, RunOptions, run_parts
from sam2_plugins.core.evaluation.saving import check_predictions
from sam2_plugins.core.evaluation.starts import pick_evenly
from sam2_plugins.core.evaluation.vos import Tracker, VosProtocol, run_sequence
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.predictor import ImagePredictor
from sam2_plugins.core.tracker import VideoTracker
from sam2_plugins.core.weights import model_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sam2_plugins.core.evaluation.rows import Outcome
    from sam2_plugins.core.evaluation.sequences import VosSequence
    from sam2_plugins.core.frames import FrameSource

__all__ = ["evaluate_image", "evaluate_interactive", "evaluate_vos"]

_CACHE_BYTES = 2**30


def evaluate_vos(
    model: SAM2 | Callable[[FrameSource], Tracker],
    sequences: Sequence[VosSequence] | str | Path,
    *,
    tracker_options: Mapping[str, Any] | None = None,
    run: RunOptions | None = None,
    progress: Progress | None = None,
    **choices: Any,
) -> Evaluation:
    """Tracks every object of every sequence from its prompted frames, and scores the others.

    An object without a frame to score is NaN. The headline is `j_and_f`, as in the tables of DAVIS
    and SA-V. In volumes, where objects are absent from most slices, no mask at all would reach 0.8
    by it; with a volume among the sequences the headline is `visible_j_and_f`, over frames with the
    object or a mask of it.

    Args:
        model: From `load_model`; or a function that makes a tracker for frames.
        sequences: From `load_sequences`, or the path to give to it.
        tracker_options: Further arguments of `VideoTracker`.
        run: Where results go, whether to go on with an unfinished run, how many processes.
        progress: Called with number, count and name of each sequence.
        choices: Fields of `VosProtocol`.

    Returns:
        Rows by sequence, method (`sam2` and the baselines) and object.

    Raises:
        ValueError: An option is unknown, there are no sequences, truth and frames do not fit, or
            masks would be written over something else.
        FileNotFoundError: There is no such folder.
    """
    protocol = VosProtocol(**choices)
    parts = _named(sequences)
    if protocol.save_masks is not None:
        check_predictions(Path(protocol.save_masks), parts)
    has_volume = any(sequence.is_volume for sequence in parts.values())
    options = tracker_options or {}
    make_tracker = partial(VideoTracker, model, **options) if isinstance(model, SAM2) else model
    chosen = {
        "prompt": protocol.prompt,
        "prompt_frame": protocol.prompt_frame,
        "keyframes": protocol.keyframes,
        "scoring": protocol.scoring,
        "overlaps": protocol.overlaps,
        "max_objects": protocol.max_objects,
        "sequences": len(parts),
        **model_options(model),
        **options,
    }
    outcomes = run_parts(
        partial(run_sequence, make_tracker=make_tracker, protocol=protocol),
        parts,
        header=header_of("vos", model, {"choices": asdict(protocol), **chosen}),
        run=run or RunOptions(),
        progress=progress,
    )
    headline = "visible_j_and_f" if has_volume else "j_and_f"
    return gather("vos", outcomes, headline=headline, options=chosen, model=model)


def evaluate_interactive(
    model: SAM2 | Callable[[FrameSource], CorrectableTracker],
    sequences: Sequence[VosSequence] | str | Path,
    *,
    tracker_options: Mapping[str, Any] | None = None,
    run: RunOptions | None = None,
    progress: Progress | None = None,
    **choices: Any,
) -> Evaluation:
    """Lets a simulated annotator correct every object frame after frame; see `interactive`.

    Args:
        model: From `load_model`; or a function that makes a tracker for frames.
        sequences: From `load_sequences`, or the path to give to it.
        tracker_options: Further arguments of `VideoTracker`.
        run: Where results go, whether to go on with an unfinished run, how many processes.
        progress: Called with number, count and name of each sequence.
        choices: Fields of `InteractiveProtocol`.

    Returns:
        Rows by sequence, protocol and object; the headline is the mean J&F over the rounds.

    Raises:
        ValueError: An option is unknown, there are no sequences, or truth and frames do not fit.
        FileNotFoundError: There is no such folder.
    """
    protocol = InteractiveProtocol(**choices)
    parts = _named(sequences)
    options = dict(tracker_options or {})
    if isinstance(model, SAM2):
        caches = {"cache_frames": _frames_in_memory(model), "undo_levels": 1}
        make_tracker: Callable[[FrameSource], CorrectableTracker]
        make_tracker = partial(VideoTracker, model, **{**caches, **options})
    else:
        make_tracker = model
    chosen = {
        "clicks_per_frame": protocol.clicks_per_frame,
        "num_frames": protocol.num_frames,
        "threshold": protocol.threshold,
        "absent": protocol.absent,
        "max_objects": protocol.max_objects,
        "sequences": len(parts),
        **model_options(model),
        **options,
    }
    outcomes = run_parts(
        partial(run_interactive, make_tracker=make_tracker, protocol=protocol),
        parts,
        header=header_of("interactive", model, {"choices": asdict(protocol), **chosen}),
        run=run or RunOptions(),
        progress=progress,
    )
    return gather("interactive", outcomes, headline="j_and_f", options=chosen, model=model)


def evaluate_image(
    model: SAM2 | Predictor,
    folder: str | Path,
    *,
    run: RunOptions | None = None,
    progress: Progress | None = None,
    **choices: Any,
) -> Evaluation:
    """Segments every labelled object of a folder of images, each by itself.

    The first click is at the object's centre, with several candidates of which the model's own
    choice counts; each further one is at the centre of the error, refines the mask before, and
    gives one candidate. The box is the tight one and gives one candidate.

    Args:
        model: From `load_model`; or a predictor.
        folder: With `images/NAME.*` and `labels/NAME.png` (or `.tif`), pixel value = object id.
        run: Where results go, whether to go on with an unfinished run, how many processes.
        progress: Called with number, count and name of each image.
        choices: Fields of `ImageProtocol`.

    Returns:
        Rows by image, object and prompt; the headline is the IoU, its mean the mIoU.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: Unknown prompt, no images with labels, or sizes that differ.
    """
    protocol = ImageProtocol(**choices)
    predictor = ImagePredictor(model) if isinstance(model, SAM2) else model
    pairs = pick_evenly(image_pairs(folder), protocol.max_images)
    chosen = {
        "folder": Path(folder).resolve().name,
        "images": len(pairs),
        "max_objects": protocol.max_objects,
        **model_options(model),
    }
    outcomes = run_parts(
        partial(run_image, predictor=predictor, protocol=protocol),
        {image.name: (image, labels) for image, labels in pairs},
        header=header_of("image", model, {"choices": asdict(protocol), **chosen}),
        run=run or RunOptions(),
        progress=progress,
    )
    return gather("image", outcomes, headline="iou", options=chosen, model=model)


def header_of(protocol: str, model: object, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a run another one."""
    return {**facts, "protocol": protocol, "weights": hash_of(model)}


def _frames_in_memory(model: SAM2) -> int:
    """How many encoded frames fit: an annotator comes back to all of them."""
    size_bytes = model.config.model_dim * model.image_size**2 // 16  # of one, in float32
    return max(16, _CACHE_BYTES // size_bytes)


def _named(sequences: Sequence[VosSequence] | str | Path) -> dict[str, VosSequence]:
    """The sequences by names that differ."""
    found = load_sequences(sequences) if isinstance(sequences, (str, Path)) else sequences
    if not found:
        raise ValueError("there are no sequences to evaluate")
    parts: dict[str, VosSequence] = {}
    for sequence in found:
        number = sum(name.partition("#")[0] == sequence.name for name in parts)
        parts[f"{sequence.name}#{number + 1}" if number else sequence.name] = sequence
    return parts


def model_options(model: object) -> dict[str, object]:
    """What decides numbers beside the weights, of a model of ours."""
    if not isinstance(model, SAM2):
        return {}
    return {
        "model": model.config.name,
        "image_size": model.image_size,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        **({} if type(model) is SAM2 else {"object_pointers": False}),
    }


def gather(
    protocol: str,
    outcomes: Sequence[Outcome],
    *,
    headline: str,
    options: Mapping[str, object],
    model: object,
) -> Evaluation:
    """Brings the parts of a run together.

    Raises:
        ValueError: There is nothing to bring together.
    """
    rows = tuple(row for outcome in outcomes for row in outcome.rows)
    if not rows:
        raise ValueError("there is no object to evaluate: the truth is empty")
    seconds: Counter[str] = Counter()
    for outcome in outcomes:
        seconds.update(outcome.seconds)
    signatures = " ".join(outcome.signature for outcome in outcomes)
    return Evaluation(
        protocol,
        rows,
        headline,
        options,
        hash_of(model),
        seconds,
        data=hashlib.sha256(signatures.encode()).hexdigest()[:16],
    )


def hash_of(model: object) -> str:
    """Hash of a model of ours; "" for anything else."""
    return model_hash(model) if isinstance(model, SAM2) else ""
