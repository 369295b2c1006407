"""Masks that are nearly right, beside what they should be.

Some are answers of the model, see `training.retouch`; others are made here, by spoiling what is
right: those are of many more objects than there is time to click on.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from sam2_plugins.core.closeups import Extent
from sam2_plugins.core.evaluation.clicks import next_click
from sam2_plugins.core.mask_regions import distances_inside
from sam2_plugins.core.masks import resize_logits
from sam2_plugins.core.motion import TRUST, carry, measure_motion
from sam2_plugins.core.portraits import square_around
from sam2_plugins.core.prompts import OBJECT
from sam2_plugins.core.retouching import corners_of
from sam2_plugins.core.stored_masks import box_of
from sam2_plugins.core.training.clips import Clip
from sam2_plugins.core.training.labelled import LabelledImage, LabelledVolume
from sam2_plugins.core.windows import Window

_KEPT = 3.0
"""Side of what is kept of a picture, over that of the box around what is to be seen on it."""

Mask = NDArray[np.bool_]
Picture = NDArray[np.uint8]
Point = tuple[float, float]

_OFF_MIDDLE, _DEPTH = 0.4, 0.5
"""Share of the clicks that are not in the middle of an object, and how deep they are at least, as a
part of the depth there."""
_BOX_ERROR = 0.05
"""Standard deviation of the sides of a box, over its length."""
_LEAST_PIXELS = 8
"""Of an object on a slice."""
_GONE = 0.35
"""Share of the walks that look for an object which ends."""
_SKIPPED = 0.15
"""Share of the walks that leave out a slice."""


@dataclass(frozen=True)
class Attempt:
    """A mask of one object, what it was made from, and what it should be.

    Attributes:
        picture: (H, W, 3) RGB.
        mask: (H, W).
        truth: (H, W); empty where the object is gone.
        on_object: Clicks (x, y).
        on_background: Likewise.
        box: (x0, y0, x1, y1).
        earlier: (H, W, 3), the frame before, of a mask that was tracked.
    """

    picture: Picture
    mask: Mask
    truth: Mask
    on_object: tuple[Point, ...] = ()
    on_background: tuple[Point, ...] = ()
    box: Extent | None = None
    earlier: Picture | None = None

    def cropped(self) -> "Attempt":
        """The same without what is far from it."""
        corners = corners_of(self.mask, [*self.on_object, *self.on_background], box=self.box)
        plane = Window(0, 0, self.mask.shape[1], self.mask.shape[0])
        part = square_around(corners, scale=_KEPT).shared(plane)
        points, others = (
            tuple((x - part.x0, y - part.y0) for x, y in clicks)
            for clicks in (self.on_object, self.on_background)
        )
        box = self.box
        if box is not None:
            x0, y0, x1, y1 = box
            box = x0 - part.x0, y0 - part.y0, x1 - part.x0, y1 - part.y0
        mask, truth = (each[part.slices].copy() for each in (self.mask, self.truth))
        earlier = None if self.earlier is None else self.earlier[part.slices].copy()
        picture = self.picture[part.slices].copy()
        return Attempt(picture, mask, truth, points, others, box, earlier)

    def corrected(self) -> "Attempt":
        """The same with a click in the middle of what is most wrong."""
        click = next_click(self.truth, self.mask)
        if click is None:
            return self
        point = (click.x + 0.5, click.y + 0.5)
        if click.point_label == OBJECT:
            return replace(self, on_object=(*self.on_object, point))
        return replace(self, on_background=(*self.on_background, point))


def click_on(truth: Mask, rng: np.random.Generator, *, depth: float = _DEPTH) -> Point:
    """A click (x, y) in the middle of an object, or beside it.

    Args:
        truth: (H, W), the object.
        rng: Draws it.
        depth: How deep a click beside the middle is at least, as a part of the depth there.
    """
    inside = distances_inside(truth)
    least = depth if rng.random() < _OFF_MIDDLE else 1.0
    rows, columns = np.nonzero(inside >= least * inside.max())
    place = rng.integers(len(rows))
    return columns[place] + 0.5, rows[place] + 0.5


def draw_box(truth: Mask, rng: np.random.Generator, *, error: float = _BOX_ERROR) -> Extent | None:
    """A box around an object as somebody draws it; None if nothing would be in it."""
    x0, y0, x1, y1 = box_of(truth)
    shift = rng.normal(0, error, 4) * np.array([x1 - x0, y1 - y0] * 2)
    left, top, right, bottom = np.array([x0, y0, x1, y1]) + shift
    height, width = truth.shape
    box = max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
    return box if box[2] - box[0] > 2 and box[3] - box[1] > 2 else None


def spoil_one(image: LabelledImage, rng: np.random.Generator) -> Attempt:
    """An object of an image whose mask is spoiled, as clicks and boxes spoil masks."""
    instance = image.instances[rng.integers(len(image.instances))]
    truth = image.labels == instance.object_id
    mask = spoiled(truth, image.labels, rng)
    box = draw_box(truth, rng) if rng.random() < 0.3 else None
    clicks = () if box is not None else (click_on(truth, rng),)
    return Attempt(image.image, mask, truth, clicks, box=box)


def spoiled(truth: Mask, labels: NDArray[np.uint16], rng: np.random.Generator) -> Mask:
    """A mask with a neighbour, without a part of it, or a mere ellipse; and shifted and resized."""
    x0, y0, x1, y1 = box_of(truth)
    side, kind = max(x1 - x0, y1 - y0), rng.random()
    mask = truth
    if kind < 0.15:
        around = np.unique(labels[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2])
        others = [label for label in around if label and not (labels[truth] == label).any()]
        if others:
            mask = mask | (labels == rng.choice(others))
    elif kind < 0.3:
        turn = rng.uniform(0, 2 * np.pi)
        rows, columns = np.indices(mask.shape)
        across = (columns - (x0 + x1) / 2) * np.cos(turn) + (rows - (y0 + y1) / 2) * np.sin(turn)
        mask = mask & (across < side * rng.uniform(-0.15, 0.3))
    elif kind < 0.4:
        middle = np.array([x0 + x1, y0 + y1]) / 2 + rng.normal(0, 0.1 * side, 2)
        axes = np.array([x1 - x0, y1 - y0]) * rng.uniform(0.3, 0.7, 2)
        (x, y), (width, height) = middle.round().astype(int), axes.round().astype(int).clip(1)
        canvas = np.zeros(mask.shape, np.uint8)
        mask = (
            cv2.ellipse(canvas, (int(x), int(y)), (int(width), int(height)), 0, 0, 360, 1, -1) > 0
        )
    return shaken(mask, rng, resized=0.12, shifted=0.06)


def shaken(mask: Mask, rng: np.random.Generator, *, resized: float, shifted: float) -> Mask:
    """A mask that grew or shrank, and moved, by parts of its side on average."""
    if not mask.any():
        return mask
    x0, y0, x1, y1 = box_of(mask)
    side, drawn = max(x1 - x0, y1 - y0), mask.astype(np.uint8)
    reach = round(abs(rng.normal()) * resized * side)
    if reach:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        drawn = (cv2.dilate if rng.random() < 0.6 else cv2.erode)(drawn, kernel)  # type: ignore[assignment]
    x, y = rng.normal(0, shifted * side, 2)
    shift = np.array([[1, 0, x], [0, 1, y]])
    moved = cv2.warpAffine(drawn, shift, mask.shape[::-1], flags=cv2.INTER_NEAREST) > 0
    return moved if moved.any() else mask


def walk_on(volume: LabelledVolume, rng: np.random.Generator) -> Attempt | None:
    """An object of a volume as it was on the slice before, along any axis; None for bad luck."""
    axis, step = rng.integers(3), int(rng.choice([-1, 1])) * (2 if rng.random() < _SKIPPED else 1)
    pixels = np.moveaxis(volume.volume, axis, 0)
    labels = np.moveaxis(volume.labels, axis, 0)
    before = int(rng.integers(len(labels)))
    now = before + step
    if not 0 <= now < len(labels):
        return None
    areas = np.bincount(labels[before].ravel())
    there = np.flatnonzero(areas >= _LEAST_PIXELS)
    there = there[there > 0]
    if rng.random() < _GONE:
        left = np.bincount(labels[now].ravel(), minlength=len(areas))
        ending = there[left[there] < 3]
        there = ending if len(ending) else there
    if not len(there):
        return None
    object_id = rng.choice(there)
    mask = labels[before] == object_id
    if rng.random() < 0.6:
        mask = shaken(mask, rng, resized=0.06, shifted=0.04)
    picture, earlier = (np.repeat(pixels[z][..., None], 3, -1) for z in (now, before))
    return Attempt(picture, mask, labels[now] == object_id, earlier=earlier)


def move_one(image: LabelledImage, rng: np.random.Generator) -> Attempt:
    """An object of an image as it is carried to the next frame, all of which moved a little."""
    instance = image.instances[rng.integers(len(image.instances))]
    truth = image.labels == instance.object_id
    middle = (sum(instance.columns) / 2, sum(instance.rows) / 2)
    side = max(np.ptp(instance.columns), np.ptp(instance.rows))
    turn = cv2.getRotationMatrix2D(middle, rng.normal(0, 4), np.exp(rng.normal(0, 0.04)))
    turn[:, 2] = turn[:, 2] + rng.normal(0, 0.05 * side, 2)
    size = truth.shape[::-1]
    now = cv2.warpAffine(image.image, turn, size, borderMode=cv2.BORDER_REFLECT)
    there = cv2.warpAffine(truth.astype(np.uint8), turn, size) > 0
    mask = shaken(there, rng, resized=0.06, shifted=0.04)
    return Attempt(np.asarray(now, np.uint8), mask, there, earlier=image.image)


def carried_on(clip: Clip, rng: np.random.Generator) -> list[Attempt]:
    """The right masks of a clip, carried from each frame to the next and back by optical flow."""
    pictures = [np.asarray(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), np.uint8) for f in clip.frames]
    attempts = []
    for before, now in [pair for n in range(1, len(pictures)) for pair in ((n - 1, n), (n, n - 1))]:
        motion = torch.from_numpy(measure_motion(pictures[now], pictures[before]))[None]
        for masks in clip.masks:
            if np.count_nonzero(masks[before]) < _LEAST_PIXELS:
                continue
            logits = torch.from_numpy(np.where(masks[before], TRUST, -TRUST))[None, None]
            size = (motion.shape[1], motion.shape[2])
            cells = functional.interpolate(logits.float(), size=size, mode="area")
            carried = resize_logits(carry(cells, motion)[0], masks[now].shape)[0] > 0
            mask = carried.numpy()
            if rng.random() < 0.6:
                mask = shaken(mask, rng, resized=0.06, shifted=0.04)
            if mask.any():
                frames = clip.frames[now], clip.frames[before]
                one = Attempt(frames[0], mask, masks[now], earlier=frames[1])
                attempts.append(one.cropped())
    return attempts
