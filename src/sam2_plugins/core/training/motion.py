"""Smooth random motion: walks in time, affine cameras and elastic fields."""

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def smooth_walk(
    rng: np.random.Generator,
    num_frames: int,
    *,
    channels: int,
    step: float,
    momentum: float = 0.8,
) -> Array:
    """Integrate a velocity that changes slowly.

    Args:
        rng: Source of randomness.
        num_frames: Number of frames T.
        channels: Number of independent walks C.
        step: Root mean square of the change from one frame to the next.
        momentum: Correlation of one velocity with the next, in [0, 1).

    Returns:
        (T, C) float32; the first row is zero.
    """
    walk = np.zeros((num_frames, channels), np.float32)
    velocity = rng.standard_normal(channels) * step
    fresh = step * float(np.sqrt(1 - momentum**2))
    for frame in range(1, num_frames):
        walk[frame] = walk[frame - 1] + velocity
        velocity = momentum * velocity + fresh * rng.standard_normal(channels)
    return walk


def affine(
    centre: tuple[float, float],
    target: tuple[float, float],
    *,
    angle: float = 0.0,
    log_scale: float = 0.0,
    shear: float = 0.0,
    flip: bool = False,
) -> Array:
    """Build the map that turns, scales and shears about a centre and moves it to a target.

    Args:
        centre: (x, y) in the source, in pixels.
        target: (x, y) where the centre goes.
        angle: Radians.
        log_scale: Natural logarithm of the scale.
        shear: Change of x per y.
        flip: Mirror x before all else.

    Returns:
        (3, 3) float32, from source to target pixels.
    """
    cosine, sine, scale = np.cos(angle), np.sin(angle), np.exp(log_scale)
    turn = np.array([[cosine, -sine], [sine, cosine]]) * scale @ np.array([[1, shear], [0, 1]])
    if flip:
        turn = turn @ np.diag([-1, 1])
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = np.asarray(target) - turn @ np.asarray(centre)
    return matrix.astype(np.float32)


def pixel_grid(size: tuple[int, int], *, origin: tuple[int, int] = (0, 0)) -> tuple[Array, Array]:
    """Return x and y of every pixel of a (height, width) window, (H, W) float32 each."""
    x = np.arange(origin[0], origin[0] + size[1], dtype=np.float32)
    y = np.arange(origin[1], origin[1] + size[0], dtype=np.float32)
    return np.broadcast_to(x, size), np.broadcast_to(y[:, None], size)


def sampling_map(matrix: Array, grid: tuple[Array, Array]) -> tuple[Array, Array]:
    """Find where each target pixel comes from.

    Args:
        matrix: (3, 3) float32, from source to target pixels.
        grid: Columns and rows of target pixels, (H, W) float32 each.

    Returns:
        Source columns and rows, (H, W) float32 each, for `cv2.remap`.
    """
    x, y = grid
    inverse = np.linalg.inv(matrix).astype(np.float32)
    a, b, c = inverse[0]
    d, e, f = inverse[1]
    return a * x + b * y + c, d * x + e * y + f


class ElasticField:
    """A smooth displacement that changes smoothly in time.

    Args:
        rng: Source of randomness.
        size: (height, width) of the field in pixels.
        num_frames: Number of frames.
        amplitude: Root mean square of the displacement, in pixels.
        cells: Number of control points along each side.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        size: tuple[int, int],
        *,
        num_frames: int,
        amplitude: float,
        cells: int = 5,
    ) -> None:
        self._modes = [_smooth_noise(rng, size, cells=cells) * amplitude for _ in range(2)]
        phase = rng.uniform(0, 2 * np.pi)
        speed = rng.uniform(0.1, 0.7)
        angles = phase + speed * np.arange(num_frames)
        self._weights = np.stack([np.sin(angles), np.cos(angles)], -1).astype(np.float32)

    def at(self, frame: int) -> tuple[Array, Array]:
        """Return the displacement of columns and of rows on a frame, (H, W) float32 each."""
        first, second = self._weights[frame]
        field = self._modes[0] * first + self._modes[1] * second
        return field[..., 0], field[..., 1]


def _smooth_noise(rng: np.random.Generator, size: tuple[int, int], *, cells: int) -> Array:
    """Draw two channels of smooth noise, (H, W, 2) float32."""
    coarse = rng.standard_normal((cells, cells, 2)).astype(np.float32)
    noise = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return noise.astype(np.float32)
