"""What training never sees, written as folders that the evaluation reads."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from sam2_plugins.core.training.clips import Clip, make_clip
from sam2_plugins.core.training.sources import HELD_OUT_EVERY, load_training_data
from sam2_plugins.core.training.validation import CLIP_KINDS, VALIDATION_SEED

CLIPS_PER_KIND = 4
CLIP_SIZE = 256
CLIP_FRAMES = 16
OBJECTS_PER_CLIP = 3


def write_held_out(data_root: str | Path, out_dir: str | Path) -> Path:
    """Write the held-out images as they are, and clips made of held-out data.

    Args:
        data_root: Folder of the training sets, see `load_training_data`.
        out_dir: Gets `nuclei/` and `clothing/` with `images/` and `labels/`, and `clips/` with a
            folder of `frames/` and `masks/` for each clip.

    Returns:
        `out_dir`.

    Raises:
        FileNotFoundError: There is no training set in `data_root`.
    """
    root, out = Path(data_root), Path(out_dir)
    data = load_training_data(root, held_out=True)
    for name, target in (("dsb2018", "nuclei"), ("clothing", "clothing")):
        if (root / name / "images").is_dir():
            _copy_images(root / name, out / target)
    for number, kind in enumerate(CLIP_KINDS):
        for index in range(CLIPS_PER_KIND):
            clip = make_clip(
                data,
                (VALIDATION_SEED, 1000 + number, index),
                size=CLIP_SIZE,
                num_frames=CLIP_FRAMES,
                num_objects=OBJECTS_PER_CLIP,
                kinds={kind: 1.0},
            )
            _write_clip(clip, out / "clips" / f"{kind}-{index}")
    return out


def _copy_images(source: Path, target: Path) -> None:
    """Copy every held-out image and its labels."""
    for part in ("images", "labels"):
        (target / part).mkdir(parents=True, exist_ok=True)
    for path in sorted((source / "images").iterdir())[::HELD_OUT_EVERY]:
        shutil.copyfile(path, target / "images" / path.name)
        labels = f"{path.stem}.png"
        shutil.copyfile(source / "labels" / labels, target / "labels" / labels)


def _write_clip(clip: Clip, folder: Path) -> None:
    """Write a clip's frames, and its masks as palette pictures of object numbers."""
    for part in ("frames", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    labels = np.zeros(clip.masks.shape[1:], dtype=np.uint8)  # (T, S, S)
    for number, masks in enumerate(clip.masks, start=1):
        labels[masks] = number
    for index, (frame, label) in enumerate(zip(clip.frames, labels, strict=True)):
        Image.fromarray(frame).save(folder / "frames" / f"{index:05d}.png")
        picture = Image.fromarray(label, mode="P")
        picture.putpalette([0, 0, 0, 230, 60, 60, 60, 200, 80, 70, 120, 240])
        picture.save(folder / "masks" / f"{index:05d}.png")
