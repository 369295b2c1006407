"""What the image encoder learns from every pixel at once, beside what prompts teach it.

A prompt asks about one object; a label map answers for all of them. From scratch the encoder
learns several times faster when a small head must tell from its features, everywhere, what is
object, where borders run and which way an object's middle lies. The head is thrown away.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sam2_plugins.core.config import ModelConfig
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.model.values import ImageFeatures
from sam2_plugins.core.training.stages import TrainingConfig

STRIDE = 4
NUM_TARGETS = 4
_SMALLEST_RADIUS = 4.0


def dense_targets(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Tell of every cell of stride 4 what the head is to say.

    Args:
        labels: (S, S) int32, 0 is background.

    Returns:
        (4, S / 4, S / 4) float32: 1 in objects; share of border pixels; and x and y from the
        cell's middle to its object's centroid, in units of half the root of its area, 0 outside.
    """
    side, half = labels.shape[0], STRIDE // 2
    _, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape)
    rows, columns = np.mgrid[:side, :side] + 0.5
    area = np.bincount(compact.ravel())
    middle_y = np.bincount(compact.ravel(), rows.ravel()) / area
    middle_x = np.bincount(compact.ravel(), columns.ravel()) / area
    cell = (slice(half, None, STRIDE), slice(half, None, STRIDE))
    which, is_object = compact[cell], labels[cell] > 0
    radius = np.maximum(np.sqrt(area) / 2, _SMALLEST_RADIUS)[which]
    plane, window = compact.astype(np.float32), np.ones((3, 3), np.uint8)
    border = cv2.dilate(plane, window) != cv2.erode(plane, window)
    count = side // STRIDE
    return np.stack(
        [
            is_object,
            border.reshape(count, STRIDE, count, STRIDE).mean((1, 3)),
            (middle_x[which] - columns[cell]) / radius * is_object,
            (middle_y[which] - rows[cell]) / radius * is_object,
        ]
    ).astype(np.float32)


class DenseHead(nn.Module):
    """Reads every level of the features, each brought to stride 4.

    Args:
        config: The network whose features are read.
        width: Channels inside.
    """

    def __init__(self, config: ModelConfig, *, width: int = 32) -> None:
        super().__init__()
        dim = config.model_dim
        self.from_16 = nn.Conv2d(dim, width * 16, 1)
        self.from_8 = nn.Conv2d(dim // 4, width * 4, 1)
        self.from_4 = nn.Conv2d(dim // 8, width, 1)
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, NUM_TARGETS, 1)

    def forward(self, features: ImageFeatures) -> Tensor:
        """Return (B, 4, 4 h, 4 w): logits of object and border, and the way to the centroid."""
        coarse = functional.pixel_shuffle(self.from_16(features.stride_16), 4)
        middle = functional.pixel_shuffle(self.from_8(features.stride_8), 2)
        hidden = functional.gelu(coarse + middle + self.from_4(features.stride_4))
        return self.out(hidden + functional.gelu(self.mix(hidden)))


def make_head(model: SAM2, stages: Sequence[TrainingConfig], *, seed: int) -> DenseHead | None:
    """Make the head of a run, the same in each of its processes; None where no stage asks."""
    if not any(stage.dense for stage in stages):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DenseHead(model.config).to(model.device)


def dense_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy and dice of objects, cross-entropy of borders, smooth L1 of the ways.

    Args:
        outputs: (B, 4, n, n) of `DenseHead`.
        targets: (B, 4, n, n) of `dense_targets`.

    Returns:
        Scalar: the sum of the four, the last a mean over object cells.
    """
    is_object, border, ways = targets[:, 0], targets[:, 1], targets[:, 2:]
    entropy = functional.binary_cross_entropy_with_logits
    probability = outputs[:, 0].sigmoid()
    overlap = 2 * (probability * is_object).sum((1, 2)) + 1
    dice = 1 - overlap / (probability.sum((1, 2)) + is_object.sum((1, 2)) + 1)
    error = functional.smooth_l1_loss(outputs[:, 2:], ways, reduction="none").mean(1)
    missed = (error * is_object).sum() / is_object.sum().clamp(min=1)
    objects = entropy(outputs[:, 0], is_object) + dice.mean()
    total: Tensor = objects + entropy(outputs[:, 1], border) + missed
    return total


def stack_targets(labels: NDArray[np.int32]) -> Tensor:
    """Return the targets of label maps (B, S, S), (B, 4, S / 4, S / 4) float32."""
    return torch.from_numpy(np.stack([dense_targets(plane) for plane in labels]))
