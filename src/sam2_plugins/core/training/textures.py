"""Random textures and shapes for things that no data set shows."""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Plane = NDArray[np.float32]


def fractal_noise(rng: np.random.Generator, size: tuple[int, int], *, finest: int = 4) -> Plane:
    """Sum smooth noise over octaves.

    Args:
        rng: Source of randomness.
        size: (height, width) in pixels.
        finest: Size of the finest grain, in pixels.

    Returns:
        (H, W) float32, about zero mean and unit deviation.
    """
    height, width = size
    total = np.zeros(size, np.float32)
    cells = int(rng.integers(2, 5))
    weight, decay = 1.0, rng.uniform(0.4, 0.9)
    power = 0.0
    while cells * finest <= 2 * max(size):
        coarse = rng.standard_normal((min(cells, height), min(cells, width))).astype(np.float32)
        total += weight * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
        power += weight**2
        cells, weight = cells * 2, weight * decay
    return total / np.float32(np.sqrt(max(power, 1e-6)))


def random_texture(rng: np.random.Generator, size: tuple[int, int]) -> Image:
    """Draw a texture of two random colours: noise, stripes, spots, a gradient or plain.

    Args:
        rng: Source of randomness.
        size: (height, width) in pixels.

    Returns:
        (H, W, 3) uint8.
    """
    kind = rng.integers(5)
    noise = fractal_noise(rng, size, finest=int(rng.integers(1, 8)))
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    if kind == 0:
        blend = 0.5 + 0.3 * noise
    elif kind == 1:
        period = rng.uniform(3, 24)
        blend = 0.5 + 0.5 * np.sin(along * (2 * np.pi / period) + rng.uniform(0, 2) * noise)
    elif kind == 2:
        blend = (noise > rng.uniform(-0.5, 1)).astype(np.float32)
    elif kind == 3:
        blend = (along - along.min()) / max(float(np.ptp(along)), 1.0) + 0.08 * noise
    else:
        blend = 0.1 * noise
    colours = rng.uniform(0, 255, (2, 3)).astype(np.float32)
    blend = np.clip(blend, 0, 1)[..., None]
    mixed = colours[0] * (1 - blend) + colours[1] * blend
    grain = rng.standard_normal(size).astype(np.float32)[..., None] * rng.uniform(0, 12)
    texture: Image = np.clip(mixed + grain, 0, 255).astype(np.uint8)
    return texture


def random_shape(rng: np.random.Generator, side: int) -> Plane:
    """Draw a blob, an ellipse, a polygon or a star-like figure.

    Args:
        rng: Source of randomness.
        side: Side of the square canvas, in pixels.

    Returns:
        (side, side) float32 in [0, 1], with soft edges.
    """
    count = int(rng.choice([3, 4, 5, 6, 8, 40], p=[0.08, 0.12, 0.1, 0.1, 0.1, 0.5]))
    angles = (
        np.sort(rng.uniform(0, 2 * np.pi, count)) if count < 40 else np.linspace(0, 2 * np.pi, 40)
    )
    radii = np.full(count, 0.9) if count < 40 else np.ones(count)
    if count == 40:
        for order in range(2, 7):
            radii += rng.normal(0, 0.6 / order) * np.sin(order * angles + rng.uniform(0, 6.3))
        radii = np.clip(radii, 0.15, None)
    else:
        radii *= rng.uniform(0.3, 1.0, count)
    points = np.stack([np.cos(angles), np.sin(angles)], -1) * radii[:, None]
    points[:, 1] *= rng.uniform(0.3, 1.0)
    turn = rng.uniform(0, 2 * np.pi)
    cosine, sine = np.cos(turn), np.sin(turn)
    points = points @ np.array([[cosine, sine], [-sine, cosine]])
    low, high = points.min(0), points.max(0)
    points = (points - (low + high) / 2) / max(float((high - low).max()), 1e-3) * (side - 4)
    canvas = np.zeros((side, side), np.uint8)
    cv2.fillPoly(canvas, [np.round(points + side / 2).astype(np.int32)], 255)
    return cv2.GaussianBlur(canvas, (3, 3), 0).astype(np.float32) / np.float32(255)
