"""How a clip looks: colours, noise and drift, and other kinds of imaging."""

import cv2
import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.training.motion import smooth_walk
from sam2_plugins.core.training.textures import fractal_noise

Frames = NDArray[np.uint8]


def expose(frames: Frames) -> Frames:
    """Scale a clip as the pixel policy scales whatever is not RGB: percentiles 0.5 to 99.5.

    Args:
        frames: (T, S, S, 3) uint8.

    Returns:
        (T, S, S, 3) uint8, over the whole range.
    """
    low, high = _range(frames)
    scaled = (frames.astype(np.float32) - low) * np.float32(255 / (high - low))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def is_grey(frames: Frames) -> bool:
    """Tell whether all channels of a clip are the same."""
    return bool((frames[..., :1] == frames[..., 1:]).all())


def _range(frames: NDArray[np.uint8] | NDArray[np.float32]) -> tuple[float, float]:
    """Return the percentiles 0.5 and 99.5 of a clip, at least one apart."""
    low, high = np.percentile(frames[:, ::4, ::4], (0.5, 99.5))
    return float(low), float(max(high, low + 1))


def restyle(rng: np.random.Generator, frames: Frames, *, labels: NDArray[np.int32]) -> Frames:
    """Give a clip another look: as it is, grey, inverted, as edges or as an electron micrograph.

    Args:
        rng: Source of randomness.
        frames: (T, S, S, 3) uint8.
        labels: (T, S, S) int32, for looks that draw the borders of objects.

    Returns:
        (T, S, S, 3) uint8.
    """
    chance = rng.random()
    if chance < 0.55:
        return frames
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    if chance < 0.75:
        pass
    elif chance < 0.87:
        grey = 255 - grey
    elif chance < 0.93:
        enhance = cv2.createCLAHE(clipLimit=float(rng.uniform(1, 5)), tileGridSize=(4, 4))
        grey = np.stack([enhance.apply(frame) for frame in grey])
    else:
        grey = _draw_membranes(rng, grey, labels=labels)
    return np.repeat(grey[..., None], 3, axis=-1)


def _draw_membranes(rng: np.random.Generator, grey: Frames, *, labels: NDArray[np.int32]) -> Frames:
    """Draw dark lines between the labels over a faint version of the frames."""
    strength, width = rng.uniform(0.4, 0.95), int(rng.integers(1, 3))
    drawn = []
    for frame, label in zip(grey, labels, strict=True):
        border = np.zeros(label.shape, np.uint8)
        border[1:] |= label[1:] != label[:-1]
        border[:, 1:] |= label[:, 1:] != label[:, :-1]
        border = cv2.dilate(border, np.ones((width, width), np.uint8))
        line = cv2.GaussianBlur(border.astype(np.float32), (3, 3), 0) * strength
        faint = 150 + (frame.astype(np.float32) - 128) * 0.4
        drawn.append(np.clip(faint * (1 - line), 0, 255).astype(np.uint8))
    return np.stack(drawn)


def degrade(rng: np.random.Generator, frames: Frames) -> Frames:
    """Change colours, light, sharpness and noise, for the clip and a little from frame to frame.

    Args:
        rng: Source of randomness.
        frames: (T, S, S, 3) uint8.

    Returns:
        (T, S, S, 3) uint8.
    """
    num_frames, size = frames.shape[0], frames.shape[1]
    values = frames.astype(np.float32)
    low, high = _range(frames)
    # All changes are in proportion to the clip's own contrast: a dim one must not drown.
    span = max(high - low, 8.0)
    if rng.random() < 0.15:
        values = _blur(rng, values)
    if rng.random() < 0.6:
        colour = 1 + rng.uniform(-0.25, 0.25, 3) * (rng.random() < 0.6)
        drift = smooth_walk(rng, num_frames, channels=2, step=1.0) * np.float32(
            rng.choice([0.0, 0.01, 0.05])
        )
        middle, strength = (low + high) / 2, min(rng.uniform(0.6, 1.5), 250 / span)
        reach = span * strength / 2
        room = sorted((max(-40.0, reach - middle), min(40.0, 255 - reach - middle)))
        gain = strength * np.exp(drift[:, 0])
        offset = rng.uniform(room[0], room[1]) + 60 * drift[:, 1] * span / 255
        values = (values - middle) * (gain[:, None, None, None] * colour) + middle
        values += offset[:, None, None, None]
        span *= strength
    if rng.random() < 0.15:
        shade = 1 + rng.uniform(0.1, 0.4) * fractal_noise(rng, (size, size), finest=size // 2)
        values *= shade[..., None]
    values = np.clip(values, 0, 255, dtype=np.float32)
    if rng.random() < 0.2:
        top = np.float32(max(values.max(), 1.0))
        values = top * (values / top) ** np.float32(np.exp(rng.normal(0, 0.4)))
    if rng.random() < 0.4:
        _add_noise(rng, values, span=span)
    return np.clip(values, 0, 255).astype(np.uint8)


def permute_colours(rng: np.random.Generator, frames: Frames) -> Frames:
    """Swap the colour channels at random."""
    return np.ascontiguousarray(frames[..., rng.permutation(3)])


def _blur(rng: np.random.Generator, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blur all frames: out of focus, or along the motion."""
    if rng.random() < 0.5:
        sigma = rng.uniform(0.5, 1.5)
        return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in values])
    length = int(rng.integers(3, 8))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    reach = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    middle = np.array([(length - 1) / 2] * 2)
    start, end = np.round(middle - reach).astype(int), np.round(middle + reach).astype(int)
    cv2.line(kernel, tuple(map(int, start)), tuple(map(int, end)), 1.0)
    kernel /= kernel.sum()
    return np.stack([cv2.filter2D(frame, -1, kernel) for frame in values])


def _add_noise(rng: np.random.Generator, values: NDArray[np.float32], *, span: float) -> None:
    """Add grain to all frames in place, grey or coloured, sometimes with the grain of light."""
    sigma = span * float(rng.choice([0.015, 0.03, 0.06, 0.12], p=[0.4, 0.3, 0.2, 0.1]))
    channels = 3 if rng.random() < 0.3 else 1
    noise = rng.standard_normal((*values.shape[:3], channels), dtype=np.float32) * sigma
    if rng.random() < 0.4:
        noise *= np.sqrt(values[..., :1] / 128 + 0.05)
    values += noise
