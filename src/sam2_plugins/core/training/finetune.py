"""Fine-tuning on a user's own data, and the question whether it helped."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from sam2_plugins.core.checkpoints import save_checkpoint
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.own_models import own_model_file
from sam2_plugins.core.training.adapters import add_adapters, merge_adapters
from sam2_plugins.core.training.checkpoints import load_checkpoint
from sam2_plugins.core.training.launch import (
    TrainingRun,
    choose_device,
    fit_to_device,
    model_to_start_from,
    run_training,
)
from sam2_plugins.core.training.loop import RunSettings
from sam2_plugins.core.training.own_data import OwnData, keep_apart, load_own_data
from sam2_plugins.core.training.stages import TrainingConfig
from sam2_plugins.core.training.verdict import Comparison, compare, measure
from sam2_plugins.core.weights import load_model

Adapt = Literal["auto", "all", "decoder", "lora"]
ADAPTS: tuple[Adapt, ...] = ("auto", "all", "decoder", "lora")
LARGE = 20_000_000
"""Parameters from which on the image encoder is adapted, not learnt."""
SIDE_OVER_INPUT = 1.5
"""Frames are kept so much larger than the network's input, to be cropped and turned."""


@dataclass(frozen=True)
class FinetuneSettings:
    """What to fine-tune, on what, and for how long.

    Attributes:
        data: Folder of labelled data, see `load_own_data`.
        out: Name of the new model, or a folder for its files.
        model: Name or file of the model to start from.
        image: The image of an autosave folder.
        minutes: Budget by time; not used where there are steps.
        steps: Budget by steps.
        adapt: What learns: everything, all but the image encoder, or that by adapters (LoRA);
            "auto" is everything in small models and adapters in large ones.
        image_size: Side of the input; the model's own if None.
        device: "auto", "cpu" or "cuda".
        num_processes: Processes that share every step; None for one per GPU, or per core.
        num_workers: Processes that make batches ahead, for each of those.
        seed: Of batches and adapters.
        resume: Go on from the run's checkpoint.
    """

    data: Path
    out: str
    model: str = "nano"
    image: Path | None = None
    minutes: float = 5.0
    steps: int | None = None
    adapt: Adapt = "auto"
    image_size: int | None = None
    device: str = "auto"
    num_processes: int | None = None
    num_workers: int = 0
    seed: int = 0
    resume: bool = False


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


