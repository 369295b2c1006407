"""The training loop: batches in, averaged gradients, a checkpoint every few minutes."""

import csv
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.training.batches import make_batch
from sam2_plugins.core.training.checkpoints import Progress, load_checkpoint, save_checkpoint
from sam2_plugins.core.training.comparison import Comparison
from sam2_plugins.core.training.gradients import AverageWeights, FlatGradient
from sam2_plugins.core.training.prompting import PromptPlan
from sam2_plugins.core.training.rollout import Rollout, run_clips, run_images
from sam2_plugins.core.training.sources import TrainingData
from sam2_plugins.core.training.stages import TrainingConfig
from sam2_plugins.core.training.validation import ValidationSet, make_validation_set, validate

logger = logging.getLogger(__name__)

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
    """

    out_dir: Path
    seed: int = 0
    log_every: int = 25
    checkpoint_minutes: float = 5.0
    validation_minutes: float = 8.0
    rank: int = 0

    @property
    def checkpoint(self) -> Path:
        """The run's checkpoint file."""
        return self.out_dir / "checkpoint.pt"


class Trainer:
    """Trains a model through stages.

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
        data: TrainingData,
        *,
        stages: Sequence[TrainingConfig],
        settings: RunSettings,
        held_out: TrainingData | None = None,
    ) -> None:
        self.model = model.train()
        self.data = data
        self.stages = tuple(stages)
        self.settings = settings
        self.held_out = held_out
        self.progress = Progress()
        self.gradient = FlatGradient(model.parameters(), num_extras=len(METRICS) + 1)
        self.optimizer = make_optimizer(model, weight_decay=stages[0].weight_decay)
        self.average = AverageWeights(model)
        self._recent: list[list[float]] = []
        self._clock = self._seconds = self._logged_at = 0.0
        self._next_checkpoint = settings.checkpoint_minutes
        self._next_validation = settings.validation_minutes / 4
        self._validation: tuple[int, ValidationSet] | None = None

    def resume(self) -> None:
        """Go on from the run's checkpoint."""
        content = load_checkpoint(self.settings.checkpoint)
        self.model.load_state_dict(content["model"])
        self.average.load(content["average"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.progress = Progress(**content["progress"])

    def run(self) -> None:
        """Train until the last stage's budget is spent, then write a last checkpoint."""
        while self.progress.stage < len(self.stages):
            stage = self.stages[self.progress.stage]
            while self._share_done(stage) < 1:
                started = time.monotonic()
                self._recent.append(self.step(stage))
                self._report(stage)
                self._seconds += time.monotonic() - started
            self.progress.stage += 1
            self.progress.stage_step, self.progress.stage_seconds = 0, 0.0
            self.save()
        if self.held_out is not None:
            self._validate(self.stages[-1])

    def step(self, stage: TrainingConfig) -> list[float]:
        """Learn from one batch of clips and one of images.

        Returns:
            `METRICS`, averaged over processes.

        Raises:
            FloatingPointError: If a loss or a gradient is not finite; nothing is learnt from it.
        """
        self.gradient.clear()
        metrics = [0.0] * len(METRICS)
        num_parts = (stage.clips_per_step > 0) + (stage.images_per_step > 0)
        for slot, outcome in self._outcomes(stage):
            terms = outcome.terms
            parts = (terms.focal, terms.dice, terms.iou, terms.occlusion, terms.balanced)
            for index, term in enumerate(parts):
                metrics[index] += float(term.detach()) / num_parts
            metrics[METRICS.index(slot)] = float(outcome.iou)
            (terms.total(stage.losses) / num_parts).backward()
        # The clock is averaged too, so that all processes change stage at the same step.
        clock = self.progress.stage_seconds + self._seconds
        self._seconds = 0.0
        *averaged, clock = self.gradient.average([*metrics, clock])
        if not all(math.isfinite(value) for value in averaged):
            raise FloatingPointError(f"the loss is not finite at step {self.progress.step}")
        if not math.isfinite(self.gradient.clip(stage.clip_norm)):
            raise FloatingPointError(f"the gradient is not finite at step {self.progress.step}")
        rate = stage.learning_rate_at(self.progress.stage_step, self._share_done(stage))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.average.update(self.model, step=self.progress.step, decay=stage.ema_decay)
        self._clock += clock - self.progress.stage_seconds
        self.progress.stage_seconds = clock
        self.progress.step += 1
        self.progress.stage_step += 1
        return averaged

    def _outcomes(self, stage: TrainingConfig) -> Iterator[tuple[str, Rollout]]:
        """Run the step's clips, then its images; what they are depends on the step alone."""
        seed = (self.settings.seed, self.progress.step, self.settings.rank)
        generator = torch.Generator().manual_seed(hash(seed) % 2**63)
        comparison = Comparison(stage.loss_stride, stage.losses)
        with torch.autocast("cpu", torch.bfloat16, enabled=stage.use_bfloat16):
            if stage.clips_per_step:
                batch = make_batch(
                    self.data,
                    (*seed, 0),
                    batch_size=stage.clips_per_step,
                    size=stage.size,
                    num_frames=stage.num_frames,
                    num_objects=stage.objects_per_clip,
                    kinds=stage.clip_kinds,
                )
                plan = plan_clips(stage, generator)
                yield (
                    "clip_iou",
                    run_clips(
                        self.model, batch, generator=generator, plan=plan, comparison=comparison
                    ),
                )
            if stage.images_per_step:
                batch = make_batch(
                    self.data,
                    (*seed, 1),
                    batch_size=stage.images_per_step,
                    size=stage.image_size or stage.size,
                    num_frames=1,
                    num_objects=stage.objects_per_image,
                    kinds=stage.image_kinds,
                )
                clicks = torch.randint(0, stage.correction_clicks + 1, (), generator=generator)
                plan = PromptPlan(num_corrections=int(clicks))
                yield (
                    "image_iou",
                    run_images(
                        self.model, batch, generator=generator, plan=plan, comparison=comparison
                    ),
                )

    def _share_done(self, stage: TrainingConfig) -> float:
        """Return the share of a stage's budget that is spent."""
        if stage.steps is not None:
            return self.progress.stage_step / stage.steps
        return self.progress.stage_seconds / (60 * (stage.minutes or 1e-9))

    def _report(self, stage: TrainingConfig) -> None:
        """Log, validate and save when it is time to."""
        if self.progress.step % self.settings.log_every == 0:
            self._log(stage)
        minutes = self._clock / 60
        if self.settings.validation_minutes and minutes >= self._next_validation:
            self._next_validation = minutes + self.settings.validation_minutes
            self._validate(stage)
        if minutes >= self._next_checkpoint:
            self._next_checkpoint = minutes + self.settings.checkpoint_minutes
            self.save()

    def _log(self, stage: TrainingConfig) -> None:
        """Write the mean of the recent steps to the log and to `metrics.csv`."""
        if self.settings.rank:
            self._recent.clear()
            return
        means = [sum(column) / len(column) for column in zip(*self._recent, strict=True)]
        speed = len(self._recent) / max(self._clock - self._logged_at, 1e-9)
        self._recent.clear()
        self._logged_at = self._clock
        rate = self.optimizer.param_groups[0]["lr"]
        shown = " ".join(f"{name} {value:.4f}" for name, value in zip(METRICS, means, strict=True))
        logger.info(
            "%s step %d (%.0f%%) lr %.2e %.2f steps/s: %s",
            stage.name,
            self.progress.step,
            100 * self._share_done(stage),
            rate,
            speed,
            shown,
        )
        path = self.settings.out_dir / "metrics.csv"
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(["step", "stage", "lr", "steps_per_s", *METRICS])
            row = [f"{value:.6g}" for value in (rate, speed, *means)]
            writer.writerow([self.progress.step, stage.name, *row])

    def _validate(self, stage: TrainingConfig) -> None:
        """Measure the averaged weights on held-out data."""
        if self.held_out is None:
            return
        if self._validation is None or self._validation[0] != stage.size:
            made = make_validation_set(
                self.held_out,
                size=stage.size,
                image_size=stage.image_size or stage.size,
                rank=self.settings.rank,
            )
            self._validation = (stage.size, made)
        current = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average.state)
        scores = validate(self.model, self._validation[1])
        self.model.load_state_dict(current)
        if self.settings.rank == 0:
            shown = " ".join(f"{name} {value:.3f}" for name, value in scores.items())
            logger.info("validation at step %d, %d px: %s", self.progress.step, stage.size, shown)

    def save(self) -> None:
        """Write the checkpoint, on the first process."""
        if self.settings.rank == 0:
            save_checkpoint(
                self.settings.checkpoint,
                model=self.model,
                average=self.average.state,
                optimizer=self.optimizer,
                progress=self.progress,
            )


def plan_clips(stage: TrainingConfig, generator: torch.Generator) -> PromptPlan:
    """Draw whether a second frame is corrected, and by how many clicks those that are."""
    corrected_frame = None
    if float(torch.rand((), generator=generator)) < stage.corrected_frame_chance:
        corrected_frame = int(torch.randint(1, stage.num_frames, (), generator=generator))
    return PromptPlan(
        mask_chance=stage.mask_chance,
        num_corrections=int(torch.randint(0, 2, (), generator=generator)),
        corrected_frame=corrected_frame,
    )


def make_optimizer(model: nn.Module, *, weight_decay: float) -> torch.optim.AdamW:
    """Build AdamW (0.9, 0.98); parameters of one dimension do not decay.

    The second decay is shorter than usual: the large gradients of a start from scratch must be
    forgotten within a short run.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98))
