"""All training data in one small file, to be carried to where the training is done.

A zip file: pictures as JPEG, label maps and volumes as PNG, of the size they are trained at, and
`contents.json`, which lists them.
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.training.labelled import (
    LabelledImage,
    LabelledVolume,
    TrainingData,
    find_instances,
)

FORMAT, VERSION = "sam2-plugins training data", 1
MAX_MIB = 64.0
QUALITIES = (95, 90, 85, 80, 70, 60)
CONTENTS = "contents.json"
_PARTS = ("train", "held_out")


@dataclass(frozen=True)
class Packed:
    """A file that was written.

    Attributes:
        path: The file.
        size_bytes: Its size.
        quality: JPEG quality of the pictures.
        num_images: Pictures in it, those held out among them.
        num_volumes: Likewise.
    """

    path: Path
    size_bytes: int
    quality: int
    num_images: int
    num_volumes: int


def pack(
    training: TrainingData, held_out: TrainingData, target: Path, *, max_mib: float = MAX_MIB
) -> Packed:
    """Write training data and what is held out into one file, in the best quality that fits.

    Args:
        training: What is learnt from.
        held_out: What it is checked on.
        target: File to write, moved into place when whole.
        max_mib: Largest size of the file, in MiB.

    Raises:
        ValueError: It does not fit in the lowest quality.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f"{target.name}.partial")
    parts = (training, held_out)
    try:
        for quality in QUALITIES:
            _write(parts, aside, quality)
            if (size := aside.stat().st_size) <= max_mib * 2**20:
                aside.replace(target)
                num_images = sum(len(s) for part in parts for s in part.images.values())
                num_volumes = sum(len(s) for part in parts for s in part.volumes.values())
                return Packed(target, size, quality, num_images, num_volumes)
    finally:
        aside.unlink(missing_ok=True)
    raise ValueError(
        f"the data take {size / 2**20:.1f} MiB in the lowest quality, more than {max_mib:g}; "
        "leave a set out"
    )


def read_packed(path: Path, *, held_out: bool = False) -> TrainingData:
    """Read what `pack` wrote.

    Args:
        path: The file.
        held_out: Read the held-out part in place of the part to train on.

    Raises:
        ValueError: It is another file, or of a later version.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no packed training data; `sam2-plugins train pack` writes it")
    with zipfile.ZipFile(path) as archive:
        contents = json.loads(archive.read(CONTENTS)) if CONTENTS in archive.namelist() else {}
        if contents.get("format") != FORMAT or contents.get("version", 0) > VERSION:
            raise ValueError(f"{path} is no packed training data of this version")
        part: dict[str, Any] = contents[_PARTS[held_out]]
        images = {
            name: tuple(_read_image(archive, entry) for entry in entries)
            for name, entries in part["images"].items()
        }
        volumes = {
            name: tuple(_read_volume(archive, entry) for entry in entries)
            for name, entries in part["volumes"].items()
        }
    return TrainingData(images, volumes)


def _write(parts: tuple[TrainingData, TrainingData], path: Path, quality: int) -> None:
    contents: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    # Everything in it is compressed already.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for folder, data in zip(_PARTS, parts, strict=True):
            listed: dict[str, Any] = {"images": {}, "volumes": {}}
            for name, images in data.images.items():
                entries: list[Any] = []
                listed["images"][name] = entries
                for index, image in enumerate(images):
                    base = f"{folder}/{name}/{index:05d}"
                    bgr = cv2.cvtColor(image.image, cv2.COLOR_RGB2BGR)
                    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
                    archive.writestr(f"{base}.jpg", _encode(".jpg", bgr, options))
                    archive.writestr(f"{base}.png", _encode(".png", image.labels))
                    entries.append({"name": image.name, "file": base})
            for name, volumes in data.volumes.items():
                entries = []
                listed["volumes"][name] = entries
                for index, volume in enumerate(volumes):
                    base = f"{folder}/{name}/{index:05d}"
                    # Slices under each other make one picture.
                    for what, array in (("volume", volume.volume), ("labels", volume.labels)):
                        flat = array.reshape(-1, array.shape[-1])
                        archive.writestr(f"{base}-{what}.png", _encode(".png", flat))
                    shape = list(volume.volume.shape)
                    entries.append({"name": volume.name, "file": base, "shape": shape})
            contents[folder] = listed
        archive.writestr(CONTENTS, json.dumps(contents))


def _encode(ending: str, pixels: NDArray[Any], options: list[int] | None = None) -> bytes:
    _, encoded = cv2.imencode(ending, pixels, options or [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return bytes(encoded.tobytes())


def _decode(archive: zipfile.ZipFile, name: str, flags: int) -> NDArray[Any]:
    decoded = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), flags)
    if decoded is None:
        raise ValueError(f"{archive.filename} is damaged: {name} cannot be read")
    return np.asarray(decoded)


def _read_image(archive: zipfile.ZipFile, entry: dict[str, Any]) -> LabelledImage:
    bgr = _decode(archive, f"{entry['file']}.jpg", cv2.IMREAD_COLOR)
    labels = _decode(archive, f"{entry['file']}.png", cv2.IMREAD_UNCHANGED).astype(np.uint16)
    image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8)
    return LabelledImage(entry["name"], image, labels, find_instances(labels))


def _read_volume(archive: zipfile.ZipFile, entry: dict[str, Any]) -> LabelledVolume:
    volume, labels = (
        _decode(archive, f"{entry['file']}-{what}.png", cv2.IMREAD_UNCHANGED).reshape(
            entry["shape"]
        )
        for what in ("volume", "labels")
    )
    return LabelledVolume(entry["name"], volume.astype(np.uint8), labels.astype(np.uint16))
