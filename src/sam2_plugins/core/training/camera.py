"""A camera that moves over labelled images and through labelled volumes."""

import math

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
from sam2_plugins.core.training.sources import LabelledImage, LabelledVolume

Frames = NDArray[np.uint8]
Labels = NDArray[np.int32]


def moving_image(
    source: LabelledImage,
    rng: np.random.Generator,
    *,
    size: int,
    num_frames: int,
    max_shrink: float = math.inf,
) -> tuple[Frames, Labels]:
    """Move a camera over an image that bends a little.

    Args:
        source: The image.
        rng: Source of randomness.
        size: Side S of the frames in pixels.
        num_frames: Number of frames T.
        max_shrink: At most so many pixels of the image become one.

    Returns:
        (T, S, S, 3) uint8 and (T, S, S) int32, the image's own labels.
    """
    height, width = source.labels.shape
    share = rng.uniform(0.45, 1.0) if rng.random() < 0.6 else 1.0
    extent = share * min(height, width, max_shrink * size)
    x0 = rng.uniform(extent / 2, width - extent / 2) if width > extent else width / 2
    y0 = rng.uniform(extent / 2, height - extent / 2) if height > extent else height / 2
    pan = smooth_walk(rng, num_frames, channels=2, step=extent * rng.uniform(0, 0.05))
    pose = smooth_walk(rng, num_frames, channels=3, step=1.0) * rng.uniform(0, [0.04, 0.03, 0.01])
    angle = rng.normal(0, 0.15) if rng.random() < 0.6 else rng.uniform(-np.pi, np.pi)
    bend = rng.uniform(0, 0.03) * size if rng.random() < 0.6 else 0.0
    field = ElasticField(rng, (size, size), num_frames=num_frames, amplitude=bend)
    window = max(int(extent / size), 1) if extent > 1.5 * size else 1
    pixels = cv2.blur(source.image, (window, window))
    label_map = source.labels.astype(np.float32)
    x, y = pixel_grid((size, size))
    frames, labels = [], []
    for frame in range(num_frames):
        matrix = affine(
            (float(x0 + pan[frame, 0]), float(y0 + pan[frame, 1])),
            (size / 2, size / 2),
            angle=float(angle + pose[frame, 0]),
            log_scale=float(np.log(size / extent) + pose[frame, 1]),
            shear=float(pose[frame, 2]),
        )
        across, down = field.at(frame)
        columns, rows = sampling_map(matrix, (x + across, y + down))
        border = cv2.BORDER_REFLECT_101
        frames.append(cv2.remap(pixels, columns, rows, cv2.INTER_LINEAR, borderMode=border))
        label = cv2.remap(label_map, columns, rows, cv2.INTER_NEAREST, borderMode=border)
        labels.append(label.astype(np.int32))
    return np.stack(frames), np.stack(labels)


def walk_through_volume(
    source: LabelledVolume, rng: np.random.Generator, *, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    """Walk through a volume along any axis, turned, zoomed and with steps of one or two slices.

    Args:
        source: The volume.
        rng: Source of randomness.
        size: Side S of the frames in pixels.
        num_frames: Number of frames T; the last slice is repeated in a volume that has fewer.

    Returns:
        (T, S, S, 3) uint8 and (T, S, S) int32, the volume's own labels.
    """
    axis = int(rng.integers(3))
    volume = np.moveaxis(source.volume, axis, 0)
    label_volume = np.moveaxis(source.labels, axis, 0)
    stride = int(rng.integers(1, 3))
    reach = stride * (num_frames - 1) + 1
    if reach > len(volume):
        stride, reach = 1, num_frames
    start = int(rng.integers(max(len(volume) - reach, 0) + 1))
    slices = np.minimum(start + stride * np.arange(num_frames), len(volume) - 1)
    if rng.random() < 0.3:
        volume = np.clip((volume.astype(np.int16) - 60) * rng.uniform(1, 2), 0, 255)
    height, width = volume.shape[1:]
    share = rng.uniform(0.4, 1.0)
    extent_x, extent_y = share * width, share * height
    matrix = affine(
        (
            rng.uniform(extent_x / 2, width - extent_x / 2),
            rng.uniform(extent_y / 2, height - extent_y / 2),
        ),
        (size / 2, size / 2),
        angle=rng.normal(0, 0.3),
        log_scale=float(np.log(size / extent_x)),
    )
    # Stretch the rows about the middle, so that both extents fill the square.
    stretch = extent_x / extent_y
    matrix[1] *= stretch
    matrix[1, 2] += size / 2 * (1 - stretch)
    columns, rows = sampling_map(matrix, pixel_grid((size, size)))
    border = cv2.BORDER_REFLECT_101
    frames, labels = [], []
    for index in slices:
        grey = volume[index].astype(np.float32)
        grey = cv2.remap(grey, columns, rows, cv2.INTER_LINEAR, borderMode=border)
        ids = label_volume[index].astype(np.float32)
        labels.append(cv2.remap(ids, columns, rows, cv2.INTER_NEAREST, borderMode=border))
        frames.append(np.clip(grey, 0, 255).astype(np.uint8))
    shown = np.repeat(np.stack(frames)[..., None], 3, axis=-1)
    return shown, _smooth_labels(np.stack(labels).astype(np.int32), size / extent_x)


def _smooth_labels(labels: Labels, zoom: float) -> Labels:
    """Round the stairs that zooming leaves on the borders of labels."""
    window = 2 * int(zoom / 2) + 1
    if window < 3:
        return labels
    smooth = [cv2.medianBlur(label.astype(np.uint16), min(window, 5)) for label in labels]
    return np.stack(smooth).astype(np.int32)
