"""Starting a run: on which device, in how many processes, from which weights."""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from sam2_plugins.core.checkpoints import build_model, read_checkpoint
from sam2_plugins.core.config import MODELS, ModelConfig
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.training.batches import Data
from sam2_plugins.core.training.checkpoints import averaged_model, is_run_checkpoint
from sam2_plugins.core.training.initial import initialise
from sam2_plugins.core.training.loop import RunSettings, Trainer
from sam2_plugins.core.training.sources import TrainingData, load_training_data
from sam2_plugins.core.training.stages import TrainingConfig
from sam2_plugins.core.weights import find_weights

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class TrainingRun:
    """What every process of a run is told.

    Attributes:
        load_data: Gives what to learn from, and what to validate on; called in each process.
        make_model: Gives the network to start from, on the processor.
        stages: What to do.
        settings: Where to write, and how often; each process gets its own rank.
        device: "auto" (cuda where there is one), "cpu" or "cuda".
        num_processes: Processes that share every step; None for one per GPU, or per core.
        resume: Go on from the checkpoint in the folder.
    """

    load_data: Callable[[], tuple[Data, TrainingData | None]]
    make_model: Callable[[], SAM2]
    stages: tuple[TrainingConfig, ...]
    settings: RunSettings
    device: str = "auto"
    num_processes: int | None = None
    resume: bool = False


def run_training(run: TrainingRun) -> Path:
    """Train; under `torchrun` as one of its processes, else in processes of our own.

    Returns:
        The last checkpoint.

    Raises:
        ValueError: The device is unknown or not here, or there is no process.
        FileNotFoundError: There is no training data, or nothing to resume from.
    """
    kind = choose_device(run.device)
    if run.num_processes is not None and run.num_processes < 1:
        raise ValueError(f"a run has one process or more, not {run.num_processes}")
    run.settings.out_dir.mkdir(parents=True, exist_ok=True)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        distributed.init_process_group(_backend(kind), rank=rank, world_size=world_size)
        _in_group(run, rank, int(os.environ["LOCAL_RANK"]), kind)
        return run.settings.checkpoint
    num_here = torch.cuda.device_count() if kind == "cuda" else os.cpu_count()
    num_processes = run.num_processes or num_here or 1
    if num_processes == 1:
        work(run, torch.device(kind))
    else:
        with tempfile.TemporaryDirectory() as meeting:
            arguments = (run, kind, num_processes, Path(meeting) / "store")
            spawn(_work_together, arguments, nprocs=num_processes)
    return run.settings.checkpoint


def choose_device(device: str) -> str:
    """Return "cpu" or "cuda".

    Raises:
        ValueError: It is neither, nor "auto", or there is no such device.
    """
    if device not in DEVICES:
        raise ValueError(f"unknown device {device!r}; training runs on {', '.join(DEVICES)}")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' is not available here; auto takes what there is")
    return device


def fit_to_device(
    stages: tuple[TrainingConfig, ...], *, device: str, batch_scale: float = 1.0
) -> tuple[TrainingConfig, ...]:
    """Return stages with larger batches, and under bfloat16 where that is a GPU's own."""
    is_gpu = choose_device(device) == "cuda"
    return tuple(
        replace(stage.scaled(batch_scale), use_bfloat16=stage.use_bfloat16 or is_gpu)
        for stage in stages
    )


def load_sets(path: Path) -> tuple[TrainingData, TrainingData]:
    """Read the training sets of a folder or a packed file, and what is held out of them."""
    return load_training_data(path), load_training_data(path, held_out=True)


def new_model(config: ModelConfig, *, seed: int = 0) -> SAM2:
    """Return a network with the weights that a run from scratch starts with."""
    return initialise(SAM2(config), seed)


def model_to_start_from(weights: str | Path, *, image_size: int | None = None) -> SAM2:
    """Return a network with weights to go on from, in float32, without state of an optimiser.

    Args:
        weights: The name of a model, a file that `load_model` takes, or the `checkpoint.pt` of a
            run, of which the running average is taken.
        image_size: Side of its input in pixels; its own if None.
    """
    if isinstance(weights, str) and (weights in MODELS or not Path(weights).exists()):
        weights = find_weights(weights)
    path = Path(weights)
    if is_run_checkpoint(path):
        return averaged_model(path, image_size=image_size).float()
    return build_model(read_checkpoint(path), image_size=image_size).float()


def work(run: TrainingRun, device: torch.device) -> Trainer:
    """Train in this process; return the trainer as it is at the end."""
    cv2.setNumThreads(1)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    is_first = run.settings.rank == 0
    with log_to(run.settings.out_dir / "log.txt") if is_first else nullcontext():
        data, held_out = run.load_data()
        trainer = Trainer(
            run.make_model().to(device),
            data,
            stages=run.stages,
            settings=run.settings,
            held_out=held_out,
        )
        if run.resume:
            trainer.resume()
        trainer.run()
    return trainer


@contextmanager
def log_to(path: Path) -> Iterator[None]:
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


def _work_together(rank: int, run: TrainingRun, kind: str, world_size: int, store: Path) -> Trainer:
    """Be one of the processes that `run_training` started."""
    distributed.init_process_group(
        *(_backend(kind), f"file://{store}"), rank=rank, world_size=world_size
    )
    return _in_group(run, rank, rank, kind)


def _in_group(run: TrainingRun, rank: int, local_rank: int, kind: str) -> Trainer:
    """Train as one of several processes."""
    if kind == "cpu":
        torch.set_num_threads(1)
    device = torch.device("cuda", local_rank) if kind == "cuda" else torch.device("cpu")
    try:
        return work(replace(run, settings=replace(run.settings, rank=rank)), device)
    finally:
        distributed.destroy_process_group()


def _backend(kind: str) -> str:
    return "nccl" if kind == "cuda" else "gloo"
