"""Training of the bundled model: from scratch, in several processes, and its export."""

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from sam2_plugins.core.config import NANO, ModelConfig
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.training.checkpoints import export_weights
from sam2_plugins.core.training.initial import initialise
from sam2_plugins.core.training.loop import RunSettings, Trainer
from sam2_plugins.core.training.sources import load_training_data
from sam2_plugins.core.training.stages import TrainingConfig, nano_stages


@dataclass(frozen=True)
class Run:
    """What every process of a run is told.

    Attributes:
        data_root: Folder of the training sets.
        out_dir: Folder of the checkpoint, the log and the metrics.
        stages: What to do.
        resume: Go on from the checkpoint in `out_dir`.
        num_processes: Processes that share every step.
        seed: Seed of weights and batches.
        config: The network.
        meeting: File by which the processes find each other; None for one alone.
    """

    data_root: Path
    out_dir: Path
    stages: tuple[TrainingConfig, ...]
    resume: bool
    num_processes: int
    seed: int
    config: ModelConfig = NANO
    meeting: Path | None = None


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
    if num_processes is not None and num_processes < 1:
        raise ValueError(f"a run has one process or more, not {num_processes}")
    return train(
        Run(
            Path(data_root),
            Path(out_dir),
            stages=tuple(stages or nano_stages(minutes)),
            resume=resume,
            num_processes=num_processes or os.cpu_count() or 1,
            seed=seed,
        )
    )


def train(run: Run) -> Path:
    """Start the processes of a run and wait for them; return the last checkpoint."""
    run.out_dir.mkdir(parents=True, exist_ok=True)
    if run.num_processes == 1:
        _work(0, run)
    else:
        with tempfile.TemporaryDirectory() as meeting:
            together = replace(run, meeting=Path(meeting) / "store")
            spawn(_work, (together,), nprocs=run.num_processes)
    return run.out_dir / "checkpoint.pt"


def export_nano(checkpoint: str | Path, target: str | Path, *, image_size: int = 256) -> Path:
    """Write a checkpoint's averaged weights as float16 safetensors with a header.

    Args:
        checkpoint: Written by a run.
        target: File to write.
        image_size: Input side the weights are meant for, in pixels.

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
    }
    return export_weights(Path(checkpoint), Path(target), metadata=about)


def _work(rank: int, run: Run) -> Trainer:
    """Train in one process of a run; return the trainer as it is at the end."""
    if run.num_processes > 1:
        torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if run.meeting is not None:
        distributed.init_process_group(
            *("gloo", f"file://{run.meeting}"), rank=rank, world_size=run.num_processes
        )
    try:
        with _log_to(run.out_dir / "log.txt") if rank == 0 else nullcontext():
            trainer = Trainer(
                initialise(SAM2(run.config), run.seed),
                load_training_data(run.data_root),
                stages=run.stages,
                settings=RunSettings(run.out_dir, seed=run.seed, rank=rank),
                held_out=load_training_data(run.data_root, held_out=True),
            )
            if run.resume:
                trainer.resume()
            trainer.run()
    finally:
        if run.meeting is not None:
            distributed.destroy_process_group()
    return trainer


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Send this package's log lines to a file, meanwhile."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    package = logging.getLogger("sam2_plugins.core.training")
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.setLevel(level)
        package.removeHandler(handler)
        handler.close()
