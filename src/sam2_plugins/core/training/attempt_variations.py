"""Attempts and volumes made into others: clicked on more often, seen from further, sliced anew."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from sam2_plugins.core.stored_masks import box_of
from sam2_plugins.core.training.attempts import Attempt, Point, click_on, shaken
from sam2_plugins.core.training.labelled import LabelledVolume

_MOST_CLICKS = 5
_SHAKEN_TRUTH = 0.5
"""How often clicks begin with nearly the right mask instead of what was found."""
_HEEDED = 0.9
"""Of the clicks, those that the mask was moved by."""
_REACHES = (0.05, 0.3)
"""How far around a click the mask was moved, over the object's side."""
_SIDES = (6.0, 20.0)
"""Pixels of an object that is seen from further."""
_HARDLY_SMALLER = 0.9
_SMALLEST_SCALE = 0.15
_APART = (1, 2, 3)
"""Slices of a volume from one to the next that is kept."""
_THICKNESS = (0.3, 1.2)
"""Standard deviation of a slice's thickness, over the distance to the next."""
_NOISE = 0.1
"""Of a volume that is sliced anew, over its spread, at most."""


def clicked_often(attempt: Attempt, rng: np.random.Generator) -> Attempt:
    """One that a person has gone on with, click after click in the middle of what is most wrong.

    Each click has moved the mask around it, but for some that were not heeded.
    """
    truth = attempt.truth
    if not truth.any():
        return attempt
    if rng.random() < _SHAKEN_TRUTH:
        attempt = replace(attempt, mask=shaken(truth, rng, resized=0.12, shifted=0.06))
    if not attempt.on_object and attempt.box is None:
        attempt = replace(attempt, on_object=(click_on(truth, rng),))
    x0, y0, x1, y1 = box_of(truth)
    for _ in range(rng.integers(1, _MOST_CLICKS + 1)):
        clicked = attempt.corrected()
        new = _clicks_of(clicked) - _clicks_of(attempt)
        if not new:
            break
        if rng.random() < _HEEDED:
            reach = max(x1 - x0, y1 - y0) * rng.uniform(*_REACHES)
            near = _near(new.pop(), reach, truth.shape)
            clicked = replace(clicked, mask=np.where(near, truth, clicked.mask))
        attempt = clicked
    return attempt


def _clicks_of(attempt: Attempt) -> set[Point]:
    return {*attempt.on_object, *attempt.on_background}


def _near(point: Point, reach: float, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which pixels (H, W) are near a point (x, y)."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    apart = (columns + 0.5 - point[0]) ** 2 + (rows + 0.5 - point[1]) ** 2
    return np.asarray(apart <= reach**2)


def seen_from_further(attempt: Attempt, rng: np.random.Generator) -> Attempt:
    """One of an object of few pixels, as those of small pictures are."""
    height, width = attempt.mask.shape
    x0, y0, x1, y1 = box_of(attempt.mask)
    scale = max(rng.uniform(*_SIDES) / max(x1 - x0, y1 - y0, 1), _SMALLEST_SCALE)
    if scale > _HARDLY_SMALLER:
        return attempt
    size = max(round(width * scale), 4), max(round(height * scale), 4)
    across, down = size[0] / width, size[1] / height

    def points(clicks: tuple[Point, ...]) -> tuple[Point, ...]:
        return tuple((x * across, y * down) for x, y in clicks)

    mask, truth = (
        cv2.resize(each.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
        for each in (attempt.mask, attempt.truth)
    )
    if not mask.any():
        return attempt
    box, earlier = attempt.box, attempt.earlier
    picture = cv2.resize(attempt.picture, size, interpolation=cv2.INTER_AREA)
    return Attempt(
        np.asarray(picture, np.uint8),
        np.asarray(mask),
        np.asarray(truth),
        points(attempt.on_object),
        points(attempt.on_background),
        None if box is None else (box[0] * across, box[1] * down, box[2] * across, box[3] * down),
        None
        if earlier is None
        else np.asarray(cv2.resize(earlier, size, interpolation=cv2.INTER_AREA), np.uint8),
    )


def sliced_anew(volume: LabelledVolume, rng: np.random.Generator) -> list[LabelledVolume]:
    """The same with thick slices further apart, along each of its axes."""
    others = []
    for axis in range(3):
        apart = int(rng.choice(_APART))
        pixels = np.moveaxis(volume.volume, axis, 0).astype(np.float32)
        pixels = gaussian_filter1d(pixels, rng.uniform(*_THICKNESS) * apart, axis=0)[::apart]
        pixels = pixels + rng.normal(0, rng.uniform(0, _NOISE) * pixels.std(), pixels.shape)
        labels = np.ascontiguousarray(np.moveaxis(volume.labels, axis, 0)[::apart])
        others.append(replace(volume, volume=pixels.clip(0, 255).astype(np.uint8), labels=labels))
    return others
