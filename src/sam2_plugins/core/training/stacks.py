"""Invented volumes seen slice by slice: cells with membranes, nuclei, organs."""

import cv2
import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.training.motion import ElasticField, pixel_grid, smooth_walk
from sam2_plugins.core.training.textures import fractal_noise

Frames = NDArray[np.uint8]
Labels = NDArray[np.int32]
Plane = NDArray[np.float32]


def cell_stack(rng: np.random.Generator, *, size: int, num_frames: int) -> tuple[Frames, Labels]:
    """Slice a tissue of touching cells with membranes, as electron microscopy shows it.

    Cells are the regions of a power diagram in three dimensions, bent by a smooth field. From
    slice to slice they move, grow, shrink, appear and vanish.

    Args:
        rng: Source of randomness.
        size: Side S of the slices in pixels.
        num_frames: Number of slices T.

    Returns:
        (T, S, S, 3) uint8 and (T, S, S) int32.
    """
    spacing = size / rng.uniform(3, 9)
    centres, depth, drift = _scatter(rng, size=size, num_frames=num_frames, spacing=spacing)
    weight = rng.uniform(0, 0.6, len(centres)).astype(np.float32) * spacing**2
    field = ElasticField(
        rng, (size, size), num_frames=num_frames, amplitude=rng.uniform(0, 0.3) * spacing, cells=8
    )
    thickness = rng.uniform(1.0, 3.0)
    shades = rng.uniform(120, 230, len(centres)).astype(np.float32)
    shades = (shades - shades.mean()) * np.float32(rng.uniform(0, 1)) + shades.mean()
    texture = _texture_volume(rng, size=size, num_frames=num_frames)
    dark = rng.uniform(10, 80)
    x, y = pixel_grid((size, size))
    frames, labels = [], []
    for frame in range(num_frames):
        across, down = field.at(frame)
        here = centres + drift[frame]
        constant = (here**2).sum(-1) + (depth - frame) ** 2 * _depth_scale(spacing) - weight
        ground = np.stack([x + across, y + down], -1).reshape(-1, 2)
        distance = ground @ (-2 * here.T) + constant
        nearest = distance.argmin(-1)
        rows = np.arange(len(nearest))
        first = distance[rows, nearest]
        distance[rows, nearest] = np.inf
        second_cell = distance.argmin(-1)
        gap = np.linalg.norm(here[nearest] - here[second_cell], axis=-1)
        to_border = (distance[rows, second_cell] - first) / (2 * gap + 1e-3)
        membrane = np.clip(1.2 - to_border / thickness, 0, 1).reshape(size, size)
        inside = shades[nearest].reshape(size, size) + texture[frame]
        frames.append(inside * (1 - membrane) + dark * membrane)
        labels.append(nearest.reshape(size, size).astype(np.int32) + 1)
    return _to_rgb(np.stack(frames)), np.stack(labels)


