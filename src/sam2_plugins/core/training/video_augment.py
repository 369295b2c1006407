"""The augmentations of the paper's video training: flip, affine, colour, grey."""

import cv2
import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.training.motion import affine

MAX_ANGLE_DEGREES = 25.0
MAX_SHEAR_DEGREES = 20.0
CLIP_JITTER = (0.1, 0.03, 0.03)
"""Brightness, contrast and saturation, the same for all frames."""
FRAME_JITTER = (0.1, 0.05, 0.05)
"""The same, drawn for each frame."""
GREY_CHANCE = 0.05
AFFINE_CHANCE = 0.5
"""Ours; the paper's recipe turns every clip. A user's data are mostly seen upright."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def augment(
    rng: np.random.Generator,
    frames: NDArray[np.uint8],
    labels: NDArray[np.int32],
    *,
    flips_rows: bool,
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Flip, turn, shear and recolour a clip.

    Args:
        rng: Source of randomness.
        frames: (T, S, S, 3) uint8.
        labels: (T, S, S) int32.
        flips_rows: Whether up and down mean nothing, as under a microscope.

    Returns:
        Frames and labels of the same shapes.
    """
    if rng.random() < 0.5:
        frames, labels = frames[:, :, ::-1], labels[:, :, ::-1]
    if flips_rows and rng.random() < 0.5:
        frames, labels = frames[:, ::-1], labels[:, ::-1]
    if rng.random() < AFFINE_CHANCE:
        frames, labels = _turn(rng, frames, labels)
    values = jitter(frames.astype(np.float32), draw_jitter(rng, CLIP_JITTER))
    if rng.random() < GREY_CHANCE:
        values = np.repeat((values @ _LUMA)[..., None], 3, axis=-1)
    for frame in values:
        frame[:] = jitter(frame, draw_jitter(rng, FRAME_JITTER))
    return np.clip(np.round(values), 0, 255).astype(np.uint8), np.ascontiguousarray(labels)


def draw_jitter(
    rng: np.random.Generator, limits: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Draw factors of brightness, contrast and saturation, each from [1 - limit, 1 + limit]."""
    brightness, contrast, saturation = (float(rng.uniform(1 - x, 1 + x)) for x in limits)
    return brightness, contrast, saturation


def jitter(values: NDArray[np.float32], factors: tuple[float, float, float]) -> NDArray[np.float32]:
    """Scale brightness; then the distance from the mean grey; then that from each pixel's grey.

    Args:
        values: (..., 3) float32 in [0, 255].
        factors: Of brightness, contrast and saturation.
    """
    brightness, contrast, saturation = (np.float32(factor) for factor in factors)
    values = np.clip(values * brightness, 0, 255)
    values = np.clip((values @ _LUMA).mean() * (1 - contrast) + values * contrast, 0, 255)
    grey = (values @ _LUMA)[..., None]
    return np.clip(grey * (1 - saturation) + values * saturation, 0, 255).astype(np.float32)


def _turn(
    rng: np.random.Generator, frames: NDArray[np.uint8], labels: NDArray[np.int32]
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Turn and shear all frames of a clip in the same way."""
    size = labels.shape[-1]
    middle = (size / 2, size / 2)
    angle = float(np.deg2rad(rng.uniform(-MAX_ANGLE_DEGREES, MAX_ANGLE_DEGREES)))
    shear = float(np.tan(np.deg2rad(rng.uniform(-MAX_SHEAR_DEGREES, MAX_SHEAR_DEGREES))))
    matrix = affine(middle, middle, angle=angle, shear=shear)[:2]
    square = (size, size)
    turned = [
        cv2.warpAffine(np.ascontiguousarray(frame), matrix, square, borderMode=cv2.BORDER_CONSTANT)
        for frame in frames
    ]
    ids = [
        cv2.warpAffine(label.astype(np.float32), matrix, square, flags=cv2.INTER_NEAREST)
        for label in labels
    ]
    return np.stack(turned).astype(np.uint8), np.stack(ids).astype(np.int32)
