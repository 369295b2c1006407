"""Public sequences with masks, brought into the layouts that `sam2-plugins evaluate vos` reads.

    python scripts/real_data.py davis OUT          20 films of DAVIS 2016's validation set
    python scripts/real_data.py micrographs OUT    sections of a fly's nerve cord
    python scripts/real_data.py cells OUT          two short films of cells

They are fetched with git from the repositories named below, each under its own licence; nothing of
them is part of this project. The model card says what `nano` reaches on them.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

Labels = NDArray[np.integer[Any]]

_LEAST_SECTIONS, _LEAST_PIXELS = 4, 300
"""Of a mitochondrion: sections it is seen on, and pixels on each of them on average."""
_INSIDE = 255, 223, 191
"""Grey values of the labels that mean the inside of a neuron, whatever lies around it there."""
_LEAST_PROFILE, _LINKED, _LEAST_LENGTH, _NUM_NEURONS = 400, 0.6, 8, 40
"""Of a neuron: pixels of a profile, the IoU of profiles on two sections that are linked, sections
that are, and how many neurons, the longest, are kept."""
_SAME_CELL, _LEAST_FRAMES = 0.2, 5
"""IoU of a cell on two frames, and on how many it must be seen, the first among them."""


def write_davis(repository: Path, out: Path) -> None:
    """Films: `SEQUENCE/frames` and `SEQUENCE/masks`, in which what moves is object 1."""
    root = repository / "DAVIS"
    for masks in sorted((root / "Annotations" / "480p").iterdir()):
        folder = out / masks.name
        for kind in ("frames", "masks"):
            (folder / kind).mkdir(parents=True)
        for file in sorted((root / "JPEGImages" / "480p" / masks.name).glob("*.jpg")):
            (folder / "frames" / file.name).write_bytes(file.read_bytes())
        for file in sorted(masks.glob("*.png")):
            values = _read(file)
            mask = values > 127 if values.max() > 1 else values > 0
            Image.fromarray(mask.astype(np.uint8)).save(folder / "masks" / file.name)


def write_micrographs(repository: Path, out: Path) -> None:
    """Stacks: `mitochondria` and `neurites`, of the same sections."""
    root = repository / "stack1"
    sections = {name: _stack(root / name) for name in ("raw", "mitochondria", "labels")}
    _write_volume(out / "mitochondria", sections["raw"], _mitochondria(sections["mitochondria"]))
    _write_volume(out / "neurites", sections["raw"], _neurites(sections["labels"]))


def write_cells(repository: Path, out: Path) -> None:
    """Films of grey frames: `brick` and `fix`."""
    root = repository / "docs" / "examples"
    data = np.load(root / "cell_segmentation_data" / "data_small.npz")
    fix = root / "napari_interactive_fix_data"
    pairs = {
        "brick": (data["images"], data["labels"]),
        "fix": tuple(tifffile.imread(fix / f"example_{kind}.tif") for kind in ("images", "label")),
    }
    for name, (images, labels) in pairs.items():
        limits = images.min(), images.max()
        grey = ((images - limits[0]) / (limits[1] - limits[0]) * 255).astype(np.uint8)
        for kind, frames in (("frames", grey), ("masks", _linked_cells(labels).astype(np.uint8))):
            folder = out / name / kind
            folder.mkdir(parents=True)
            for index, frame in enumerate(frames):
                Image.fromarray(frame).save(folder / f"{index:05d}.png")


SETS: dict[str, tuple[str, str, Callable[[Path, Path], None]]] = {
    "davis": ("https://github.com/MathLee/EOR-VOS", "DAVIS", write_davis),
    "micrographs": (
        "https://github.com/unidesigner/groundtruth-drosophila-vnc",
        "stack1",
        write_micrographs,
    ),
    "cells": ("https://github.com/yfukai/laptrack", "docs/examples", write_cells),
}
"""Name -> (repository, the folder of it that is needed, what writes it)."""


def _mitochondria(sections: Labels) -> Labels:
    """Each mitochondrion with an id of its own, where it is seen long enough."""
    # Some sections are written as 0 and 1, others as 0 and 255.
    inside = np.stack([s == 1 if (s == 1).sum() > (s > 127).sum() else s > 127 for s in sections])
    parts, _ = ndimage.label(inside, structure=np.ones((3, 3, 3)))
    areas = np.bincount(parts.ravel())
    kept = np.zeros(parts.shape, np.uint16)
    for part, place in enumerate(ndimage.find_objects(parts), start=1):
        depth = place[0].stop - place[0].start
        if depth >= _LEAST_SECTIONS and areas[part] / depth >= _LEAST_PIXELS:
            kept[parts == part] = kept.max() + 1
    return kept


def _neurites(sections: Labels) -> Labels:
    """Profiles of neurons that change slowly from section to section, linked."""
    inside = np.isin(sections, _INSIDE)
    profiles = [ndimage.label(ndimage.binary_opening(section))[0] for section in inside]
    finished: list[list[tuple[int, int]]] = []
    growing: dict[int, list[tuple[int, int]]] = {}
    before = np.zeros(1, int)
    for index, here in enumerate(profiles):
        areas = np.bincount(here.ravel())
        linked = {}
        for profile in np.flatnonzero(areas >= _LEAST_PROFILE)[1:].tolist():
            linked[profile] = [(index, profile)]
            if not index:
                continue
            shared = np.bincount(profiles[index - 1][here == profile], minlength=len(before))
            shared[0] = 0
            other = int(shared.argmax())
            iou = shared[other] / (areas[profile] + before[other] - shared[other])
            if iou > _LINKED and other in growing:
                linked[profile] = [*growing.pop(other), (index, profile)]
        finished += growing.values()
        growing, before = linked, areas
    finished += growing.values()
    longest = sorted((n for n in finished if len(n) >= _LEAST_LENGTH), key=lambda n: -len(n))
    kept = np.zeros(sections.shape, np.uint16)
    for neuron, places in enumerate(longest[:_NUM_NEURONS], start=1):
        for index, profile in places:
            kept[index][profiles[index] == profile] = neuron
    return kept


def _linked_cells(frames: Labels) -> Labels:
    """Cells with the same id on all frames, of those that are seen long enough."""
    linked = np.zeros(frames.shape, np.uint16)
    for index, frame in enumerate(frames):
        ids = [i for i in np.unique(frame) if i]
        known = [i for i in np.unique(linked[index - 1]) if i] if index else []
        iou = np.zeros((len(ids), len(known)))
        for row, column in np.ndindex(iou.shape):
            one, other = frame == ids[row], linked[index - 1] == known[column]
            iou[row, column] = (one & other).sum() / (one | other).sum()
        pairs = zip(*linear_sum_assignment(-iou), strict=True)
        same = {ids[row]: known[column] for row, column in pairs if iou[row, column] > _SAME_CELL}
        for i in ids:
            linked[index][frame == i] = same.get(i, linked.max() + 1)
    ids = [i for i in np.unique(linked[0]) if i]
    kept = [i for i in ids if (linked == i).any(axis=(1, 2)).sum() >= _LEAST_FRAMES]
    return np.where(np.isin(linked, kept), linked, 0)


def _stack(folder: Path) -> Labels:
    return np.stack([_read(file) for file in sorted(folder.iterdir())])


def _read(file: Path) -> Labels:
    """(H, W), of pictures in colours the first channel."""
    image = np.array(Image.open(file))
    return image if image.ndim == 2 else image[..., 0]


def _write_volume(folder: Path, images: Labels, labels: Labels) -> None:
    folder.mkdir(parents=True)
    for name, stack in (("volume", images), ("labels", labels)):
        tifffile.imwrite(
            folder / f"{name}.tif", stack, photometric="minisblack", metadata={"axes": "ZYX"}
        )


def main() -> None:
    """Fetch one set and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=SETS)
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--from", dest="source", help="the repository, if you have it already")
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists; choose a new folder")
    address, needed, write = SETS[arguments.set]
    with tempfile.TemporaryDirectory() as scratch:
        repository = Path(scratch) / "repository"
        options = ("--quiet", "--depth=1", "--filter=blob:none", "--sparse")
        clone = ("git", "clone", *options, arguments.source or address, str(repository))
        choose = ("git", "-C", str(repository), "sparse-checkout", "set", needed)
        for command in (clone, choose):
            if subprocess.run(command).returncode:
                parser.exit(2, f"real_data.py: cannot fetch {clone[-2]}; git says why above\n")
        write(repository, arguments.out)


if __name__ == "__main__":
    main()