def blob_stack(rng: np.random.Generator, *, size: int, num_frames: int) -> tuple[Frames, Labels]:
    """Slice scattered ellipsoids: bright or dark, crowded or few, on an uneven background.

    With many small ones it looks like nuclei, with few large and soft ones like organs in
    computed tomography or magnetic resonance.

    Args:
        rng: Source of randomness.
        size: Side S of the slices in pixels.
        num_frames: Number of slices T.

    Returns:
        (T, S, S, 3) uint8 and (T, S, S) int32.
    """
    is_organ = rng.random() < 0.45
    spacing = size / (rng.uniform(1.5, 3.5) if is_organ else rng.uniform(3.5, 10))
    centres, depth, drift = _scatter(rng, size=size, num_frames=num_frames, spacing=spacing)
    radius = (spacing * rng.uniform(0.3, 0.65, len(centres))).astype(np.float32)
    stretch = np.exp(rng.normal(0, 0.25, len(centres))).astype(np.float32)
    turn = rng.uniform(0, np.pi, len(centres)).astype(np.float32)
    amplitude = rng.uniform(0.03, 0.2) * spacing
    field = ElasticField(rng, (size, size), num_frames=num_frames, amplitude=amplitude, cells=8)
    texture = _texture_volume(rng, size=size, num_frames=num_frames)
    low = rng.uniform(0, 90)
    shades = low + rng.uniform(20, 150) * rng.uniform(0.5, 1.2, len(centres))
    if rng.random() < 0.25:
        low, shades = 255 - low, 255 - shades
    if is_organ:
        shades = rng.uniform(20, 230, len(centres))
    softness = rng.uniform(0.05, 0.35)
    x, y = pixel_grid((size, size))
    frames, labels = [], []
    for frame in range(num_frames):
        across, down = field.at(frame)
        value = np.full((size, size), low, np.float32)
        best = np.zeros((size, size), np.float32)
        label = np.zeros((size, size), np.int32)
        section = 1 - ((depth - frame) ** 2 * _depth_scale(spacing)) / radius**2
        for index in np.flatnonzero(section > 0.02):
            window = _around(
                centres[index] + drift[frame, index], float(radius[index]) * 1.6, size=size
            )
            if window is None:
                continue
            dx = x[window] + across[window] - centres[index, 0] - drift[frame, index, 0]
            dy = y[window] + down[window] - centres[index, 1] - drift[frame, index, 1]
            cosine, sine = np.cos(turn[index]), np.sin(turn[index])
            along = (cosine * dx + sine * dy) * stretch[index]
            aside = (cosine * dy - sine * dx) / stretch[index]
            level = section[index] - (along**2 + aside**2) / radius[index] ** 2
            wins = level > best[window]
            best[window][wins] = level[wins]
            label[window][wins] = index + 1
            cover = np.clip(level / softness + 0.5, 0, 1) * wins
            value[window] += cover * (shades[index] - value[window])
        frames.append(value + texture[frame])
        labels.append(label)
    return _to_rgb(np.stack(frames)), np.stack(labels)


def _scatter(
    rng: np.random.Generator, *, size: int, num_frames: int, spacing: float
) -> tuple[Plane, Plane, Plane]:
    """Scatter seeds in and around the volume: (K, 2) places, (K,) depths, (T, K, 2) drift."""
    layers = num_frames * np.sqrt(_depth_scale(spacing)) / spacing + 1.5
    count = int(np.clip((size / spacing + 1) ** 2 * layers, 6, 160))
    centres = rng.uniform(-0.5 * spacing, size + 0.5 * spacing, (count, 2)).astype(np.float32)
    margin = 0.75 * spacing / np.sqrt(_depth_scale(spacing))
    depth = rng.uniform(-margin, num_frames + margin, count).astype(np.float32)
    common = smooth_walk(rng, num_frames, channels=2, step=spacing * rng.uniform(0, 0.1))
    own = smooth_walk(rng, num_frames, channels=count * 2, step=spacing * rng.uniform(0, 0.12))
    drift = common[:, None] + own.reshape(num_frames, count, 2)
    return centres, depth, drift.astype(np.float32)


def _depth_scale(spacing: float) -> float:
    """Return the squared distance in pixels between neighbouring slices."""
    return (spacing / 9) ** 2


def _texture_volume(rng: np.random.Generator, *, size: int, num_frames: int) -> Plane:
    """Draw a texture that changes from slice to slice, (T, S, S) float32 around zero."""
    strength = rng.uniform(2, 28)
    finest = int(rng.integers(1, 6))
    first = fractal_noise(rng, (size, size), finest=finest)
    last = fractal_noise(rng, (size, size), finest=finest)
    angles = np.linspace(0, rng.uniform(0.3, 2.5), num_frames, dtype=np.float32)[:, None, None]
    texture = np.float32(strength) * (np.cos(angles) * first + np.sin(angles) * last)
    return texture.astype(np.float32)


def _around(centre: Plane, reach: float, *, size: int) -> tuple[slice, slice] | None:
    """Return the window of a square image around a centre, None when it is outside."""
    low = np.clip(np.floor(centre - reach * 1.5), 0, size).astype(int)
    high = np.clip(np.ceil(centre + reach * 1.5), 0, size).astype(int)
    if (high - low).min() < 2:
        return None
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _to_rgb(values: Plane) -> Frames:
    """Clip grey values and repeat them to three channels."""
    grey = np.clip(values, 0, 255).astype(np.uint8)
    if min(grey.shape[1:]) > 8:
        grey = np.stack([cv2.GaussianBlur(frame, (3, 3), 0.6) for frame in grey])
    return np.repeat(grey[..., None], 3, axis=-1)
