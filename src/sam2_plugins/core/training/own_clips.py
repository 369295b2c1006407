"""Clips of a user's own images, videos and volumes, seen as the network will see them in use."""

import cv2
import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.training.camera import moving_image, walk_through_volume
from sam2_plugins.core.training.clips import Clip
from sam2_plugins.core.training.labelled import (
    LabelledImage,
    LabelledStack,
    LabelledVolume,
    find_instances,
)
from sam2_plugins.core.training.video_augment import augment

Frames = NDArray[np.uint8]
Labels = NDArray[np.int32]
Own = tuple[tuple[LabelledImage, ...], tuple[LabelledStack, ...]]

MIN_AREA = 24
"""Pixels at the size of training: less is not an outline but a dot."""
MAX_AREA_SHARE = 0.9
"""Objects that fill the picture are its background."""
MAX_TRIES = 40
WHOLE_CHANCE = 0.5
"""In use, a picture is seen whole, squeezed to a square; learning from parts makes it robust."""
STACK_CHANCE = 0.8
MIN_WALK = 16
"""Slices that a volume needs along every axis to be walked through across its slices."""


def own_clip(
    own: Own, rng: np.random.Generator, *, size: int, num_frames: int, num_objects: int
) -> Clip:
    """Make a clip, or with one frame an image, of a user's own data.

    Args:
        own: Images and stacks.
        rng: Source of randomness.
        size: Side S of the square frames in pixels.
        num_frames: Number of frames T.
        num_objects: Number of objects O; an object is repeated where there are fewer.

    Raises:
        ValueError: In many tries no object of a usable size was found.
    """
    for _ in range(MAX_TRIES):
        frames, labels, kind = _draw(own, rng, size=size, num_frames=num_frames)
        if num_frames > 1 and rng.random() < 0.5:
            frames, labels = frames[::-1], labels[::-1]
        frames, labels = augment(rng, frames, labels, flips_rows=kind != "video")
        areas = np.bincount(labels[0].ravel())
        areas[0] = 0
        ids = np.flatnonzero((areas >= MIN_AREA) & (areas <= MAX_AREA_SHARE * labels[0].size))
        if len(ids):
            order = rng.permutation(ids)
            chosen = [order[index % len(order)] for index in range(num_objects)]
            masks = np.stack([labels == object_id for object_id in chosen])
            return Clip(np.ascontiguousarray(frames), np.ascontiguousarray(masks), kind)
    raise ValueError(
        f"no object of {MIN_AREA} pixels and more at {size} x {size} was found; a larger "
        "--image-size, or smaller pictures, show objects larger"
    )


def _draw(
    own: Own, rng: np.random.Generator, *, size: int, num_frames: int
) -> tuple[Frames, Labels, str]:
    images, stacks = own
    takes_stack = bool(stacks) and (not images or rng.random() < STACK_CHANCE)
    if not takes_stack:
        frames, labels = _of_image(
            images[int(rng.integers(len(images)))], rng, size=size, num_frames=num_frames
        )
        return frames, labels, "image"
    stack = stacks[int(rng.integers(len(stacks)))]
    kind = "volume" if stack.is_volume else "video"
    if num_frames == 1:
        index = int(rng.integers(len(stack.frames)))
        label = stack.labels[index]
        image = LabelledImage(stack.name, stack.frames[index], label, find_instances(label))
        return (*_of_image(image, rng, size=size, num_frames=1), kind)
    if stack.is_volume and min(stack.labels.shape) >= MIN_WALK and rng.random() < 0.4:
        grey = stack.frames[..., 1]
        volume = LabelledVolume(stack.name, grey, stack.labels)
        return (*walk_through_volume(volume, rng, size=size, num_frames=num_frames), kind)
    return (*_of_stack(stack, rng, size=size, num_frames=num_frames), kind)


def _of_image(
    image: LabelledImage, rng: np.random.Generator, *, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    """An image whole, or a camera that moves over it."""
    if num_frames == 1 and rng.random() < WHOLE_CHANCE:
        frames, labels = image.image[None], image.labels[None]
        return _squeeze(frames, labels, size=size)
    return moving_image(image, rng, size=size, num_frames=num_frames)


def _of_stack(
    stack: LabelledStack, rng: np.random.Generator, *, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    """Frames that follow each other, or every second, whole or a part of them."""
    last = len(stack.frames) - 1
    stride = int(rng.integers(1, 3)) if last >= 2 * (num_frames - 1) else 1
    start = int(rng.integers(max(last - stride * (num_frames - 1), 0) + 1))
    chosen = np.minimum(start + stride * np.arange(num_frames), last)
    frames, labels = stack.frames[chosen], stack.labels[chosen]
    if rng.random() >= WHOLE_CHANCE:
        height, width = labels.shape[1:]
        share = rng.uniform(0.5, 1.0)
        rows, columns = max(int(share * height), 1), max(int(share * width), 1)
        top = int(rng.integers(height - rows + 1))
        left = int(rng.integers(width - columns + 1))
        frames = frames[:, top : top + rows, left : left + columns]
        labels = labels[:, top : top + rows, left : left + columns]
    return _squeeze(frames, labels, size=size)


def _squeeze(
    frames: NDArray[np.uint8], labels: NDArray[np.uint16], *, size: int
) -> tuple[Frames, Labels]:
    """Resize to a square, as is done in use."""
    shrinks = frames.shape[1] > size or frames.shape[2] > size
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    square = (size, size)
    resized = [cv2.resize(frame, square, interpolation=how) for frame in frames]
    ids = [cv2.resize(label, square, interpolation=cv2.INTER_NEAREST) for label in labels]
    return np.stack(resized).astype(np.uint8), np.stack(ids).astype(np.int32)
