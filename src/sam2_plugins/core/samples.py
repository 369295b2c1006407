"""A small stack of nuclei, generated: what the demo tracks, with its true labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Slices of a stack are usually further apart than pixels are.
SLICE_SPACING = 2.0
RADII = (8.0, 13.0)
MAX_TRIES = 4000


@dataclass(frozen=True, slots=True, eq=False)
class SampleStack:
    """A stack with what is in it.

    Attributes:
        images: (T, H, W) uint16.
        labels: (T, H, W) uint16, the object id of each voxel, 0 is background.
    """

    images: NDArray[np.uint16]
    labels: NDArray[np.uint16]


def nuclei_stack(
    shape: tuple[int, int, int] = (20, 160, 160), *, num_nuclei: int = 22, seed: int = 0
) -> SampleStack:
    """Generate nuclei as a fluorescence microscope shows them: uneven, textured, blurred, noisy.

    Args:
        shape: (T, H, W) slices, rows and columns.
        num_nuclei: Nuclei to place; fewer where there is no room left.
        seed: The same seed gives the same stack.
    """
    random = np.random.default_rng(seed)
    labels = _place(shape, num_nuclei, random)
    brightness = np.concatenate(([0.0], random.uniform(0.45, 1.0, int(labels.max()))))
    signal = brightness[labels] * _chromatin(shape, random)
    signal = ndimage.gaussian_filter(signal, (0.5, 1.0, 1.0))
    haze = ndimage.gaussian_filter(signal, (2.0, 12.0, 12.0))
    photons = random.poisson(12 + 260 * signal + 140 * haze)
    images = 40 * photons + random.normal(400, 60, shape)
    return SampleStack(images.clip(0, 65535).astype(np.uint16), labels)


def _place(
    shape: tuple[int, int, int], num_nuclei: int, random: np.random.Generator
) -> NDArray[np.uint16]:
    """(T, H, W) labels of ellipsoids that may touch but do not overlap."""
    labels = np.zeros(shape, np.uint16)
    # A smooth field bends the surfaces, so that no nucleus is a perfect ellipsoid.
    bumps = _smooth_noise(shape, (3.0, 6.0, 6.0), random)
    placed = 0
    for _ in range(MAX_TRIES):
        if placed == num_nuclei:
            break
        inside = _ellipsoid(shape, random) + 0.16 * bumps < 1
        taken = labels[inside]
        # Where two would overlap a little, the earlier one keeps the voxels.
        if taken.size < 60 or np.count_nonzero(taken) > 0.03 * taken.size:
            continue
        placed += 1
        labels[inside & (labels == 0)] = placed
    return labels


def _ellipsoid(shape: tuple[int, int, int], random: np.random.Generator) -> NDArray[np.float64]:
    """(T, H, W) distance from a random centre, 1 on the surface of a random ellipsoid."""
    radii = random.uniform(*RADII, 3)
    depth, height, width = shape
    center = random.uniform((0, 8, 8), (depth, height - 8, width - 8))
    grid = np.meshgrid(*(np.arange(side) for side in shape), indexing="ij", sparse=True)
    z, y, x = (axis - middle for axis, middle in zip(grid, center, strict=True))
    turn = random.uniform(0, np.pi)
    along = x * np.cos(turn) + y * np.sin(turn)
    across = y * np.cos(turn) - x * np.sin(turn)
    scaled = (SLICE_SPACING * z / radii[0], along / radii[1], across / radii[2])
    return np.sqrt(sum(axis**2 for axis in scaled))


def _chromatin(shape: tuple[int, int, int], random: np.random.Generator) -> NDArray[np.float64]:
    """(T, H, W) texture inside the nuclei: grains, and darker nucleoli."""
    grains = _smooth_noise(shape, (0.6, 1.5, 1.5), random)
    nucleoli = _smooth_noise(shape, (1.0, 2.6, 2.6), random) > 1.6
    return np.clip(1 + 0.13 * grains, 0.3, None) * np.where(nucleoli, 0.6, 1.0)


def _smooth_noise(
    shape: tuple[int, int, int], sigma: tuple[float, float, float], random: np.random.Generator
) -> NDArray[np.float64]:
    """(T, H, W) noise of unit standard deviation, correlated over `sigma` voxels."""
    noise = ndimage.gaussian_filter(random.standard_normal(shape), sigma)
    return noise / noise.std()
