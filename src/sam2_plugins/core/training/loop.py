"""The training loop: batches in, averaged gradients, a checkpoint every few minutes."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.training.batches import Data
from sam2_plugins.core.training.checkpoints import Progress, load_checkpoint, save_whole
from sam2_plugins.core.training.feeding import BatchFeed, Share, StepBatch
from sam2_plugins.core.training.learning import METRICS, Learner
from sam2_plugins.core.training.run_folders import CHECKPOINT
from sam2_plugins.core.training.run_log import RunLog
from sam2_plugins.core.training.sharding import whole
from sam2_plugins.core.training.sources import TrainingData
from sam2_plugins.core.training.stages import TrainingConfig
from sam2_plugins.core.training.validation import ValidationSet, make_validation_set, validate
from sam2_plugins.core.training.watching import Position, never, run_through


@dataclass(frozen=True)
class RunSettings:
    """Where a run writes, and how often.

    Attributes:
        out_dir: Folder of `checkpoint.pt` and `metrics.csv`.
        seed: Seed of all batches.
        log_every: Steps between log lines.
        checkpoint_minutes: Minutes between checkpoints.
        validation_minutes: Minutes between validations; 0 for none.
        rank: Which of the processes this is; only the first writes.
        num_workers: Processes that make batches ahead, for each that learns.
        checkpoint_steps: Steps between checkpoints, beside those by time; 0 for none.
        tensorboard: Write events for TensorBoard.
        shards: Keep only a share of the large parts of the network in each process.
        about: What the run is, in plain values; kept in the checkpoint, and a run goes on only
            with the same.

    Raises:
        ValueError: A number is out of range.
    """

    out_dir: Path
    seed: int = 0
    log_every: int = 25
    checkpoint_minutes: float = 5.0
    validation_minutes: float = 8.0
    rank: int = 0
    num_workers: int = 0
    checkpoint_steps: int = 0
    tensorboard: bool = False
    shards: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, count in (("workers", self.num_workers), ("seed", self.seed)):
            if count < 0:
                raise ValueError(f"{name} must be 0 or more, not {count}")

    @property
    def checkpoint(self) -> Path:
        """The run's checkpoint file."""
        return self.out_dir / CHECKPOINT


