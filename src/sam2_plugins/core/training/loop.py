"""The training loop: batches in, averaged gradients, a checkpoint every few minutes."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import torch

from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.training.batches import Data
from sam2_plugins.core.training.checkpoints import (
    Progress,
    load_checkpoint,
    save_checkpoint,
    save_whole,
)
from sam2_plugins.core.training.comparison import Comparison
from sam2_plugins.core.training.dense import make_head
from sam2_plugins.core.training.feeding import BatchFeed, Share, StepBatch
from sam2_plugins.core.training.gradients import AverageWeights, FlatGradient
from sam2_plugins.core.training.memory_saving import recomputed, skipped_at_random
from sam2_plugins.core.training.optimizer import make_optimizer, set_learning_rate
from sam2_plugins.core.training.plans import plan_clips, plan_images
from sam2_plugins.core.training.rollout import Rollout, run_clips, run_images
from sam2_plugins.core.training.run_log import RunLog
from sam2_plugins.core.training.sources import TrainingData
from sam2_plugins.core.training.stages import TrainingConfig
from sam2_plugins.core.training.validation import ValidationSet, make_validation_set, validate

METRICS = ("focal", "dice", "iou_error", "occlusion", "balanced", "clip_iou", "image_iou")


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

    @property
    def checkpoint(self) -> Path:
        """The run's checkpoint file."""
        return self.out_dir / "checkpoint.pt"


