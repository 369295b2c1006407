"""Parts of the tracker changed or taken away one by one, to see what each is worth."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2_plugins.core.config import nearest_image_size
from sam2_plugins.core.evaluation.intervals import bootstrap
from sam2_plugins.core.evaluation.protocols import evaluate_vos
from sam2_plugins.core.evaluation.runs import RunOptions
from sam2_plugins.core.model.sam2 import SAM2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from sam2_plugins.core.evaluation.intervals import Interval
    from sam2_plugins.core.evaluation.results import Evaluation
    from sam2_plugins.core.evaluation.runs import Progress
    from sam2_plugins.core.evaluation.sequences import VosSequence

__all__ = [
    "VARIANTS",
    "Variant",
    "ablations_table",
    "evaluate_ablations",
    "gain",
    "without_pointers",
]


class _WithoutPointers(SAM2):
    """A network that attends to memory maps alone."""

    def with_memory(self, *arguments: Any, **options: Any) -> Tensor:
        """As the whole network, with no object pointers."""
        return super().with_memory(*arguments, **{**options, "pointers": ()})


def without_pointers(model: SAM2) -> SAM2:
    """The same weights without object pointers; the model given stays as it is."""
    blind = copy.copy(model)
    blind.__class__ = _WithoutPointers
    return blind


@dataclass(frozen=True, slots=True)
class Variant:
    """One change of the tracker.

    Attributes:
        name: Also of its folder.
        options: Arguments of `VideoTracker` that differ.
        scale: Side of the network's input over the model's own.
        has_pointers: Whether object pointers are remembered.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    scale: float = 1.0
    has_pointers: bool = True

    def image_size(self, own: int) -> int:
        """Side of the input in pixels, given the model's own."""
        return nearest_image_size(own * self.scale)


VARIANTS = (
    Variant("default"),
    Variant("half the input size", scale=0.5),
    Variant("1.5 times the input size", scale=1.5),
    Variant("no recent memories", {"memory_frames": 0}),
    Variant("1 recent memory", {"memory_frames": 1}),
    Variant("2 recent memories", {"memory_frames": 2}),
    Variant("4 recent memories", {"memory_frames": 4}),
    Variant("every 2nd memory", {"memory_stride": 2}),
    Variant("every 4th memory", {"memory_stride": 4}),
    Variant("memories with the object", {"memory_selection": 0.0}),
    Variant("memories of IoU 0.5 up", {"memory_selection": 0.5}),
    Variant("memories of IoU 0.8 up", {"memory_selection": 0.8}),
    Variant("no object pointers", has_pointers=False),
    Variant("motion not followed", {"follow_motion": False}),
    Variant("no looking back", {"look_back": False}),
    Variant("appearance not learnt", {"learn_appearance": False}),
    Variant("masks not drawn anew", {"retouch": False}),
    Variant("presence of each frame alone", {"smooth_presence": False}),
    Variant("frames seen whole", {"window_side": None}),
    Variant("no hole filling", {"fill_hole_area": 0}),
    Variant("published rules", {"exact": True}),
)
"""What is compared; the first is what all others are held against."""


def evaluate_ablations(
    make_model: Callable[[int | None], SAM2],
    sequences: Sequence[VosSequence],
    *,
    variants: Sequence[Variant] = VARIANTS,
    run: RunOptions | None = None,
    progress: Progress | None = None,
    **choices: Any,
) -> dict[str, Evaluation]:
    """Runs `evaluate_vos` once per variant, on the same objects.

    Args:
        make_model: Gives the model for a side of the input; None for its own.
        sequences: From `load_sequences`.
        variants: What to compare.
        run: As of `evaluate_vos`; every variant gets a folder of its own in the output, and
            resuming goes on where the last one stopped.
        progress: Called with number, count and name of each variant.
        choices: Fields of `VosProtocol`.

    Returns:
        Variant -> its evaluation.
    """
    run = run or RunOptions()
    own_size = make_model(None).image_size
    found = {}
    for number, variant in enumerate(variants):
        if progress is not None:
            progress(number, len(variants), variant.name)
        size = variant.image_size(own_size)
        model = make_model(None if size == own_size else size)
        output = None if run.output is None else Path(run.output) / variant.name.replace(" ", "-")
        found[variant.name] = evaluate_vos(
            model if variant.has_pointers else without_pointers(model),
            sequences,
            tracker_options=variant.options,
            run=replace(run, output=output, resume=run.resume and output is not None),
            **{"baselines": (), **choices},
        )
        if output is not None:
            found[variant.name].save(output)
    return found


def gain(evaluation: Evaluation, reference: Evaluation) -> Interval:
    """How much better than the reference, object by object, with a bootstrap interval."""
    metric = reference.headline
    before = {(row.sequence, row.object_id): row.metrics[metric] for row in reference.rows}
    pairs = (
        (row.sequence, row.metrics[metric] - before[row.sequence, row.object_id])
        for row in evaluation.rows
    )
    return bootstrap(pairs, seed=reference.seed)


def ablations_table(found: Mapping[str, Evaluation]) -> str:
    """A Markdown table: each variant's mean, what it gains over the first, and its time."""
    (first, reference), *_ = found.items()
    lines = [
        f"| variant | {reference.headline} | against {first} (95 % interval) | time |",
        "|---|---|---|---|",
    ]
    for name, evaluation in found.items():
        mean = evaluation.mean("sam2")
        cells = [name, "n/a" if np.isnan(mean) else f"{mean:.3f}"]
        if evaluation is reference:
            cells += ["", "1.00"]
        else:
            ours = gain(evaluation, reference)
            cells.append(f"{ours.mean:+.3f} ({ours.low:+.3f} to {ours.high:+.3f})")
            share = evaluation.seconds["sam2"] / max(reference.seconds["sam2"], 1e-9)
            cells.append(f"{share:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    options = ", ".join(f"{name} {value}" for name, value in reference.options.items())
    lines += [
        "",
        f"{reference.interval('sam2').count} objects of {len(reference.sequences)} sequences; "
        f"{options}; model {reference.model}; data {reference.data}; sam2-plugins "
        f"{reference.version}.",
    ]
    return "\n".join(lines) + "\n"
