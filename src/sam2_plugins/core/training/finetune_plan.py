"""What a fine-tuning is: its settings, where it writes, and the run that comes of them."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.own_models import own_model_file
from sam2_plugins.core.training.adapters import add_adapters
from sam2_plugins.core.training.launch import (
    TrainingRun,
    choose_device,
    fit_to_device,
    model_to_start_from,
)
from sam2_plugins.core.training.loop import RunSettings
from sam2_plugins.core.training.own_data import OwnData, keep_apart, load_own_data
from sam2_plugins.core.training.run_folders import check_run_folder, known_as
from sam2_plugins.core.training.stages import TrainingConfig

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
        overwrite: Replace a model or run of that name.

    Raises:
        ValueError: A number or name is out of range.
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
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.adapt not in ADAPTS:
            raise ValueError(f"adapt is one of {', '.join(ADAPTS)}, not {self.adapt!r}")
        counts = {"steps": self.steps, "minutes": self.minutes, "processes": self.num_processes}
        for name, count in counts.items():
            if count is not None and not count > 0:
                raise ValueError(f"{name} must be positive, not {count}")


def claim_run_folder(settings: FinetuneSettings) -> Path:
    """The folder of a run, that of its log and checkpoint, where it may be written.

    Raises:
        FileNotFoundError: There is nothing to resume.
        ValueError: A model cannot be called so, or a model or run would be lost.
    """
    named, folder = places(settings.out)
    if named is not None and named.exists() and not (settings.resume or settings.overwrite):
        raise ValueError(
            f"there is a model {settings.out!r}: take another name, or --overwrite to replace it"
        )
    check_run_folder(folder, resume=settings.resume, overwrite=settings.overwrite)
    return folder


def places(out: str) -> tuple[Path | None, Path]:
    """Where a named model goes, None without a name, and the run's folder.

    Raises:
        ValueError: A model cannot be called so.
    """
    if "/" in out or "\\" in out or Path(out).is_dir():
        return None, Path(out)
    named = own_model_file(out)
    return named, named.with_suffix(".run")


def plan_run(settings: FinetuneSettings, start: SAM2) -> TrainingRun:
    """What every process of a fine-tuning is told.

    Args:
        settings: What is asked for.
        start: The model to start from.

    Raises:
        ValueError: A number is out of range, or there is no such device.
    """
    adapt = _what_learns(start, settings.adapt)
    about = {
        "model": known_as(settings.model),
        "adapt": adapt,
        "image_size": settings.image_size,
        "data": known_as(settings.data),
        "image": settings.image and known_as(settings.image),
        "seed": settings.seed,
    }
    device = choose_device(settings.device)
    return TrainingRun(
        load_data=partial(_load, settings, max_side_for(start)),
        make_model=partial(_make_model, settings, adapt),
        stages=fit_to_device((finetune_stage(settings, start, adapt),), device=device),
        settings=RunSettings(
            places(settings.out)[1],
            seed=settings.seed,
            log_every=10,
            num_workers=settings.num_workers,
            about=about,
        ),
        device=device,
        num_processes=settings.num_processes,
        resume=settings.resume,
        overwrite=settings.overwrite,
    )


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


def max_side_for(model: SAM2) -> int:
    """The long side, in pixels, of frames for a model to learn from."""
    return round(SIDE_OVER_INPUT * model.image_size)


def read_data(settings: FinetuneSettings, *, max_side: int) -> tuple[OwnData, OwnData]:
    """Read what is learnt from, and what is kept apart.

    Args:
        settings: Of the fine-tuning.
        max_side: Larger frames are shrunk to this long side, in pixels, see `max_side_for`.

    Raises:
        FileNotFoundError: There is no such data.
        ValueError: There is too little.
    """
    return keep_apart(load_own_data(settings.data, max_side=max_side, image=settings.image))


def _load(settings: FinetuneSettings, max_side: int) -> tuple[OwnData, None]:
    return read_data(settings, max_side=max_side)[0], None


def _what_learns(model: SAM2, adapt: Adapt) -> str:
    if adapt != "auto":
        return adapt
    is_large = sum(weight.numel() for weight in model.parameters()) > LARGE
    return "lora" if is_large else "all"


def _make_model(settings: FinetuneSettings, adapt: str) -> SAM2:
    model = model_to_start_from(settings.model, image_size=settings.image_size)
    return add_adapters(model, seed=settings.seed) if adapt == "lora" else model