class Trainer:
    """Trains a model through stages, on the device that the model is on.

    Args:
        model: Trained in place.
        data: What to learn from.
        stages: What to do, in order.
        settings: Where to write, and how often.
        held_out: Data for validation; none without.
        wants_stop: Asked in every step whether it should be the last one; where several processes
            train together, one that says so stops all of them.

    Attributes:
        stopped_at: Steps done when the run ended because it was asked to; else None.
    """

    def __init__(
        self,
        model: SAM2,
        data: Data,
        *,
        stages: Sequence[TrainingConfig],
        settings: RunSettings,
        held_out: TrainingData | None = None,
        wants_stop: Callable[[], bool] = never,
    ) -> None:
        self.stopped_at: int | None = None
        self._wants_stop = wants_stop
        self.stages = tuple(stages)
        self.settings = settings
        self.held_out = held_out
        self.progress = Progress()
        self._begun = 0
        self.learner = Learner(
            *(model, stages),
            seed=settings.seed,
            num_extras=len(METRICS) + 2,
            shards=settings.shards,
        )
        self.model, self.average = self.learner.model, self.learner.average
        pins = self.learner.device.type == "cuda"
        follows = model.config.follows_motion
        share = Share(settings.seed, settings.rank, settings.num_workers, pins, follows)
        self._feed = BatchFeed(data, share)
        self._recent: list[list[float]] = []
        self._clock = self._seconds = self._logged_at = 0.0
        self._next_checkpoint = settings.checkpoint_minutes
        self._next_validation = settings.validation_minutes / 4
        self._validation: tuple[tuple[int, int], ValidationSet] | None = None
        self._run_log: RunLog | None = None
        if settings.rank == 0:
            self._run_log = RunLog(settings.out_dir, METRICS, tensorboard=settings.tensorboard)

    def resume(self) -> None:
        """Go on from the run's checkpoint."""
        content = load_checkpoint(self.settings.checkpoint)
        self.learner.load(content)
        self.progress = Progress(**content["progress"])

    def run(self) -> None:
        """Train until the last stage's budget is spent, then write a last checkpoint."""
        run_through(self.steps())

    def steps(self) -> Iterator[Position]:
        """Do what `run` does, and say after each step how far it is."""
        self._begun = self.progress.step
        self._logged_at = time.monotonic()
        try:
            while self.progress.stage < len(self.stages):
                for _ in self._run_stage(self.stages[self.progress.stage]):
                    yield self._position()
                if self.stopped_at is not None:
                    self.save()
                    return
                self.progress.stage += 1
                self.progress.stage_step, self.progress.stage_seconds = 0, 0.0
                self.save()
            if self.held_out is not None:
                self._validate(self.stages[-1])
        finally:
            self._feed.close()
            if self._run_log is not None:
                self._run_log.close()

    def _run_stage(self, stage: TrainingConfig) -> Iterator[None]:
        while self._share_done(stage) < 1 and self.stopped_at is None:
            started = time.monotonic()
            self._recent.append(self.step(stage))
            self._report(stage)
            self._seconds += time.monotonic() - started
            yield

    def _position(self) -> Position:
        counts = [stage.steps for stage in self.stages]
        in_all = sum(count for count in counts if count is not None)
        # All stages of a run count steps, or all of them time.
        weights = [stage.steps or stage.minutes or 0.0 for stage in self.stages]
        here = self.progress.stage
        done = sum(weights[:here]) + weights[here] * min(self._share_done(self.stages[here]), 1.0)
        num_in_all = None if None in counts else in_all - self._begun
        return Position(self.progress.step - self._begun, num_in_all, done / sum(weights))

    def step(self, stage: TrainingConfig) -> list[float]:
        """Learn from `accumulate` batches of clips and of images.

        Returns:
            `METRICS`, averaged over batches and processes.

        Raises:
            FloatingPointError: If a loss or a gradient is not finite; nothing is learnt from it,
                and this process's batches are written beside the checkpoint.
        """
        self.learner.begin(stage)
        batches = list(self._feed.take(stage, self.progress.step))
        metrics = [0.0] * len(METRICS)
        for batch in batches:
            for index, value in enumerate(self.learner.learn(stage, batch)):
                metrics[index] += value / stage.accumulate
        # The clock is averaged too, so that all processes change stage at the same step.
        clock = self.progress.stage_seconds + self._seconds
        self._seconds = 0.0
        # So is the wish to stop, which thereby reaches all of them at the same step.
        wish = float(self._wants_stop())
        *averaged, clock, wish = self.learner.gradient.average([*metrics, clock, wish])
        if not all(math.isfinite(value) for value in averaged):
            self._refuse("loss", batches)
        if not math.isfinite(self.learner.gradient.clip(stage.clip_norm)):
            self._refuse("gradient", batches)
        rate = stage.learning_rate_at(self.progress.stage_step, self._share_done(stage))
        self.learner.step(stage, step=self.progress.step, rate=rate)
        self._clock += clock - self.progress.stage_seconds
        self.progress.stage_seconds = clock
        self.progress.step += 1
        self.progress.stage_step += 1
        self.stopped_at = self.progress.step if wish > 0 else None
        return averaged

    def _refuse(self, what: str, batches: list[StepBatch]) -> None:
        """Write this process's batches and stop."""
        step, rank = self.progress.step, self.settings.rank
        path = self.settings.out_dir / f"not_finite_step{step}_process{rank}.pt"
        content = {
            "stage": self.progress.stage,
            "step": step,
            "batches": [asdict(batch) for batch in batches],
            "model": whole(dict(self.model.state_dict())),
        }
        save_whole(content, path)
        raise FloatingPointError(f"the {what} is not finite at step {step}; its batch is in {path}")

    def _share_done(self, stage: TrainingConfig) -> float:
        """Return the share of a stage's budget that is spent."""
        if stage.steps is not None:
            return self.progress.stage_step / stage.steps
        return self.progress.stage_seconds / (60 * (stage.minutes or 1e-9))

    def _report(self, stage: TrainingConfig) -> None:
        """Log, validate and save when it is time to."""
        step, every = self.progress.step, self.settings.log_every
        is_first = step == self._begun + 1
        is_last = self.stopped_at is not None or self._share_done(stage) >= 1
        if is_first or is_last or step % every == 0:
            self._log(stage)
        minutes, every = self._clock / 60, self.settings.checkpoint_steps
        if self.settings.validation_minutes and minutes >= self._next_validation:
            self._next_validation = minutes + self.settings.validation_minutes
            self._validate(stage)
        if minutes >= self._next_checkpoint or (every and self.progress.step % every == 0):
            self._next_checkpoint = minutes + self.settings.checkpoint_minutes
            self.save()

    def _log(self, stage: TrainingConfig) -> None:
        """Write the mean of the recent steps."""
        means = [sum(column) / len(column) for column in zip(*self._recent, strict=True)]
        now = time.monotonic()
        speed = len(self._recent) / max(now - self._logged_at, 1e-9)
        self._recent.clear()
        self._logged_at = now
        if self._run_log is not None:
            rate = max(group["lr"] for group in self.learner.optimizer.param_groups)
            self._run_log.write(
                *(self.progress.step, stage.name),
                share_done=self._share_done(stage),
                rates=(rate, speed),
                means=means,
            )

    def _validate(self, stage: TrainingConfig) -> None:
        """Measure the averaged weights on held-out data."""
        if self.held_out is None:
            return
        sizes = stage.size, stage.image_size or stage.size
        if self._validation is None or self._validation[0] != sizes:
            made = make_validation_set(
                self.held_out,
                size=sizes[0],
                image_size=sizes[1],
                rank=self.settings.rank,
            )
            self._validation = (sizes, made)
        current = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average.state)
        scores = validate(self.model, self._validation[1])
        self.model.load_state_dict(current)
        if self._run_log is not None:
            self._run_log.write_validation(self.progress.step, stage.size, scores)

    def save(self) -> None:
        """Write the checkpoint, on the first process, aside and then moved into place.

        The randomness of a step depends on the seed and the step's number alone, so there is no
        generator to save.
        """
        content = self.learner.state()
        if self.settings.rank == 0:
            facts = {"progress": asdict(self.progress), "about": dict(self.settings.about)}
            save_whole({**content, **facts}, self.settings.checkpoint)
