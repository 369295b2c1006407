"""What learns: the network, its gradient and optimiser, and the running average of its weights."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from itertools import chain
from typing import Any

import torch

from sam2_plugins.core.config import ModelConfig
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.training.comparison import Comparison
from sam2_plugins.core.training.dense import make_head
from sam2_plugins.core.training.feeding import StepBatch
from sam2_plugins.core.training.gradients import AverageWeights, FlatGradient
from sam2_plugins.core.training.memory_saving import recomputed, skipped_at_random
from sam2_plugins.core.training.optimizer import make_optimizer, set_learning_rate
from sam2_plugins.core.training.plans import plan_clips, plan_images
from sam2_plugins.core.training.rollout import Rollout, run_clips, run_images
from sam2_plugins.core.training.sharding import share_out, shares_like, whole
from sam2_plugins.core.training.stages import TrainingConfig

METRICS = ("focal", "dice", "iou_error", "occlusion", "balanced", "clip_iou", "image_iou")


class Learner:
    """Learns from batches, on the device that the model is on.

    Args:
        model: Trained in place.
        stages: Of the run.
        seed: Of what learns beside the model.
        num_extras: How many numbers are averaged with the gradient.
        shards: Keep only a share of the large parts in each process.
    """

    def __init__(
        self,
        model: SAM2,
        stages: Sequence[TrainingConfig],
        *,
        seed: int,
        num_extras: int,
        shards: bool = False,
    ) -> None:
        if shards:
            share_out(model)
        self.model = model.train()
        self.device = model.device
        self.head = make_head(model, stages, seed=seed)
        self._learning = {n for n, p in model.named_parameters() if p.requires_grad}
        parameters = chain(model.parameters(), self.head.parameters() if self.head else ())
        self.gradient = FlatGradient(parameters, num_extras=num_extras)
        self.optimizer = make_optimizer(model, stages, head=self.head)
        self.average = AverageWeights(model)

    def begin(self, stage: TrainingConfig) -> None:
        """Forget the gradient, and let the parameters learn that do so in this stage."""
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in self._learning and not name.startswith(stage.frozen))
        self.gradient.clear()

    def learn(self, stage: TrainingConfig, batch: StepBatch) -> list[float]:
        """Add the gradient of a batch; return its `METRICS`."""
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

    def step(self, stage: TrainingConfig, *, step: int, rate: float) -> None:
        """Change the weights by the gradient, and move the average after them.

        Args:
            stage: Of the step.
            step: Number of steps done before.
            rate: The learning rate.
        """
        set_learning_rate(self.optimizer, stage, rate=rate)
        self.optimizer.step()
        self.average.update(self.model, step=step, decay=stage.ema_decay)

    def state(self) -> dict[str, Any]:
        """Everything that was learnt, whole; all processes must ask for it together."""
        content = {
            "model": whole(dict(self.model.state_dict())),
            "average": whole(self.average.state),
            "optimizer": whole(self.optimizer.state_dict()),
        }
        config = getattr(self.model, "config", None)
        if isinstance(config, ModelConfig):
            content["config"] = asdict(config)
        if self.head is not None:
            content["head"] = self.head.state_dict()
        return content

    def load(self, content: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        now = self.model.state_dict()
        self.model.load_state_dict(shares_like(content["model"], now))
        self.average.load(shares_like(content["average"], now))
        parameters = (p for group in self.optimizer.param_groups for p in group["params"])
        moments = shares_like(content["optimizer"]["state"], dict(enumerate(parameters)))
        self.optimizer.load_state_dict({**content["optimizer"], "state": moments})
        if self.head is not None:
            self.head.load_state_dict(content["head"])