def finetune(settings: FinetuneSettings, *, say: Callable[[str], None] = print) -> Finetuned:
    """Fine-tune a model and measure it, before and after, on data that were kept apart.

    A model that is not better is not given the name: its weights stay in the run's folder, as
    `candidate.safetensors`.

    Args:
        settings: What to do.
        say: Gets a line of text now and then.

    Returns:
        The weights and how they compare.

    Raises:
        FileNotFoundError: There is no such data, model, or nothing to resume from.
        ValueError: There is too little data, or a name or number is out of range.
    """
    named, folder = _places(settings.out)
    if settings.adapt not in ADAPTS:
        raise ValueError(f"adapt is one of {', '.join(ADAPTS)}, not {settings.adapt!r}")
    if settings.steps is None and settings.minutes <= 0:
        raise ValueError(f"minutes must be positive, not {settings.minutes}")
    start = model_to_start_from(settings.model, image_size=settings.image_size)
    max_side = round(SIDE_OVER_INPUT * start.image_size)
    learnt, apart = _read(settings, max_side)
    say(f"learning from {learnt}; {apart} kept apart to measure on")
    device = choose_device(settings.device)
    say(f"measuring {start.config.name} as it is")
    before = measure(start.to(device), apart, say=say)
    adapt = _what_learns(start, settings.adapt)
    run = TrainingRun(
        load_data=partial(_load, settings, max_side),
        make_model=partial(_make_model, settings, adapt),
        stages=fit_to_device((finetune_stage(settings, start, adapt),), device=device),
        settings=RunSettings(
            folder, seed=settings.seed, log_every=10, num_workers=settings.num_workers
        ),
        device=device,
        num_processes=settings.num_processes,
        resume=settings.resume,
    )
    say(f"training {adapt} of {start.config.name} at {start.image_size} px; log in {folder}")
    checkpoint = run_training(run)
    model = _make_model(settings, adapt)
    model.load_state_dict(load_checkpoint(checkpoint)["average"])
    candidate = _save(merge_adapters(model), folder / "candidate.safetensors", settings)
    say("measuring what was learnt")
    tuned = load_model(checkpoint=candidate, device=device, dtype="float32")
    after = measure(tuned, apart, say=say)
    comparisons = tuple(compare(before, after))
    result = Finetuned(candidate, None, comparisons, str(learnt), str(apart))
    if result.is_better and named is not None:
        candidate.replace(named)
        result = replace(result, path=named, name=named.stem)
    elif result.is_better:
        result = replace(result, path=candidate.replace(folder / "model.safetensors"))
    report = {**asdict(result), "path": str(result.path), "is_better": result.is_better}
    (folder / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    return result


def finetune_stage(settings: FinetuneSettings, model: SAM2, adapt: str) -> TrainingConfig:
    """Return the one stage of a fine-tuning: few objects, few frames, a small rate.

    What was learnt from much more data is changed little: the encoder at half the rate, early
    blocks less than late ones. A model that looks at objects through windows learns from what is
    seen through them, at their size.
    """
    closeup_size = None if settings.image_size is not None else model.config.closeup_size
    return TrainingConfig(
        name="finetune",
        size=closeup_size or model.image_size,
        closeups=0.0 if closeup_size is None else 0.75,
        num_frames=4,
        clips_per_step=1,
        images_per_step=3,
        objects_per_clip=3,
        objects_per_image=6,
        minutes=None if settings.steps is not None else settings.minutes,
        steps=settings.steps,
        learning_rate=2e-4 if adapt == "all" else 1e-4,
        final_learning_rate=1e-6,
        warmup_steps=10,
        weight_decay=0.02,
        ema_decay=0.98,
        correction_clicks=2,
        clip_clicks=2,
        mask_chance=0.6,
        encoder_rate=1.0 if adapt == "lora" else 0.5,
        layer_decay=1.0 if adapt == "lora" else 0.9,
        frozen=("image_encoder.",) if adapt == "decoder" else (),
        saves_memory=model.image_size > 512,
    )


def run_folder(out: str) -> Path:
    """The folder of a run: that of its log and checkpoint.

    Raises:
        ValueError: `out` is a name that a model cannot have.
    """
    return _places(out)[1]


def _places(out: str) -> tuple[Path | None, Path]:
    """Where a named model goes, None without a name, and the run's folder."""
    if "/" in out or "\\" in out or Path(out).is_dir():
        return None, Path(out)
    named = own_model_file(out)
    return named, named.with_suffix(".run")


def _read(settings: FinetuneSettings, max_side: int) -> tuple[OwnData, OwnData]:
    return keep_apart(load_own_data(settings.data, max_side=max_side, image=settings.image))


def _load(settings: FinetuneSettings, max_side: int) -> tuple[OwnData, None]:
    return _read(settings, max_side)[0], None


def _what_learns(model: SAM2, adapt: Adapt) -> str:
    if adapt != "auto":
        return adapt
    is_large = sum(weight.numel() for weight in model.parameters()) > LARGE
    return "lora" if is_large else "all"


def _make_model(settings: FinetuneSettings, adapt: str) -> SAM2:
    model = model_to_start_from(settings.model, image_size=settings.image_size)
    return add_adapters(model, seed=settings.seed) if adapt == "lora" else model


def _save(model: SAM2, path: Path, settings: FinetuneSettings) -> Path:
    """Write weights that say what they are."""
    name = settings.out if _places(settings.out)[0] is not None else f"{model.config.name}-tuned"
    notes = {"from": model.config.name, "recipe": "sam2-plugins train finetune"}
    model.config = replace(
        model.config, name=name, image_size=model.image_size, checkpoint_url=None
    )
    save_checkpoint(model, path, notes=notes)
    return path
