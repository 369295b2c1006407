"""Scenes with moving cut-outs: distractors that look alike, occluders, drifting nuclei."""

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.training.motion import smooth_walk
from sam2_plugins.core.training.sources import LabelledImage, TrainingData
from sam2_plugins.core.training.sprites import (
    Sprite,
    Track,
    cut_instance,
    cut_shape,
    paint,
    random_track,
    recolour,
)
from sam2_plugins.core.training.textures import fractal_noise, random_texture

Frames = NDArray[np.uint8]
Labels = NDArray[np.int32]

FIRST_PASTED_LABEL = 1000


def pasted_scene(
    data: TrainingData, rng: np.random.Generator, *, frames: Frames, labels: Labels
) -> tuple[Frames, Labels]:
    """Paste moving objects, look-alikes of them and occluders over a clip.

    Args:
        data: Where the objects are cut from.
        rng: Source of randomness.
        frames: (T, S, S, 3) uint8, the background.
        labels: (T, S, S) int32, the background's own objects.

    Returns:
        The frames and labels with the pasted objects on top.
    """
    num_frames, size = frames.shape[:2]
    frames, labels = frames.copy(), labels.copy()
    if rng.random() < 0.25:
        frames[:] = random_texture(rng, (size, size))
        labels[:] = 0
    speed = float(np.exp(rng.uniform(np.log(0.004), np.log(0.09))))
    layers: list[tuple[Sprite, Track]] = []
    for _ in range(int(rng.integers(1, 5))):
        sprite = _random_sprite(data, rng, size=size)
        extent = rng.uniform(0.12, 0.65)
        copies = int(rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15]))
        for copy in range(copies):
            layers.append(
                _place(
                    rng,
                    sprite,
                    size=size,
                    num_frames=num_frames,
                    motion=(speed, extent),
                    is_copy=copy > 0,
                )
            )
    order = rng.permutation(len(layers))
    for position, index in enumerate(order):
        sprite, track = layers[index]
        for frame in range(num_frames):
            paint(
                frames[frame],
                labels[frame],
                sprite=sprite,
                track=track,
                frame_index=frame,
                label=FIRST_PASTED_LABEL + position,
            )
    if num_frames > 1 and rng.random() < 0.5:
        _pass_occluder(data, rng, frames=frames, labels=labels)
    return frames, labels