class Trainer:
    """Trains a model through stages, on the device that the model is on.

    Args:
        model: Trained in place.
        data: What to learn from.
        stages: What to do, in order.
        settings: Where to write, and how often.
        held_out: Data for validation; none without.
    """

    def __init__(
        self,
        model: SAM2,
        data: Data,
        *,
        stages: Sequence[TrainingConfig],
        settings: RunSettings,
        held_out: TrainingData | None = None,
    ) -> None:
        self.model = model.train()
        self.stages = tuple(stages)
        self.settings = settings
        self.held_out = held_out
        self.progress = Progress()
        self.device = model.device
        pins = self.device.type == "cuda"
        share = Share(settings.seed, settings.rank, settings.num_workers, pins)
        self._feed = BatchFeed(data, share)
        self._learning = {n for n, p in model.named_parameters() if p.requires_grad}
        self.head = make_head(model, stages, seed=settings.seed)
        learning = chain(model.parameters(), self.head.parameters() if self.head else ())
        self.gradient = FlatGradient(learning, num_extras=len(METRICS) + 1)
        self.optimizer = make_optimizer(model, stages, head=self.head)
        self.average = AverageWeights(model)
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
        self.model.load_state_dict(content["model"])
        self.average.load(content["average"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.head is not None:
            self.head.load_state_dict(content["head"])
        self.progress = Progress(**content["progress"])

    def run(self) -> None:
        """Train until the last stage's budget is spent, then write a last checkpoint."""
        try:
            while self.progress.stage < len(self.stages):
                self._run_stage(self.stages[self.progress.stage])
                self.progress.stage += 1
                self.progress.stage_step, self.progress.stage_seconds = 0, 0.0
                self.save()
            if self.held_out is not None:
                self._validate(self.stages[-1])
        finally:
            self._feed.close()
            if self._run_log is not None:
                self._run_log.close()

    def _run_stage(self, stage: TrainingConfig) -> None:
        while self._share_done(stage) < 1:
            started = time.monotonic()
            self._recent.append(self.step(stage))
            self._report(stage)
            self._seconds += time.monotonic() - started

    def step(self, stage: TrainingConfig) -> list[float]:
        """Learn from `accumulate` batches of clips and of images.

        Returns:
            `METRICS`, averaged over batches and processes.

        Raises:
            FloatingPointError: If a loss or a gradient is not finite; nothing is learnt from it,
                and this process's batches are written beside the checkpoint.
        """
        self._choose_parameters(stage)
        self.gradient.clear()
        batches = list(self._feed.take(stage, self.progress.step))
        metrics = [0.0] * len(METRICS)
        for batch in batches:
            for index, value in enumerate(self._learn(stage, batch)):
                metrics[index] += value / stage.accumulate
        # The clock is averaged too, so that all processes change stage at the same step.
        clock = self.progress.stage_seconds + self._seconds
        self._seconds = 0.0
        *averaged, clock = self.gradient.average([*metrics, clock])
        if not all(math.isfinite(value) for value in averaged):
            self._refuse("loss", batches)
        if not math.isfinite(self.gradient.clip(stage.clip_norm)):
            self._refuse("gradient", batches)
        rate = stage.learning_rate_at(self.progress.stage_step, self._share_done(stage))
        set_learning_rate(self.optimizer, stage, rate=rate)
        self.optimizer.step()
        self.average.update(self.model, step=self.progress.step, decay=stage.ema_decay)
        self._clock += clock - self.progress.stage_seconds
        self.progress.stage_seconds = clock
        self.progress.step += 1
        self.progress.stage_step += 1
        return averaged

    def _choose_parameters(self, stage: TrainingConfig) -> None:
        """Let the parameters learn that do so in this stage."""
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in self._learning and not name.startswith(stage.frozen))

    def _learn(self, stage: TrainingConfig, batch: StepBatch) -> list[float]:
        """Add the gradient of a batch; return its metrics."""
        metrics = [0.0] * len(METRICS)
        num_parts = (batch.clips is not None) + (batch.images is not None)
        seed = hash(batch.key) % 2**63
        skips = torch.Generator().manual_seed(seed + 1)
        with ExitStack() as stack:
            stack.enter_context(recomputed(self.model, enabled=stage.saves_memory))
            stack.enter_context(
                skipped_at_random(self.model, chance=stage.drop_path, generator=skips)
            )
            for slot, outcome in self._outcomes(stage, batch, seed):
                terms = outcome.terms
                parts = (terms.focal, terms.dice, terms.iou, terms.occlusion, terms.balanced)
                for index, term in enumerate(parts):
                    metrics[index] += float(term.detach()) / num_parts
                metrics[METRICS.index(slot)] = float(outcome.iou)
                total = terms.total(stage.losses)
                if outcome.dense is not None:
                    total = total + stage.dense * outcome.dense
                (total / (num_parts * stage.accumulate)).backward()
        return metrics

    def _outcomes(
        self, stage: TrainingConfig, batch: StepBatch, seed: int
    ) -> Iterator[tuple[str, Rollout]]:
        """Run a batch's clips, then its images; prompts depend on the batch's key alone."""
        generator = torch.Generator(self.device).manual_seed(seed)
        # What decides the course of a step is drawn on the processor: asking a GPU is waiting.
        is_cpu = self.device.type == "cpu"
        plans = generator if is_cpu else torch.Generator().manual_seed(seed)
        comparison = Comparison(stage.loss_stride, stage.losses)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=stage.use_bfloat16):
            if batch.clips is not None:
                clips, plan = batch.clips.to(self.device), plan_clips(stage, plans)
                outcome = run_clips(
                    self.model, clips, generator=generator, plan=plan, comparison=comparison
                )
                yield "clip_iou", outcome
            if batch.images is not None:
                images, plan = batch.images.to(self.device), plan_images(stage, plans)
                outcome = run_images(
                    self.model,
                    images,
                    generator=generator,
                    plan=plan,
                    comparison=comparison,
                    head=self.head,
                )
                yield "image_iou", outcome

    def _refuse(self, what: str, batches: list[StepBatch]) -> None:
        """Write this process's batches and stop."""
        step, rank = self.progress.step, self.settings.rank
        path = self.settings.out_dir / f"not_finite_step{step}_process{rank}.pt"
        content = {
            "stage": self.progress.stage,
            "step": step,
            "batches": [asdict(batch) for batch in batches],
            "model": self.model.state_dict(),
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
        if self.progress.step % self.settings.log_every == 0:
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
        speed = len(self._recent) / max(self._clock - self._logged_at, 1e-9)
        self._recent.clear()
        self._logged_at = self._clock
        if self._run_log is not None:
            rate = max(group["lr"] for group in self.optimizer.param_groups)
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
        """Write the checkpoint, on the first process."""
        if self.settings.rank == 0:
            save_checkpoint(
                self.settings.checkpoint,
                model=self.model,
                average=self.average.state,
                optimizer=self.optimizer,
                progress=self.progress,
                head=self.head,
            )
