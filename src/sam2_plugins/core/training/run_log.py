"""What a run says of itself: lines in the log, rows in `metrics.csv`, curves in TensorBoard."""

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sam2_plugins.core.training.run_folders import CURVES, METRICS_TABLE

logger = logging.getLogger("sam2_plugins.core.training")


class RunLog:
    """Writes the metrics of a run.

    Args:
        out_dir: Gets `metrics.csv`, and `tensorboard/` if asked for.
        metrics: Names of the columns.
        tensorboard: Write events for TensorBoard, which must be installed.
    """

    def __init__(self, out_dir: Path, metrics: Sequence[str], *, tensorboard: bool = False) -> None:
        self._path = out_dir / METRICS_TABLE
        self._metrics = tuple(metrics)
        self._writer: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(out_dir / CURVES))

    def write(
        self, step: int, stage: str, *, share_done: float, rates: tuple[float, float], means: Any
    ) -> None:
        """Write the means of the recent steps.

        Args:
            step: Steps done.
            stage: Name of the stage.
            share_done: Of the stage, in [0, 1].
            rates: The learning rate, and steps per second.
            means: A number for each metric.
        """
        rate, speed = rates
        values = dict(zip(self._metrics, means, strict=True))
        shown = " ".join(f"{name} {value:.4f}" for name, value in values.items())
        logger.info(
            *("%s step %d (%.0f%%) lr %.2e %.2f steps/s: %s", stage, step, 100 * share_done),
            *(rate, speed, shown),
        )
        is_new = not self._path.exists()
        with self._path.open("a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(["step", "stage", "lr", "steps_per_s", *self._metrics])
            writer.writerow([step, stage, *(f"{v:.6g}" for v in (rate, speed, *means))])
        self._plot("train", {"lr": rate, "steps_per_s": speed, **values}, step)

    def write_validation(self, step: int, size: int, scores: Mapping[str, float]) -> None:
        """Write the scores of a validation at an input side of `size` pixels."""
        shown = " ".join(f"{name} {value:.3f}" for name, value in scores.items())
        logger.info("validation at step %d, %d px: %s", step, size, shown)
        self._plot("validation", scores, step)

    def close(self) -> None:
        """Finish what is written."""
        if self._writer is not None:
            self._writer.close()

    def _plot(self, group: str, values: Mapping[str, float], step: int) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)
            self._writer.flush()