def nuclei_scene(
    data: TrainingData, rng: np.random.Generator, *, size: int, num_frames: int
) -> tuple[Frames, Labels]:
    """Let the nuclei of one image drift, turn and deform on a plain background.

    Args:
        data: Where the nuclei are cut from (`dsb2018`).
        rng: Source of randomness.
        size: Side S of the frames in pixels.
        num_frames: Number of frames T.

    Returns:
        (T, S, S, 3) uint8 and (T, S, S) int32.
    """
    pool = data.images["dsb2018"]
    source = pool[int(rng.integers(len(pool)))]
    colour = np.median(source.image[source.labels == 0].reshape(-1, 3), axis=0)
    unevenness = rng.uniform(0, 15) * fractal_noise(rng, (size, size), finest=max(size // 8, 2))
    ground = np.clip(colour + unevenness[..., None], 0, 255).astype(np.uint8)
    frames = np.repeat(ground[None], num_frames, axis=0)
    labels = np.zeros((num_frames, size, size), np.int32)
    extent = rng.uniform(0.06, 0.3)
    count = int(np.clip(rng.uniform(0.2, 0.9) / extent**2, 3, 40))
    speed = extent * float(np.exp(rng.uniform(np.log(0.03), np.log(0.6))))
    areas = np.array([instance.area for instance in source.instances])
    big = [i for i in source.instances if i.area >= np.median(areas) * 0.5]
    for index in range(count):
        sprite = cut_instance(source, big[int(rng.integers(len(big)))])
        sprite = recolour(rng, sprite, strength=0.2)
        own = extent * float(np.exp(rng.normal(0, 0.2)))
        _, track = _place(
            rng,
            sprite,
            size=size,
            num_frames=num_frames,
            motion=(speed, own),
            is_copy=False,
        )
        for frame in range(num_frames):
            paint(
                frames[frame],
                labels[frame],
                sprite=sprite,
                track=track,
                frame_index=frame,
                label=index + 1,
            )
    return frames, labels


def _place(
    rng: np.random.Generator,
    sprite: Sprite,
    *,
    size: int,
    num_frames: int,
    motion: tuple[float, float],
    is_copy: bool,
) -> tuple[Sprite, Track]:
    """Give a sprite a track; a copy changes its colours a little, or not at all."""
    speed, extent = motion
    if is_copy and rng.random() < 0.6:
        sprite = recolour(rng, sprite, strength=0.15)
    own_speed = speed * float(np.exp(rng.normal(0, 0.4)))
    track = random_track(
        rng,
        sprite,
        size=size,
        num_frames=num_frames,
        speed=own_speed,
        extent=extent * float(np.exp(rng.normal(0, 0.15))),
    )
    return sprite, track


def _random_sprite(data: TrainingData, rng: np.random.Generator, *, size: int) -> Sprite:
    """Cut an instance, a whole group of parts, or a random shape."""
    sets = [name for name in ("clothing", "fruits_nuts", "dsb2018") if data.images.get(name)]
    weights = np.array([{"clothing": 0.6, "fruits_nuts": 0.25, "dsb2018": 0.15}[s] for s in sets])
    if rng.random() < 0.4 or not sets:
        lender = _random_image(data, rng, sets=sets) if sets and rng.random() < 0.6 else None
        return cut_shape(rng, int(rng.integers(size // 4, size)), source=lender)
    name = sets[int(rng.choice(len(sets), p=weights / weights.sum()))]
    source = data.images[name][int(rng.integers(len(data.images[name])))]
    instance = source.instances[int(rng.integers(len(source.instances)))]
    whole = name == "clothing" and rng.random() < 0.5
    return recolour(rng, cut_instance(source, instance, whole=whole), strength=0.2)


def _random_image(
    data: TrainingData, rng: np.random.Generator, *, sets: list[str]
) -> LabelledImage:
    pool = data.images[sets[int(rng.integers(len(sets)))]]
    return pool[int(rng.integers(len(pool)))]


def _pass_occluder(
    data: TrainingData, rng: np.random.Generator, *, frames: Frames, labels: Labels
) -> None:
    """Let something unlabelled pass over a chosen object, in place."""
    num_frames, size = frames.shape[:2]
    shown = [label for label in np.unique(labels[0]) if label]
    if not shown:
        return
    target = int(shown[int(rng.integers(len(shown)))])
    when = int(rng.integers(1, num_frames))
    rows, columns = np.nonzero(labels[when] == target)
    if not len(rows):
        rows, columns = np.nonzero(labels[0] == target)
    meeting = np.array([columns.mean(), rows.mean()])
    reach = max(np.ptp(columns), np.ptp(rows), 4) / size * rng.uniform(0.7, 1.8)
    sprite = _random_sprite(data, rng, size=size)
    track = random_track(
        rng,
        sprite,
        size=size,
        num_frames=num_frames,
        speed=0.002,
        extent=min(reach, 0.9),
        start=(0.0, 0.0),
    )
    direction = rng.uniform(0, 2 * np.pi)
    pace = rng.uniform(0.5, 1.5) * reach * size * np.array([np.cos(direction), np.sin(direction)])
    wander = smooth_walk(rng, num_frames, channels=2, step=0.01 * size)
    for frame in range(num_frames):
        track.matrices[frame, :2, 2] += meeting + pace * (frame - when) + wander[frame]
        if frame:
            paint(
                frames[frame],
                labels[frame],
                sprite=sprite,
                track=track,
                frame_index=frame,
                label=0,
            )
