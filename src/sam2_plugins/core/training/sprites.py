"""Cut-out objects that move, deform and are painted over a scene."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.training.motion import (
    ElasticField,
    affine,
    pixel_grid,
    sampling_map,
    smooth_walk,
)
from sam2_plugins.core.training.sources import Instance, LabelledImage
from sam2_plugins.core.training.textures import random_shape, random_texture

CUT_MARGIN = 3


@dataclass(frozen=True)
class Sprite:
    """A cut-out object.

    Attributes:
        rgba: (h, w, 4) uint8; the last channel is opacity.
    """

    rgba: NDArray[np.uint8]

    @property
    def long_side(self) -> int:
        """Longer side of the cut-out in pixels."""
        return int(max(self.rgba.shape[:2]))


@dataclass(frozen=True)
class Track:
    """Where a sprite is on each frame.

    Attributes:
        matrices: (T, 3, 3) float32, from sprite to scene pixels.
        field: Deformation of the sprite, in sprite pixels.
    """

    matrices: NDArray[np.float32]
    field: ElasticField | None


def cut_instance(source: LabelledImage, instance: Instance, *, whole: bool = False) -> Sprite:
    """Cut an instance out of its image.

    Args:
        source: The image.
        instance: Which object.
        whole: Cut out all labelled things of the image together (a person, not a sleeve).
    """
    height, width = source.labels.shape
    rows, columns = (0, height), (0, width)
    if whole:
        mask = source.labels > 0
        rows, columns = _extent(mask)
    else:
        rows, columns = instance.rows, instance.columns
    top, bottom = max(rows[0] - CUT_MARGIN, 0), min(rows[1] + CUT_MARGIN, height)
    left, right = max(columns[0] - CUT_MARGIN, 0), min(columns[1] + CUT_MARGIN, width)
    labels = source.labels[top:bottom, left:right]
    mask = (labels > 0) if whole else (labels == instance.object_id)
    alpha = cv2.GaussianBlur(mask.astype(np.uint8) * 255, (3, 3), 0)
    return Sprite(np.dstack([source.image[top:bottom, left:right], alpha]))


def cut_shape(rng: np.random.Generator, side: int, *, source: LabelledImage | None) -> Sprite:
    """Cut a random shape out of a random texture, or out of anywhere in an image.

    Args:
        rng: Source of randomness.
        side: Side of the cut-out in pixels.
        source: Image that lends its pixels; a drawn texture when None.
    """
    alpha = (random_shape(rng, side) * 255).astype(np.uint8)
    if source is None or min(source.image.shape[:2]) <= 8:
        return Sprite(np.dstack([random_texture(rng, (side, side)), alpha]))
    extent = int(min(source.image.shape[:2]) * rng.uniform(0.2, 1.0))
    top = int(rng.integers(source.image.shape[0] - extent + 1))
    left = int(rng.integers(source.image.shape[1] - extent + 1))
    patch = source.image[top : top + extent, left : left + extent]
    resized = cv2.resize(patch, (side, side), interpolation=cv2.INTER_LINEAR)
    return Sprite(np.dstack([resized, alpha]))


def recolour(rng: np.random.Generator, sprite: Sprite, *, strength: float) -> Sprite:
    """Change a sprite's brightness and colour balance by up to `strength` (1 is 100 %)."""
    gain = 1 + rng.uniform(-strength, strength, 3) * 0.5 + rng.uniform(-strength, strength) * 0.5
    colour = np.clip(sprite.rgba[..., :3] * gain + rng.uniform(-40, 40) * strength, 0, 255)
    return Sprite(np.dstack([colour.astype(np.uint8), sprite.rgba[..., 3]]))


