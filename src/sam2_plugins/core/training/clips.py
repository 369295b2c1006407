"""Clips to learn from: frames, the objects to follow, and every look a scene can have."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.training.appearance import (
    degrade,
    expose,
    is_grey,
    permute_colours,
    restyle,
)
from sam2_plugins.core.training.clip_kinds import (
    BUILDERS,
    CLIP_KINDS,
    IMAGE_KINDS,
    is_available,
)
from sam2_plugins.core.training.looking_closer import look_closer
from sam2_plugins.core.training.sources import TrainingData

Frames = NDArray[np.uint8]
Labels = NDArray[np.int32]

MIN_AREA_SHARE = 0.0012
MIN_AREA = 72
"""Pixels: less than some five cells of the low-res mask teaches nothing about outlines."""
MAX_AREA_SHARE = 0.7
MAX_TRIES = 20
CLOSEUP_SOURCE = 512
"""Pixels: side of the largest clip that is made to cut a window out of."""
GREY_EXPOSED = 0.8
"""How often a grey clip is scaled to its percentiles; else it may be as dim as its file."""


@dataclass(frozen=True)
class Clip:
    """Frames and the objects to follow.

    Attributes:
        frames: (T, S, S, 3) uint8.
        masks: (O, T, S, S) bool; every object is visible on frame 0.
        kind: Which builder made it.
        labels: (S, S) int32, everything that is labelled on the first frame; None if not known.
    """

    frames: Frames
    masks: NDArray[np.bool_]
    kind: str
    labels: Labels | None = None


def make_clip(
    data: TrainingData,
    seed: int | tuple[int, ...],
    *,
    size: int,
    num_frames: int,
    num_objects: int,
    kinds: Mapping[str, float] | None = None,
    closeups: float = 0.0,
) -> Clip:
    """Build one clip; the same arguments give the same clip.

    Args:
        data: What to draw from.
        seed: Seed of all randomness.
        size: Side S of the square frames in pixels.
        num_frames: Number of frames T; one makes an image.
        num_objects: Number of objects O; an object is repeated when a clip has fewer.
        kinds: Weight of each kind (names of `BUILDERS`); the mix for images or for clips if None.
        closeups: Chance that it is seen through a window around one object, see `look_closer`.

    Returns:
        The clip.

    Raises:
        ValueError: If the data lacks what every one of the kinds is made of.
        RuntimeError: If no clip with a usable object came out of many tries.
    """
    rng = np.random.default_rng(seed)
    weights = kinds or (CLIP_KINDS if num_frames > 1 else IMAGE_KINDS)
    names = [name for name in weights if is_available(name, data)]
    if not names:
        raise ValueError(f"the data has nothing to make a clip of the kinds {sorted(weights)} of")
    chances = np.array([weights[name] for name in names])
    for _ in range(MAX_TRIES):
        kind = str(rng.choice(names, p=chances / chances.sum()))
        is_close = closeups > 0 and rng.random() < closeups
        made_size = max(size, min(2 * size, CLOSEUP_SOURCE)) if is_close else size
        frames, labels = BUILDERS[kind](data, rng, size=made_size, num_frames=num_frames)
        if num_frames > 1 and rng.random() < 0.5:
            frames, labels = frames[::-1], labels[::-1]
        if is_close:
            closeup = look_closer(rng, frames, labels, size=size)
            if closeup is None:
                continue
            frames, labels = closeup
        chosen = _choose_objects(rng, labels[0], count=num_objects)
        if chosen is None:
            continue
        frames = permute_colours(rng, frames) if rng.random() < 0.2 else frames
        frames = _vary_appearance(rng, np.ascontiguousarray(frames), labels=labels)
        masks = np.stack([np.isin(labels, ids) for ids in chosen])
        if rng.random() < 0.5:
            frames, masks, labels = frames[:, :, ::-1], masks[..., ::-1], labels[..., ::-1]
        if kind not in ("scene", "photo") and rng.random() < 0.5:
            frames, masks, labels = frames[:, ::-1], masks[..., ::-1, :], labels[:, ::-1]
        return Clip(
            np.ascontiguousarray(frames),
            np.ascontiguousarray(masks),
            kind,
            np.ascontiguousarray(labels[0]),
        )
    raise RuntimeError(f"no object of usable size in {MAX_TRIES} tries; seed {seed}")


def _vary_appearance(rng: np.random.Generator, frames: Frames, *, labels: Labels) -> Frames:
    """Change how a clip looks; grey ones are mostly scaled as they will be when they are used."""
    if is_grey(frames) and rng.random() < GREY_EXPOSED:
        frames = expose(frames)
    frames = degrade(rng, restyle(rng, frames, labels=labels))
    return expose(frames) if is_grey(frames) and rng.random() < 0.6 else frames


def _choose_objects(
    rng: np.random.Generator, labels: Labels, *, count: int
) -> list[NDArray[np.int64]] | None:
    """Choose objects visible on a label map: each a list of ids. None when there is none."""
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    usable = (areas >= max(MIN_AREA_SHARE * labels.size, MIN_AREA)) & (
        areas <= MAX_AREA_SHARE * labels.size
    )
    ids = np.flatnonzero(usable)
    if not len(ids):
        return None
    order = rng.permutation(ids)
    return [order[index % len(order) : index % len(order) + 1] for index in range(count)]
