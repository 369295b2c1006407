"""Sample data, generated: a stack of nuclei, and a time-lapse of cells that divide."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LayerData = tuple[NDArray[Any], dict[str, Any], str]


def nuclei_stack_layers() -> list[LayerData]:
    """A confocal stack of nuclei (20, 160, 160), slices 2 pixels apart."""
    from sam2_plugins.core import nuclei_stack

    images = nuclei_stack().images
    facts = {"name": "nuclei", "scale": (2.0, 1.0, 1.0), "axis_labels": ("z", "y", "x")}
    return [(images, {**facts, "colormap": "gray"}, "image")]


def dividing_cells_layers() -> list[LayerData]:
    """A time-lapse of cells (24, 160, 160) that drift; some divide."""
    images = dividing_cells()
    return [(images, {"name": "cells", "axis_labels": ("t", "y", "x")}, "image")]


def dividing_cells(
    shape: tuple[int, int, int] = (24, 160, 160), *, num_cells: int = 6, seed: int = 0
) -> NDArray[np.uint16]:
    """Generate a time-lapse of bright cells on a dim background.

    Args:
        shape: (T, H, W).
        num_cells: Cells in the first frame; every other one divides.
        seed: The same seed gives the same cells.
    """
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    num_frames, height, width = shape
    side = int(np.ceil(np.sqrt(num_cells)))
    rows, columns = np.mgrid[:height, :width]
    frames = np.zeros(shape)
    for cell in range(num_cells):
        start = (np.array(divmod(cell, side)) + 0.5) * (height / side, width / side)
        drift, angle = random.uniform(-0.5, 0.5, 2), random.uniform(0, np.pi)
        radius, apart = random.uniform(0.28, 0.36) * height / side, np.zeros(2)
        divides_at = num_frames // 2 + random.integers(-3, 4) if cell % 2 else num_frames
        for frame in range(num_frames):
            age = frame - divides_at
            if age > 0:
                apart = min(1.0, age / 4) * 0.85 * radius * np.array([np.sin(angle), np.cos(angle)])
            size = radius if age <= 0 else radius * 0.72
            for sign in (1,) if age <= 0 else (1, -1):
                y, x = start + drift * frame + sign * apart
                inside = np.hypot(rows - y, columns - x) < size
                frames[frame][inside] = 0.6 + 0.3 * (age == 0)
    texture = gaussian_filter(random.standard_normal(shape), (1.5, 2.0, 2.0))
    signal = gaussian_filter(frames, (0, 1.2, 1.2)) * (1 + 0.6 * texture)
    photons = random.poisson(15 + 220 * signal.clip(0))
    return np.asarray(30 * photons + random.normal(200, 40, shape)).clip(0, 65535).astype(np.uint16)