def random_track(
    rng: np.random.Generator,
    sprite: Sprite,
    *,
    size: int,
    num_frames: int,
    speed: float,
    extent: float,
    start: tuple[float, float] | None = None,
) -> Track:
    """Draw a smooth track through a square scene.

    Args:
        rng: Source of randomness.
        sprite: What moves.
        size: Side of the scene in pixels.
        num_frames: Number of frames.
        speed: Root mean square of the motion per frame, as a share of the scene's side.
        extent: Long side of the sprite in the scene, as a share of the scene's side.
        start: (x, y) of the sprite's centre on frame 0; random inside the scene when None.
    """
    height, width = sprite.rgba.shape[:2]
    where = start if start is not None else tuple(rng.uniform(0.1, 0.9, 2) * size)
    base_scale = np.log(extent * size / max(sprite.long_side, 1))
    position = smooth_walk(rng, num_frames, channels=2, step=speed * size)
    pose = smooth_walk(rng, num_frames, channels=3, step=1.0) * rng.uniform(0, [0.12, 0.04, 0.03])
    angle = rng.uniform(-0.4, 0.4) if rng.random() < 0.5 else rng.uniform(-np.pi, np.pi)
    flip = bool(rng.random() < 0.5)
    shift = float(rng.integers(max(num_frames, 1)))
    anchor = position[int(shift)] if num_frames > 1 and start is None else position[0]
    matrices = np.stack(
        [
            affine(
                (width / 2, height / 2),
                (where[0] + offset[0] - anchor[0], where[1] + offset[1] - anchor[1]),
                angle=angle + float(change[0]),
                log_scale=float(base_scale + np.clip(change[1], -0.6, 0.6)),
                shear=float(np.clip(change[2], -0.4, 0.4)),
                flip=flip,
            )
            for offset, change in zip(position, pose, strict=True)
        ]
    )
    field = None
    if rng.random() < 0.6:
        amplitude = sprite.long_side * rng.uniform(0.01, 0.06)
        field = ElasticField(
            rng, (height, width), num_frames=num_frames, amplitude=amplitude, cells=4
        )
    return Track(matrices, field)


def paint(
    scene: NDArray[np.uint8],
    labels: NDArray[np.int32],
    *,
    sprite: Sprite,
    track: Track,
    frame_index: int,
    label: int,
) -> None:
    """Paint a sprite over a frame and its label map, in place.

    Args:
        scene: (S, S, 3) uint8, changed in place.
        labels: (S, S) int32, changed in place where the sprite is more than half opaque.
        sprite: What to paint.
        track: Where.
        frame_index: Which row of the track.
        label: Value for the label map.
    """
    matrix = track.matrices[frame_index]
    window = _window(matrix, sprite, size=scene.shape[0])
    if window is None:
        return
    top, bottom, left, right = window
    grid = pixel_grid((bottom - top, right - left), origin=(left, top))
    columns, rows = sampling_map(matrix, grid)
    if track.field is not None:
        size = (sprite.rgba.shape[1], sprite.rgba.shape[0])
        across, down = track.field.at(frame_index)
        inside_x = np.clip(columns, 0, size[0] - 1).astype(np.intp)
        inside_y = np.clip(rows, 0, size[1] - 1).astype(np.intp)
        columns = columns + across[inside_y, inside_x]
        rows = rows + down[inside_y, inside_x]
    moved = cv2.remap(sprite.rgba, columns, rows, cv2.INTER_LINEAR, borderValue=(0, 0, 0, 0))
    alpha = moved[..., 3:].astype(np.float32) / 255
    below = scene[top:bottom, left:right]
    scene[top:bottom, left:right] = (below * (1 - alpha) + moved[..., :3] * alpha).astype(np.uint8)
    labels[top:bottom, left:right][alpha[..., 0] > 0.5] = label


def _window(
    matrix: NDArray[np.float32], sprite: Sprite, *, size: int
) -> tuple[int, int, int, int] | None:
    """Return top, bottom, left, right of a moved sprite inside the scene, None when outside."""
    height, width = sprite.rgba.shape[:2]
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float32)
    moved = corners @ matrix[:2].T
    left, top = np.maximum(np.floor(moved.min(0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(moved.max(0)).astype(int) + 1, size)
    if right - left < 2 or bottom - top < 2:
        return None
    return int(top), int(bottom), int(left), int(right)


def _extent(mask: NDArray[np.bool_]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the first and one past the last row, and likewise column, that hold the mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)
