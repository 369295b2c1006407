"""Training of the bundled model: from scratch, in several processes, and its export."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sam2_plugins.core.config import NANO
from sam2_plugins.core.training.checkpoints import export_weights
from sam2_plugins.core.training.launch import TrainingRun, load_sets, new_model, run_training
from sam2_plugins.core.training.loop import RunSettings
from sam2_plugins.core.training.stages import TrainingConfig, nano_stages


def train_nano(
    data_root: str | Path,
    out_dir: str | Path,
    *,
    minutes: float = 110,
    resume: bool = False,
    num_processes: int | None = None,
    stages: Sequence[TrainingConfig] | None = None,
    seed: int = 0,
) -> Path:
    """Train the bundled model from scratch on the processor.

    One single-threaded process per core: the network's operations are too small for threads.

    Args:
        data_root: Folder of the training sets, see `load_training_data`.
        out_dir: Folder for `checkpoint.pt`, `log.txt` and `metrics.csv`.
        minutes: Budget of the whole run.
        resume: Go on from the checkpoint in `out_dir`.
        num_processes: Processes that share every step; one per core if None.
        stages: What to do; `nano_stages(minutes)` if None.
        seed: Seed of weights and batches.

    Returns:
        The last checkpoint.

    Raises:
        FileNotFoundError: If there is no training set, or nothing to resume from.
        ValueError: If the budget or the number of processes is not positive.
    """
    if minutes <= 0:
        raise ValueError(f"minutes must be positive, not {minutes}")
    return run_training(
        TrainingRun(
            load_data=partial(load_sets, Path(data_root)),
            make_model=partial(new_model, NANO, seed=seed),
            stages=tuple(stages or nano_stages(minutes)),
            settings=RunSettings(Path(out_dir), seed=seed),
            device="cpu",
            num_processes=num_processes,
            resume=resume,
        )
    )


def export_nano(
    checkpoint: str | Path,
    target: str | Path,
    *,
    image_size: int = NANO.image_size,
    object_score_shift: float = 0.0,
) -> Path:
    """Write a checkpoint's averaged weights as float16 safetensors with a header.

    Args:
        checkpoint: Written by a run.
        target: File to write.
        image_size: Input side the weights are meant for, in pixels.
        object_score_shift: See `export_weights`; chosen on held-out clips.

    Returns:
        `target`.
    """
    about = {
        "config": "nano",
        "image_size": str(image_size),
        "recipe": "sam2_plugins.core.training.nano_stages",
        "data": "dsb2018 (CC0-1.0), clothing-co-parsing (Apache-2.0), fruits_nuts (MIT), "
        "plant-seg nuclei (MIT), TotalSegmentator example (Apache-2.0), synthetic clips",
        "licence": "Apache-2.0",
        "weights": "exponential moving average",
        "object_score_shift": str(object_score_shift),
    }
    return export_weights(
        *(Path(checkpoint), Path(target)), metadata=about, object_score_shift=object_score_shift
    )
