"""Small clips with known objects, by name. Each returns frames and labels of the same (T, H, W)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core import samples


class Clip(NamedTuple):
    """Frames and what is in them.

    Attributes:
        frames: (T, H, W) uint8 or uint16, grey.
        labels: (T, H, W) uint16, the object id of each pixel, 0 is background.
    """

    frames: NDArray[np.generic]
    labels: NDArray[np.uint16]

    def mask(self, frame_index: int, object_id: int) -> NDArray[np.bool_]:
        """(H, W) bool."""
        return np.asarray(self.labels[frame_index] == object_id)

    def box(self, frame_index: int, object_id: int) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1), half-open, of an object that is there."""
        rows, columns = np.nonzero(self.mask(frame_index, object_id))
        return (
            int(columns.min()),
            int(rows.min()),
            int(columns.max()) + 1,
            int(rows.max()) + 1,
        )

    def center(self, frame_index: int, object_id: int) -> tuple[float, float]:
        """(x, y) of the middle of an object that is there."""
        rows, columns = np.nonzero(self.mask(frame_index, object_id))
        return float(columns.mean()), float(rows.mean())


def two_discs_crossing(num_frames: int = 12, size: tuple[int, int] = (40, 56)) -> Clip:
    """A bright disc (1) goes right and passes in front of a grey one (2) that goes left."""
    height, width = size
    radius = min(size) / 5
    ends = radius + 1, width - radius - 1
    labels = np.zeros((num_frames, height, width), np.uint16)
    for index, share in enumerate(np.linspace(0, 1, num_frames)):
        right, left = np.interp(share, (0, 1), ends), np.interp(share, (0, 1), ends[::-1])
        labels[index][_disc(size, (left, 0.6 * height), radius)] = 2
        labels[index][_disc(size, (right, 0.4 * height), radius)] = 1
    return Clip(_paint(labels, {1: 220, 2: 140}), labels)


def object_leaves_and_returns(num_frames: int = 12, size: tuple[int, int] = (48, 64)) -> Clip:
    """A disc (1) goes out at the right, is away for a third of the clip, and comes back."""
    height, width = size
    radius = height / 5
    labels = np.zeros((num_frames, height, width), np.uint16)
    third = num_frames // 3
    way_out = np.linspace(width / 2, width + radius, third + 1)[:third]
    path = [*way_out, *(None for _ in range(num_frames - 2 * third)), *way_out[::-1]]
    for index, x in enumerate(path):
        if x is not None:
            labels[index][_disc(size, (x, height / 2), radius)] = 1
    return Clip(_paint(labels, {1: 220}), labels)


def growing_ring(num_frames: int = 6, size: tuple[int, int] = (64, 64)) -> Clip:
    """A disc (1) that grows, with a black dot in its middle that belongs to it."""
    middle = size[1] / 2, size[0] / 2
    labels = np.zeros((num_frames, *size), np.uint16)
    for index in range(num_frames):
        labels[index][_disc(size, middle, 12 + index)] = 1
    frames = _paint(labels, {1: 200})
    frames[:, _disc(size, middle, 2)] = 20
    return Clip(frames, labels)


def nuclei_stack(
    shape: tuple[int, int, int] = (10, 96, 96), *, num_nuclei: int = 6, seed: int = 1
) -> Clip:
    """Nuclei under a fluorescence microscope, uint16."""
    stack = samples.nuclei_stack(shape, num_nuclei=num_nuclei, seed=seed)
    return Clip(stack.images, stack.labels)


def _disc(size: tuple[int, int], center: tuple[float, float], radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[: size[0], : size[1]]
    x, y = center
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)


def _paint(labels: NDArray[np.uint16], brightness: dict[int, int]) -> NDArray[np.uint8]:
    """Flat objects on a noisy ground; the noise is always the same."""
    noise = np.random.default_rng(0).integers(0, 30, labels.shape)
    frames = 40 + noise
    for object_id, value in brightness.items():
        frames = np.where(labels == object_id, value + noise // 3, frames)
    return frames.astype(np.uint8)
