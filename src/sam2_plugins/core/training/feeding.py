"""Batches made ahead of time by worker processes; what they hold does not depend on how many."""

import multiprocessing
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from sam2_plugins.core.training.batches import BatchShape, Data, RawBatch, draw_batch
from sam2_plugins.core.training.stages import TrainingConfig

Key = tuple[int, ...]


@dataclass(frozen=True)
class StepBatch:
    """What a step learns from: clips, images or both.

    Attributes:
        key: (seed, step, stream); all randomness of the batch and of its prompts.
        clips: Clips, None where the stage has none.
        images: Images, None where the stage has none.
    """

    key: Key
    clips: RawBatch | None
    images: RawBatch | None

    def pin_memory(self) -> "StepBatch":
        """Return the batch in memory that a GPU copies from by itself."""
        return StepBatch(
            self.key,
            None if self.clips is None else self.clips.pin_memory(),
            None if self.images is None else self.images.pin_memory(),
        )


def make_step_batch(
    data: Data, stage: TrainingConfig, key: Key, *, has_motion: bool = False
) -> StepBatch:
    """Make the batch of a step; it depends on the arguments alone."""
    clips = images = None
    if stage.clips_per_step:
        shape = BatchShape(
            stage.clips_per_step,
            stage.size,
            stage.num_frames,
            stage.objects_per_clip,
            stage.clip_kinds,
            has_motion=has_motion,
            closeups=stage.closeups,
        )
        clips = draw_batch(data, (*key, 0), shape)
    if stage.images_per_step:
        shape = BatchShape(
            stage.images_per_step,
            stage.image_size or stage.size,
            1,
            stage.objects_per_image,
            stage.image_kinds,
            has_targets=stage.dense > 0,
            closeups=stage.closeups,
        )
        images = draw_batch(data, (*key, 1), shape)
    return StepBatch(key, clips, images)


@dataclass(frozen=True)
class Share:
    """Which part of every step is a process's own.

    Attributes:
        seed: Seed of the run.
        rank: Which process this is.
        num_workers: Processes that make batches ahead; 0 to make each when it is needed.
        pins: Whether batches are put where a GPU copies them from by itself.
        has_motion: Whether clips come with their motion, for models that follow it.
    """

    seed: int = 0
    rank: int = 0
    num_workers: int = 0
    pins: bool = False
    has_motion: bool = False


class BatchFeed:
    """Gives the batches of a step.

    Args:
        data: What to draw from.
        share: Which part of every step.
    """

    def __init__(self, data: Data, share: Share) -> None:
        self._data = data
        self._share = share
        self._stage: TrainingConfig | None = None
        self._next_step = 0
        self._made: Iterator[StepBatch] = iter(())

    def take(self, stage: TrainingConfig, step: int) -> Iterator[StepBatch]:
        """Give the `accumulate` batches of a step, one by one.

        Steps are best taken in order: what was made ahead is thrown away when they are not.
        """
        if stage != self._stage or step != self._next_step:
            self._made = self._make_from(stage, step)
            self._stage = stage
        self._next_step = step + 1
        for _ in range(stage.accumulate):
            yield next(self._made)

    def close(self) -> None:
        """Stop the workers."""
        self._stage, self._made = None, iter(())

    def _make_from(self, stage: TrainingConfig, step: int) -> Iterator[StepBatch]:
        self.close()
        num_workers = self._share.num_workers
        has_fork = "fork" in multiprocessing.get_all_start_methods()
        if num_workers:
            # OpenCV's threads do not live on in a forked process, which would wait for them.
            cv2.setNumThreads(1)
        with warnings.catch_warnings():
            # How many workers is for the caller to say; they use neither threads nor locks of
            # this process.
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
            loader = DataLoader(
                _StepBatches(self._data, stage, has_motion=self._share.has_motion),
                batch_size=None,
                # Any iterable of keys will do, an endless one too.
                sampler=_Keys(self._share, stage, step),
                num_workers=num_workers,
                pin_memory=self._share.pins,
                worker_init_fn=_begin_work,
                # A forked worker shares the data in memory in place of a copy of its own.
                multiprocessing_context="fork" if num_workers and has_fork else None,
                generator=torch.Generator(),
            )
            return iter(loader)


class _Keys:
    """The keys of all batches from a step on, without end."""

    def __init__(self, share: Share, stage: TrainingConfig, step: int) -> None:
        self._share, self._accumulate, self._step = share, stage.accumulate, step

    def __iter__(self) -> Iterator[Key]:
        first_stream = self._share.rank * self._accumulate
        for step in count(self._step):
            for part in range(self._accumulate):
                yield self._share.seed, step, first_stream + part


class _StepBatches(Dataset[StepBatch]):
    """Batches by key."""

    def __init__(self, data: Data, stage: TrainingConfig, *, has_motion: bool) -> None:
        self._data, self._stage, self._has_motion = data, stage, has_motion

    def __getitem__(self, key: Key) -> StepBatch:
        return make_step_batch(self._data, self._stage, key, has_motion=self._has_motion)


def _begin_work(worker: int) -> None:
    """Keep to one thread: there is one worker per core."""
    del worker
    torch.set_num_threads(1)
