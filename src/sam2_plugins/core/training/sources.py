"""Labelled images and volumes read once into memory, with a fixed rule for what is held out."""

from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from sam2_plugins.core.training.labelled import (
    MIN_INSTANCE_AREA,
    Instance,
    LabelledImage,
    LabelledVolume,
    TrainingData,
    find_instances,
)
from sam2_plugins.core.training.packing import read_packed

__all__ = [
    "HELD_OUT_EVERY",
    "MIN_INSTANCE_AREA",
    "Instance",
    "LabelledImage",
    "LabelledVolume",
    "TrainingData",
    "find_instances",
    "load_image_set",
    "load_training_data",
    "load_volume_set",
]

IMAGE_SETS = ("dsb2018", "clothing", "fruits_nuts")
VOLUME_SETS = ("plant_nuclei_3d", "ct_organs_3d")
HELD_OUT_EVERY = 10
LONG_SIDES = {"dsb2018": 704, "clothing": 320, "fruits_nuts": 384}


def load_training_data(data_root: str | Path, *, held_out: bool = False) -> TrainingData:
    """Read every known set below a folder.

    Of dsb2018 and clothing every 10th image by sorted name, and of the plant volumes the last
    quarter of the slices of `1135_mini`, are held out: read only with `held_out`, and then alone.

    Args:
        data_root: Folder with one folder per set (`images/` + `labels/`, or `volume.tif` +
            `labels.tif` in sub-folders), or a file written by `pack_training_data`. Sets that
            are missing are left out.
        held_out: Read the held-out part in place of the part to train on.

    Returns:
        The data, as uint8 images and label maps in memory.

    Raises:
        FileNotFoundError: If the folder has none of the sets.
    """
    root = Path(data_root)
    if root.is_file():
        return read_packed(root, held_out=held_out)
    images = {
        name: load_image_set(root / name, long_side=LONG_SIDES[name], held_out=held_out)
        for name in IMAGE_SETS
        if (root / name / "images").is_dir() and not (held_out and name == "fruits_nuts")
    }
    volumes = {
        name: load_volume_set(root / name, held_out=held_out)
        for name in VOLUME_SETS
        if (root / name).is_dir() and not (held_out and name == "ct_organs_3d")
    }
    if not images and not volumes:
        known = ", ".join(IMAGE_SETS + VOLUME_SETS)
        raise FileNotFoundError(f"{root} holds none of the training sets: {known}")
    return TrainingData(images, volumes)


def load_image_set(
    folder: Path, *, long_side: int = 384, held_out: bool = False, every: int = HELD_OUT_EVERY
) -> tuple[LabelledImage, ...]:
    """Read the images of a set that are (not) held out.

    Args:
        folder: Folder with `images/NAME.*` and `labels/NAME.png`.
        long_side: Larger images are shrunk to this long side, in pixels.
        held_out: Read the held-out images in place of the others.
        every: Every `every`-th image by sorted name is held out.

    Returns:
        The images, without those that have no instance.
    """
    paths = sorted((folder / "images").iterdir())
    chosen = [path for index, path in enumerate(paths) if (index % every == 0) == held_out]
    loaded = (_load_image(path, folder / "labels", long_side=long_side) for path in chosen)
    return tuple(image for image in loaded if image.instances)


def load_volume_set(folder: Path, *, held_out: bool = False) -> tuple[LabelledVolume, ...]:
    """Read the volumes below a folder, without (or only) the held-out slices of `1135_mini`."""
    volumes = []
    for path in sorted(folder.glob("*/volume.tif")):
        name = path.parent.name
        volume = _to_uint8(np.asarray(tifffile.imread(path)))
        labels = np.asarray(tifffile.imread(path.with_name("labels.tif"))).astype(np.uint16)
        first_held_out = len(volume) * 3 // 4 if name == "1135_mini" else len(volume)
        kept = slice(first_held_out, None) if held_out else slice(0, first_held_out)
        if len(volume[kept]):
            volumes.append(LabelledVolume(name, volume[kept], labels[kept]))
    return tuple(volumes)


def _load_image(path: Path, label_folder: Path, *, long_side: int) -> LabelledImage:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    labels = cv2.imread(str(label_folder / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
    if image is None or labels is None:
        raise FileNotFoundError(f"{path} or its labels in {label_folder} cannot be read")
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    scale = long_side / max(image.shape[:2])
    if scale < 1:
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    label_map = labels.astype(np.uint16)
    return LabelledImage(path.stem, image.astype(np.uint8), label_map, find_instances(label_map))


def _to_uint8(volume: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale a volume to uint8 between its 0.5 and 99.5 percentiles."""
    if volume.dtype == np.uint8:
        return volume.astype(np.uint8)
    values = volume.astype(np.float32)
    low, high = np.percentile(values, (0.5, 99.5))
    return np.clip((values - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
