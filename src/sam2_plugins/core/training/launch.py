"""Starting a run: on which device, in how many processes, from which weights."""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import torch
from torch import distributed

from sam2_plugins.core.checkpoints import build_model, read_checkpoint
from sam2_plugins.core.config import MODELS, ModelConfig
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.training.batches import Data
from sam2_plugins.core.training.checkpoints import (
    averaged_model,
    is_run_checkpoint,
    load_checkpoint,
)
from sam2_plugins.core.training.initial import initialise
from sam2_plugins.core.training.loop import RunSettings, Trainer
from sam2_plugins.core.training.processes import (
    Link,
    failure_noted,
    leave_ctrl_c_to_parent,
    run_processes,
)
from sam2_plugins.core.training.run_folders import LOG, check_run_folder, clear_run_folder
from sam2_plugins.core.training.sources import TrainingData, load_training_data
from sam2_plugins.core.training.stages import TrainingConfig
from sam2_plugins.core.training.watching import TrainingStopped, Watch
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
        overwrite: Begin anew where there is a run in the folder.

    Raises:
        ValueError: There is no process.
    """

    load_data: Callable[[], tuple[Data, TrainingData | None]]
    make_model: Callable[[], SAM2]
    stages: tuple[TrainingConfig, ...]
    settings: RunSettings
    device: str = "auto"
    num_processes: int | None = None
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.num_processes is not None and self.num_processes < 1:
            raise ValueError(f"a run has one process or more, not {self.num_processes}")


def check_run(run: TrainingRun) -> None:
    """Check what can be checked before anything is measured or started.

    Raises:
        ValueError: The device is unknown or not here, or the folder holds another run.
        FileNotFoundError: There is nothing to resume from.
    """
    settings = run.settings
    if _count_processes(run) == 1 and settings.shards:
        raise ValueError("sharding needs two processes or more; set --processes, or use torchrun")
    check_run_folder(settings.out_dir, settings.about, resume=run.resume, overwrite=run.overwrite)


def run_training(run: TrainingRun, watch: Watch | None = None) -> Path:
    """Train; under `torchrun` as one of its processes, else in processes of our own.

    Args:
        run: What to do.
        watch: Who looks on.

    Returns:
        The last checkpoint.

    Raises:
        ValueError: See `check_run`; or the data cannot be learnt from.
        FileNotFoundError: There is no training data, or nothing to resume from.
        TrainingStopped: The run was asked to stop, and can go on.
    """
    check_run(run)
    watch = watch or Watch()
    kind = choose_device(run.device)
    rank = int(os.environ["RANK"]) if _is_under_torchrun() else 0
    if rank == 0 and not run.resume:
        clear_run_folder(run.settings.out_dir)
    run.settings.out_dir.mkdir(parents=True, exist_ok=True)
    num_processes = _count_processes(run)
    if _is_under_torchrun():
        distributed.init_process_group(_backend(kind), rank=rank, world_size=num_processes)
        with _in_group():
            device = _device(kind, int(os.environ["LOCAL_RANK"]))
            stopped_at = work(_of_rank(run, rank), device, watch).stopped_at
    elif num_processes == 1:
        stopped_at = work(run, torch.device(kind), watch).stopped_at
    else:
        stopped_at = _start_processes(run, kind, num_processes=num_processes, watch=watch)
    if stopped_at is not None:
        raise TrainingStopped(run.settings.checkpoint, stopped_at)
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


def work(run: TrainingRun, device: torch.device, watch: Watch | None = None) -> Trainer:
    """Train in this process; return the trainer as it is at the end."""
    cv2.setNumThreads(1)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    is_first = run.settings.rank == 0
    watch = watch or Watch()
    with log_to(run.settings.out_dir / LOG) if is_first else nullcontext():
        data, held_out = run.load_data()
        trainer = Trainer(
            run.make_model().to(device),
            data,
            stages=run.stages,
            settings=run.settings,
            held_out=held_out,
            wants_stop=watch.wants_stop,
        )
        if run.resume:
            trainer.resume()
        watch.follow(trainer.steps())
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


def _is_under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _count_processes(run: TrainingRun) -> int:
    """How many processes share every step."""
    if _is_under_torchrun():
        return int(os.environ["WORLD_SIZE"])
    is_cpu = choose_device(run.device) == "cpu"
    num_here = os.cpu_count() if is_cpu else torch.cuda.device_count()
    return run.num_processes or num_here or 1


def _start_processes(
    run: TrainingRun, kind: str, *, num_processes: int, watch: Watch
) -> int | None:
    """Train in several processes of our own; after which step they were asked to stop, if so."""
    link = Link()
    with tempfile.TemporaryDirectory() as meeting:
        store = Path(meeting) / "store"
        positions = run_processes(
            _work_together,
            (run, kind, num_processes, store, link),
            num_processes=num_processes,
            failure=_failure(store),
            link=link,
            wants_stop=watch.wants_stop,
        )
        with closing(positions):
            watch.follow(positions)
    if not link.is_asked_to_stop:
        return None
    return int(load_checkpoint(run.settings.checkpoint)["progress"]["step"])


def _work_together(
    rank: int,
    run: TrainingRun,
    kind: str,
    world_size: int,
    store: Path,
    link: Link | None = None,
) -> Trainer:
    """Be one of the processes that `run_training` started."""
    leave_ctrl_c_to_parent()
    distributed.init_process_group(
        *(_backend(kind), f"file://{store}"), rank=rank, world_size=world_size
    )
    # A failure is noted before the group is left, by which the others fail.
    with _in_group(), failure_noted(_failure(store)):
        return work(_of_rank(run, rank), _device(kind, rank), link.inside() if link else None)


@contextmanager
def _in_group() -> Iterator[None]:
    """Be one of several processes, inside."""
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _device(kind: str, local_rank: int) -> torch.device:
    """The device of one of several processes; on processors each has one thread."""
    if kind == "cuda":
        return torch.device("cuda", local_rank)
    torch.set_num_threads(1)
    return torch.device("cpu")


def _of_rank(run: TrainingRun, rank: int) -> TrainingRun:
    return replace(run, settings=replace(run.settings, rank=rank))


def _failure(store: Path) -> Path:
    return store.with_suffix(".failed")


def _backend(kind: str) -> str:
    return "nccl" if kind == "cuda" else "gloo"
