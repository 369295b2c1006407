"""DAVIS folders: one palette PNG per frame, pixel value = object id."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from sam2_plugins.core.formats.stack import SavedMasks
from sam2_plugins.core.formats.staging import SOFTWARE
from sam2_plugins.core.masks import FrameMasks

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from sam2_plugins.core.formats.stack import MaskStack

__all__ = ["davis_palette", "is_output", "read", "read_png", "save_own_png", "write", "write_png"]


@cache
def davis_palette() -> NDArray[np.uint8]:
    """The colours of DAVIS and PASCAL VOC, (256, 3) uint8 RGB; row 0, the background, is black.

    The bits of the id go in turn to red, green and blue, the lowest ones to the highest bits.
    """
    palette = np.zeros((256, 3), np.uint8)
    ids = np.arange(256)
    for bit in range(8):
        palette[:, bit % 3] |= ((ids >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    palette.setflags(write=False)
    return palette


def write_png(path: Path, labels: NDArray[np.integer]) -> None:
    """Writes one (H, W) label image with ids up to 255 as a palette PNG."""
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(davis_palette().tobytes())
    save_own_png(path, image)


def save_own_png(path: Path, image: Image.Image) -> None:
    """Saves a picture with a note by which `is_output` knows it."""
    note = PngInfo()
    note.add_text("Software", SOFTWARE)
    image.save(path, format="PNG", pnginfo=note)


def read_png(path: Path) -> NDArray[np.integer]:
    """Reads one label image, (H, W): palette, 8-bit, 16-bit and bilevel PNGs.

    Raises:
        ValueError: Not a picture, or one with colours instead of ids.
    """
    try:
        with Image.open(path) as image:
            labels = np.asarray(image)
            mode = image.mode
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} is not a readable picture: {error}") from error
    if labels.ndim != 2:
        raise ValueError(f"{path} has mode {mode}; masks are palette or grey PNGs of object ids")
    return labels.astype(np.uint8) if labels.dtype == np.bool_ else labels


def write(path: Path, stack: MaskStack) -> None:
    """Writes `00000.png`, `00001.png`, … or the stack's frame names."""
    path.mkdir()
    for frame_index, labels in enumerate(stack.labels()):
        write_png(path / f"{stack.frame_name(frame_index)}.png", labels)


def is_output(path: Path) -> bool:
    """Whether a folder holds PNG files of ours and nothing else."""
    return path.is_dir() and all(_is_own_png(child) for child in path.iterdir())


def _is_own_png(path: Path) -> bool:
    if path.suffix.lower() != ".png":
        return False
    try:
        with Image.open(path) as image:
            return bool(image.info.get("Software") == SOFTWARE)
    except (UnidentifiedImageError, OSError):
        return False


def read(path: Path) -> SavedMasks:
    """Opens a folder of PNGs, sorted by name.

    Raises:
        ValueError: There are no PNG files, or one is no label image.
    """
    files = sorted(child for child in path.iterdir() if child.suffix.lower() == ".png")
    if not files:
        raise ValueError(f"no PNG files in {path}")

    def read_frame(frame_index: int) -> FrameMasks:
        return FrameMasks.from_labels(frame_index, read_png(files[frame_index]))

    size = read_png(files[0]).shape
    return SavedMasks(
        len(files), (size[0], size[1]), read_frame, tuple(file.stem for file in files)
    )
