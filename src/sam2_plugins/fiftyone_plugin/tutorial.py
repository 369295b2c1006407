"""A small dataset to try everything on: three generated videos with prompts and true masks.

`python -m sam2_plugins.fiftyone_plugin.tutorial` makes it. What is hard in each video is what is
hard in real ones: things that look alike, one passing behind another, one leaving and coming back.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from sam2_plugins.fiftyone_plugin.importing import import_fiftyone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["NAME", "make_dataset", "make_scenes"]

NAME = "sam2-tutorial"
NUM_FRAMES = 40
SIZE = (192, 256)
FPS = 10


@dataclass(frozen=True, slots=True)
class Thing:
    """What moves: a bent ellipse with a pattern of its own.

    Attributes:
        label: Its class.
        colour: (R, G, B).
        radii: Of the ellipse, (x, y) pixels.
        path: (x, y) by which it passes, as shares of the frame, at equal times; beyond 0 to 1 is
            outside.
        turn: Degrees it turns by the end.
    """

    label: str
    colour: tuple[int, int, int]
    radii: tuple[float, float]
    path: tuple[tuple[float, float], ...]
    turn: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One video, and what is in it.

    Attributes:
        name: Of the file.
        labels: Classes of objects 1, 2, …
        frames: (T, H, W, 3) uint8 RGB.
        truth: (T, H, W) uint8, object ids, 0 is nothing.
        prompts: (object id, 0-based frame index, kind), kind one of box, points, polygon.
    """

    name: str
    labels: tuple[str, ...]
    frames: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    prompts: tuple[tuple[int, int, str], ...] = field(default=())


_SCENES: dict[str, tuple[tuple[Thing, ...], tuple[tuple[int, int, str], ...]]] = {
    "crossing": (
        (
            Thing("fish", (235, 130, 40), (26, 16), ((0.15, 0.4), (0.85, 0.55)), 20),
            Thing("fish", (60, 140, 220), (28, 17), ((0.85, 0.35), (0.15, 0.65)), -20),
        ),
        ((1, 0, "box"), (2, 0, "box")),
    ),
    "leaving": (
        (
            Thing("ball", (220, 60, 70), (20, 20), ((0.4, 0.5), (1.2, 0.4), (0.45, 0.6))),
            Thing("stone", (130, 120, 110), (30, 22), ((0.2, 0.75), (0.3, 0.72)), 8),
        ),
        ((1, 5, "points"), (2, 20, "polygon")),
    ),
    "crowd": (
        (
            Thing("cell", (90, 190, 120), (17, 15), ((0.2, 0.25), (0.45, 0.35)), 40),
            Thing("cell", (100, 180, 110), (18, 14), ((0.5, 0.7), (0.3, 0.6)), -30),
            Thing("cell", (85, 200, 130), (15, 17), ((0.8, 0.3), (0.65, 0.5)), 30),
        ),
        ((1, 0, "box"), (2, 39, "box"), (3, 20, "points")),
    ),
}


def make_scenes() -> list[Scene]:
    """The three videos; always the same."""
    scenes = []
    for number, (name, (things, prompts)) in enumerate(_SCENES.items()):
        frames, truth = _paint(things, np.random.default_rng(number))
        labels = tuple(thing.label for thing in things)
        scenes.append(Scene(name, labels, frames, truth, prompts))
    return scenes


