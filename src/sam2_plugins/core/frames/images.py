"""Frames of image files: one picture, a folder of pictures, or a list of them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sam2_plugins.core.frames.array import ArrayFrames, PlaneArray
from sam2_plugins.core.frames.source import Pixels, Selection, file_identity
from sam2_plugins.core.frames.tiff import open_tiff

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm", ".pnm")
TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk")

# How Pillow's modes are read: kept as they are, or turned into grey or colours.
_KEPT_MODES = {"1", "L", "I", "F", "I;16", "I;16B", "I;16L", "RGB"}
_GREY_MODES = {"LA", "La"}
_EXIF_ORIENTATION = 0x0112
_SIDEWAYS = {5, 6, 7, 8}


def open_folder(folder: Path, selection: Selection) -> ArrayFrames:
    """Open the images of a folder, in natural order of their names.

    Raises:
        ValueError: When it holds no image, or images that are not all alike.
    """
    suffixes = (*PICTURE_SUFFIXES, *TIFF_SUFFIXES)
    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    ]
    if not paths:
        raise ValueError(f"{folder}: holds no image; images end in {', '.join(suffixes)}")
    return open_images(sorted(paths, key=natural_key), selection, name=str(folder))


def open_images(paths: Sequence[Path], selection: Selection, *, name: str) -> ArrayFrames:
    """Open image files of one size as frames, in the order given.

    Args:
        paths: At least one file.
        selection: What the caller chose.
        name: What to call the stack in messages.

    Raises:
        ValueError: When a file cannot be read, or differs from the first in size or channels.
    """
    selection.refuse_level(name)
    first = read_image(paths[0])
    for path in paths[1:]:
        shape = _image_shape(path)
        if shape != first.shape:
            raise ValueError(
                f"{path}: its shape is {shape} but {paths[0].name} has {first.shape}; "
                "all frames must be alike"
            )

    def read_frame(number: int) -> Pixels:
        frame = read_image(paths[number])
        if frame.shape != first.shape or frame.dtype != first.dtype:
            raise ValueError(
                f"{paths[number]}: is {frame.dtype} {frame.shape} but {paths[0].name} "
                f"is {first.dtype} {first.shape}; all frames must be alike"
            )
        return frame

    is_rgb = first.ndim == 3 and _is_colour(paths[0])
    return ArrayFrames(
        PlaneArray(read_frame, (len(paths),), first.shape, first.dtype),
        ("tyxs" if is_rgb else "tyxc")[: first.ndim + 1],
        selection=selection,
        rgb_from_file=is_rgb,
        name=name,
        identity="|".join(file_identity(path) for path in paths),
        tells_axes=False,
    )


def natural_key(path: Path) -> tuple[list[tuple[bool, int, str]], str]:
    """Sort key that puts frame2 before frame10."""
    parts = re.findall(r"\d+|\D+", path.name.lower())
    return [
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts
    ], path.name


def read_image(path: Path) -> Pixels:
    """Read one picture, upright as a viewer shows it.

    Returns:
        (H, W) in the file's own dtype, or (H, W, 3) uint8 colours without alpha; a TIFF may also
        be (H, W, C). Pillow reads 16-bit colour PNG as 8-bit.

    Raises:
        ValueError: When the file is not an image, is damaged, or holds several frames.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        return _read_tiff(path)
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode in _KEPT_MODES:
                return np.array(upright)
            return np.array(upright.convert("L" if upright.mode in _GREY_MODES else "RGB"))
    except FileNotFoundError:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise _unreadable(path, error) from error


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) of a picture, upright, or of each page of a TIFF: from the header alone.

    Raises:
        ValueError: When the file is not an image, or is damaged.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        frames = open_tiff(path, Selection())
        frames.close()
        return frames.frame_size
    height, width, *_ = _image_shape(path)
    return height, width


def _read_tiff(path: Path) -> Pixels:
    frames = open_tiff(path, Selection())
    try:
        if frames.num_frames != 1:
            raise ValueError(
                f"{path}: holds {frames.num_frames} pages; an image file is one frame, "
                "so open this file by itself"
            )
        return frames.read(0)
    finally:
        frames.close()


def _image_shape(path: Path) -> tuple[int, ...]:
    """Return what `read_image(path).shape` will be, from the header alone if it can."""
    if path.suffix.lower() in TIFF_SUFFIXES:
        return _read_tiff(path).shape
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            # Asked for what is not in the header, Pillow would decode the picture.
            has_exif = "exif" in picture.info
            if has_exif and picture.getexif().get(_EXIF_ORIENTATION) in _SIDEWAYS:
                width, height = height, width
            is_grey = picture.mode in (_KEPT_MODES - {"RGB"}) | _GREY_MODES
            return (height, width) if is_grey else (height, width, 3)
    except FileNotFoundError:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise _unreadable(path, error) from error


def _is_colour(path: Path) -> bool:
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return True
    frames = open_tiff(path, Selection())
    frames.close()
    return frames.is_rgb


def _unreadable(path: Path, error: Any) -> ValueError:
    if isinstance(error, UnidentifiedImageError):
        return ValueError(f"{path}: is not an image, or is damaged")
    return ValueError(f"{path}: cannot be read as an image ({' '.join(str(error).split())})")
