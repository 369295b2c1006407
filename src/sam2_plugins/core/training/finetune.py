"""Fine-tuning on a user's own data, and the question whether it helped."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sam2_plugins.core.checkpoints import save_checkpoint
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.training.adapters import merge_adapters
from sam2_plugins.core.training.checkpoints import load_checkpoint
from sam2_plugins.core.training.finetune_plan import (
    FinetuneSettings,
    claim_run_folder,
    max_side_for,
    places,
    plan_run,
    read_data,
)
from sam2_plugins.core.training.kept_scores import keep_scores, kept_scores
from sam2_plugins.core.training.launch import (
    TrainingRun,
    check_run,
    model_to_start_from,
    run_training,
)
from sam2_plugins.core.training.measuring import Score, measure
from sam2_plugins.core.training.own_data import OwnData
from sam2_plugins.core.training.verdict import (
    MIN_UNITS,
    Comparison,
    compare,
    explain,
    independent_units,
)
from sam2_plugins.core.training.watching import Watch
from sam2_plugins.core.weights import load_model

CANDIDATE, MODEL = "candidate.safetensors", "model.safetensors"
BEFORE, REPORT = "before.json", "report.json"


@dataclass(frozen=True)
class Finetuned:
    """What came of it.

    Attributes:
        path: The weights.
        name: What `load_model` takes; None where the weights are no model of that name, because
            they are not better or because a folder was asked for.
        comparisons: Before and after, by prompt; the last one decides.
        learnt, kept_apart: What was learnt from, and what was measured on, in words.
    """

    path: Path
    name: str | None
    comparisons: tuple[Comparison, ...]
    learnt: str
    kept_apart: str

    @property
    def is_better(self) -> bool:
        """Whether the new model is better, beyond what chance could do."""
        return self.comparisons[-1].is_better

    @property
    def verdict(self) -> str:
        """Why it is called better, or not, in words."""
        return explain(self.comparisons)

    def to_json(self) -> dict[str, Any]:
        """The same in plain values."""
        words = {"is_better": self.is_better, "verdict": self.verdict}
        return {**asdict(self), "path": str(self.path), **words}


def finetune(
    settings: FinetuneSettings,
    *,
    say: Callable[[str], None] = print,
    watch: Watch | None = None,
) -> Finetuned:
    """Fine-tune a model and measure it, before and after, on data that were kept apart.

    A model that is not better is not given the name: its weights stay in the run's folder, as
    `candidate.safetensors`.

    Args:
        settings: What to do.
        say: Gets a line of text now and then.
        watch: Who looks on while it learns.

    Returns:
        The weights and how they compare.

    Raises:
        FileNotFoundError: There is no such data, model, or nothing to resume from.
        ValueError: There is too little data, a name or number is out of range, or a model or run
            would be lost.
        TrainingStopped: It was asked to stop, and can go on.
    """
    named, folder = places(settings.out)
    claim_run_folder(settings)
    start = model_to_start_from(settings.model, image_size=settings.image_size)
    run = plan_run(settings, start)
    check_run(run)
    learnt, apart = read_data(settings, max_side=max_side_for(start))
    say(f"learning from {learnt}; {apart} kept apart to measure on")
    before = _measure_before(start, apart, run=run, say=say)
    if not run.resume:
        for name in (CANDIDATE, REPORT):
            (folder / name).unlink(missing_ok=True)
    adapt = run.settings.about["adapt"]
    say(f"training {adapt} of {start.config.name} at {start.image_size} px; log in {folder}")
    checkpoint = run_training(run, watch)
    model = run.make_model()
    model.load_state_dict(load_checkpoint(checkpoint)["average"])
    candidate = _save(merge_adapters(model), folder / CANDIDATE, settings)
    say("measuring what was learnt")
    tuned = load_model(checkpoint=candidate, device=run.device, dtype="float32")
    after = measure(tuned, apart, say=say)
    comparisons = tuple(compare(before, after))
    result = Finetuned(candidate, None, comparisons, str(learnt), str(apart))
    if result.is_better and named is not None:
        candidate.replace(named)
        result = replace(result, path=named, name=named.stem)
    elif result.is_better:
        result = replace(result, path=candidate.replace(folder / MODEL))
    (folder / REPORT).write_text(json.dumps(result.to_json(), indent=1), encoding="utf-8")
    return result


def _measure_before(
    start: SAM2, apart: OwnData, *, run: TrainingRun, say: Callable[[str], None]
) -> list[Score]:
    """How good the model is that is started from; a run that goes on knows it.

    Raises:
        ValueError: There is nothing to measure on.
    """
    path, about = run.settings.out_dir / BEFORE, run.settings.about
    before = kept_scores(path, data=apart, about=about) if run.resume else None
    if before is None:
        say(f"measuring {start.config.name} as it is")
        before = measure(start.to(run.device), apart, say=say)
        if not before:
            raise ValueError(
                f"nothing can be measured on what is kept apart, {apart}: no object is on a frame "
                "that others follow"
            )
        keep_scores(path, before, data=apart, about=about)
    units, unit = independent_units(before)
    if (num_units := max(units) + 1) < MIN_UNITS:
        say(
            f"whether it is better cannot be told in the end: {num_units} {unit} kept apart, at "
            f"least {MIN_UNITS} are needed"
        )
    return before


def _save(model: SAM2, path: Path, settings: FinetuneSettings) -> Path:
    """Write weights that say what they are."""
    name = settings.out if places(settings.out)[0] is not None else f"{model.config.name}-tuned"
    notes = {"from": model.config.name, "recipe": "sam2-plugins train finetune"}
    model.config = replace(
        model.config, name=name, image_size=model.image_size, checkpoint_url=None
    )
    save_checkpoint(model, path, notes=notes)
    return path