def _paint(
    things: Sequence[Thing], random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Later things pass in front of earlier ones."""
    # Calm and grey: the bundled model is small, and takes coarse coloured grain for things.
    grey = 105 + 8 * _noise(SIZE, 30, random) + 3 * _noise(SIZE, 1.5, random)
    ground = np.repeat(grey[..., None], 3, axis=-1)
    patterns = [_noise((96, 96), 4, random) for _ in things]
    frames = np.empty((NUM_FRAMES, *SIZE, 3), np.uint8)
    truth = np.zeros((NUM_FRAMES, *SIZE), np.uint8)
    for index, share in enumerate(np.linspace(0, 1, NUM_FRAMES)):
        picture = ground + random.normal(0, 2, (*SIZE, 1))
        for object_id, (thing, pattern) in enumerate(zip(things, patterns, strict=True), 1):
            inside, shade = _shape(thing, pattern, float(share))
            picture[inside] = (np.array(thing.colour) * shade[..., None])[inside]
            truth[index][inside] = object_id
        softened = ndimage.gaussian_filter(picture, (0.6, 0.6, 0))
        frames[index] = softened.clip(0, 255).astype(np.uint8)
    return frames, truth


def _shape(
    thing: Thing, pattern: NDArray[np.float64], share: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """(H, W) where the thing is, and how bright its pattern is there."""
    height, width = SIZE
    times = np.linspace(0, 1, len(thing.path))
    x, y = (np.interp(share, times, [point[axis] for point in thing.path]) for axis in (0, 1))
    rows, columns = np.mgrid[:height, :width]
    angle = math.radians(thing.turn * share)
    across, down = columns - x * width, rows - y * height
    u = across * math.cos(angle) + down * math.sin(angle)
    v = down * math.cos(angle) - across * math.sin(angle)
    v = v + 0.1 * thing.radii[1] * np.sin(u / thing.radii[0] * 2)
    distance = (u / thing.radii[0]) ** 2 + (v / thing.radii[1]) ** 2
    middle = np.array(pattern.shape) // 2
    place = (v + middle[0]).clip(0, 95).astype(int), (u + middle[1]).clip(0, 95).astype(int)
    return distance < 1, 1 + 0.12 * pattern[place] - 0.25 * distance.clip(0, 1)


def _noise(size: tuple[int, int], sigma: float, random: np.random.Generator) -> NDArray[np.float64]:
    noise = ndimage.gaussian_filter(random.standard_normal(size), sigma)
    return np.asarray(noise / noise.std())


def make_dataset(folder: str | Path, name: str = NAME, *, overwrite: bool = False) -> Any:
    """Writes the videos and makes the dataset, with frame fields `prompts` and `ground_truth`.

    Args:
        folder: For the videos; is made.
        name: Of the dataset, which stays in FiftyOne's database.
        overwrite: Whether a dataset of that name may be replaced.

    Returns:
        The `fo.Dataset`.

    Raises:
        ValueError: There is a dataset of that name.
        OSError: The videos cannot be written.
    """
    fo = import_fiftyone()
    if fo.dataset_exists(name) and not overwrite:
        raise ValueError(f"there is a dataset {name!r} already; choose another name or overwrite")
    folder = Path(folder).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for scene in make_scenes():
        path = folder / f"{scene.name}.mp4"
        write_video(path, scene.frames)
        samples.append(_make_sample(fo, path, scene))
    dataset = fo.Dataset(name, persistent=True, overwrite=overwrite)
    dataset.add_samples(samples, progress=False)
    dataset.add_dynamic_frame_fields()
    dataset.compute_metadata(progress=False)
    return dataset


def _make_sample(fo: Any, path: Path, scene: Scene) -> Any:
    from sam2_plugins.fiftyone_plugin.labels import (
        Identity,
        make_instance_id,
        make_mask_detection,
    )

    def who(object_id: int) -> Identity:
        instance = make_instance_id("tutorial", scene.name, str(object_id))
        return Identity(instance, object_id, scene.labels[object_id - 1])

    sample = fo.Sample(filepath=str(path))
    for index, image in enumerate(scene.truth):
        ids = np.unique(image[image > 0]).tolist()
        found = [make_mask_detection(image == i, who(i), keyframe=None) for i in ids]
        sample.frames[index + 1] = fo.Frame(ground_truth=fo.Detections(detections=found))
    for kind, field_name in (("points", "clicks"), ("box", "prompts"), ("polygon", "outlines")):
        for index in {index for _, index, of in scene.prompts if of == kind}:
            labels = [
                _make_prompt(scene.truth[index] == object_id, kind, who(object_id))
                for object_id, at, of in scene.prompts
                if (at, of) == (index, kind)
            ]
            sample.frames[index + 1][field_name] = _collect(fo, kind, labels)
    return sample


def _collect(fo: Any, kind: str, labels: list[Any]) -> Any:
    if kind == "points":
        return fo.Keypoints(keypoints=labels)
    if kind == "polygon":
        return fo.Polylines(polylines=labels)
    return fo.Detections(detections=labels)


def _make_prompt(mask: NDArray[np.bool_], kind: str, identity: Any) -> Any:
    """What a person would draw around or on a mask (H, W)."""
    from sam2_plugins.fiftyone_plugin.labels import make_box_detection, make_keypoint

    rows, columns = np.nonzero(mask)
    x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    if kind == "box":
        return make_box_detection((x0 - 2, y0 - 2, x1 + 2, y1 + 2), SIZE, identity)
    if kind == "points":
        middle = (float(columns.mean()), float(rows.mean()))
        aside = (max(float(x0) - 12, 1.0), float(rows.mean()))
        return make_keypoint([middle, aside], [1, 0], SIZE, identity)
    return _make_outline(mask, identity)


def _make_outline(mask: NDArray[np.bool_], identity: Any) -> Any:
    import fiftyone as fo

    rows, columns = np.nonzero(mask)
    middle = np.array([columns.mean(), rows.mean()])
    corners = []
    for angle in np.linspace(0, 2 * np.pi, 16, endpoint=False):
        way = np.array([np.cos(angle), np.sin(angle)])
        along = (np.stack([columns, rows], 1) - middle) @ way
        x, y = middle + way * max(along.max() * 0.97, 2.0) + 0.5
        corners.append((float(x / SIZE[1]), float(y / SIZE[0])))
    return fo.Polyline(
        label=identity.label,
        index=identity.index,
        instance=fo.Instance(id=identity.instance_id),
        points=[corners],
        closed=True,
        filled=True,
        keyframe=True,
    )


def write_video(path: Path, frames: NDArray[np.uint8]) -> None:
    """Writes (T, H, W, 3) uint8 RGB frames as H.264, which browsers play."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "16"}
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes the dataset from the shell."""
    parser = argparse.ArgumentParser(prog="python -m sam2_plugins.fiftyone_plugin.tutorial")
    parser.add_argument("--folder", default="~/sam2-tutorial", help="for the videos")
    parser.add_argument("--name", default=NAME, help="of the dataset")
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset of that name")
    given = parser.parse_args(arguments)
    try:
        dataset = make_dataset(given.folder, given.name, overwrite=given.overwrite)
    except (ValueError, OSError, ImportError) as error:
        parser.exit(2, f"error: {error}\n")
    print(f"{dataset.name}: {len(dataset)} videos. Next: fiftyone app launch {dataset.name}")  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
