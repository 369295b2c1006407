"""Opening whatever holds frames."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sam2_plugins.core.frames.array import ArrayFrames, open_npy
from sam2_plugins.core.frames.images import (
    PICTURE_SUFFIXES,
    TIFF_SUFFIXES,
    open_folder,
    open_images,
)
from sam2_plugins.core.frames.omezarr import is_zarr, open_zarr, open_zarr_path
from sam2_plugins.core.frames.source import FrameSource, Selection
from sam2_plugins.core.frames.tiff import open_tiff
from sam2_plugins.core.frames.video import VIDEO_SUFFIXES, open_video


def open_frames(
    source: Any,
    *,
    axes: str | None = None,
    level: int = 0,
    rgb: bool | None = None,
    channels: int | Sequence[int] | None = None,
    at: Mapping[str, int] | None = None,
    progress: Callable[[float], object] | None = None,
) -> FrameSource:
    """Open a stack, image or video so that its frames can be read one at a time.

    Args:
        source: A numpy, dask or zarr array; an OME-Zarr group; the path of a TIFF, OME-TIFF,
            `.npy`, OME-Zarr, zarr, image or video file, or of a folder of images; a list of image
            paths in order; or a FrameSource, which is returned as it is.
        axes: One letter per axis of the array: t, z, c, y, x, or s for RGB samples, for example
            "tyx", "zyxs". Default: the source's own metadata, else (H, W), (T, H, W) or
            (T, H, W, C) by the number of axes; with `rgb`, (H, W, 3) or (T, H, W, 3).
            The axis that is walked is t or z, whichever is longer than 1; that it is t, and not
            so by default, tells the tracker that things stay, see `VideoTracker(keep_alike=…)`.
        level: Resolution level of a pyramid, 0 the finest.
        rgb: Whether the channels are RGB or RGBA colours. Default: what the source's metadata
            says; an array is RGB only by this or by axes with "s".
        channels: One to three channels to read; one gives (H, W) frames. Default: all.
        at: Where to stay on an axis that is not walked, for example {"t": 3} to walk z.
        progress: Told again and again how far opening is, 0 to 1, where it takes long: a video is
            decoded once. What it raises ends the opening.

    Returns:
        A FrameSource. Only frames that are read are loaded. Alpha is dropped.

    Raises:
        FileNotFoundError: When the path does not exist.
        ValueError: When the source cannot be read, or leaves open which axis to walk.
        TypeError: When the source is none of the above.
    """
    selection = Selection(axes, level, rgb, channels, {k.lower(): v for k, v in (at or {}).items()})
    if isinstance(source, FrameSource):
        if not selection.is_default:
            raise ValueError("axes, level, rgb, channels and at do not apply to opened frames")
        return source
    if isinstance(source, str | os.PathLike):
        return _open_path(Path(source), selection, progress)
    if isinstance(source, list | tuple):
        return _open_list(source, selection)
    return _open_array(source, selection)


def _open_path(
    path: Path, selection: Selection, progress: Callable[[float], object] | None
) -> ArrayFrames:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    suffix = path.suffix.lower()
    if path.is_dir():
        return _open_directory(path, selection)
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: is empty (0 bytes)")
    if suffix in TIFF_SUFFIXES:
        return open_tiff(path, selection)
    if suffix == ".npy":
        return open_npy(path, selection)
    if suffix in VIDEO_SUFFIXES:
        return open_video(path, selection, progress=progress)
    if suffix in PICTURE_SUFFIXES:
        return open_images([path], selection, name=str(path))
    known = (*TIFF_SUFFIXES, ".npy", ".zarr", *PICTURE_SUFFIXES, *VIDEO_SUFFIXES)
    raise ValueError(f"{path}: unknown file type {suffix!r}; known are {', '.join(known)}")


def _open_directory(path: Path, selection: Selection) -> ArrayFrames:
    if is_zarr(path) or path.suffix.lower() == ".zarr":
        return open_zarr_path(path, selection)
    return open_folder(path, selection)


def _open_list(source: Sequence[Any], selection: Selection) -> ArrayFrames:
    if not source or not all(isinstance(item, str | os.PathLike) for item in source):
        raise TypeError("a list of frames must be image paths; pass arrays as one (T, H, W) array")
    paths = [Path(item) for item in source]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
    return open_images(paths, selection, name=f"{paths[0]} and {len(paths) - 1} more")


def _open_array(source: Any, selection: Selection) -> ArrayFrames:
    kind = type(source).__module__.partition(".")[0]
    if kind == "zarr":
        return open_zarr(source, selection, name=f"zarr {type(source).__name__.lower()}")
    if all(hasattr(source, name) for name in ("shape", "dtype", "__getitem__")):
        selection.refuse_level("array")
        return ArrayFrames(source, None, selection=selection)
    raise TypeError(
        f"frames cannot be read from {type(source).__name__}; "
        "pass an array, a path or a FrameSource"
    )
