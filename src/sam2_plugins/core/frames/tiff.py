"""Frames of TIFF, OME-TIFF and ImageJ files."""

import logging
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from sam2_plugins.core.frames.array import ArrayFrames, PlaneArray
from sam2_plugins.core.frames.source import Pixels, Selection, check_level, file_identity

# Formats in which several images are pages written one by one, not different things.
_KINDS_WITHOUT_NAMES = {"generic", "uniform", "shaped"}
_RGB_PHOTOMETRICS = {tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR}


def open_tiff(path: Path, selection: Selection) -> ArrayFrames:
    """Open the pages of a TIFF file; they are read when asked for.

    Of a file that holds several named images, such as an OME-TIFF, it is the first.

    Raises:
        ValueError: When the file is not a TIFF, is cut short, or holds images of different sizes.
    """
    name = str(path)
    with _one_line_errors(name):
        file = tifffile.TiffFile(path)
    try:
        with _one_line_errors(name):
            images = _choose_images(file, selection.level, name)
            for image in images:
                _refuse_truncated(file, image, name)
            array = _lazy_array(path, file, images)
        return ArrayFrames(
            array,
            "q" * (len(images) > 1) + images[0].axes.lower(),
            selection=selection,
            rgb_from_file=images[0].keyframe.photometric in _RGB_PHOTOMETRICS,
            name=name,
            identity=f"{file_identity(path)}|level {selection.level}",
            close=file.close,
        )
    except BaseException:
        file.close()
        raise


def _choose_images(file: tifffile.TiffFile, level: int, name: str) -> list[tifffile.TiffPageSeries]:
    """Return the file's first image, or all of them when they are pages of one stack."""
    if not file.pages or not file.series:
        raise ValueError(f"{name}: holds no image; the file may be truncated")
    images = list(file.series)
    if images[0].kind not in _KINDS_WITHOUT_NAMES:
        images = images[:1]
    shapes = {image.shape for image in images}
    if len(shapes) > 1 or len({image.dtype for image in images}) > 1:
        raise ValueError(
            f"{name}: holds images of different shapes {sorted(shapes)}; they must be alike"
        )
    check_level(level, len(images[0].levels), name)
    return [image.levels[level] for image in images]


def _refuse_truncated(file: tifffile.TiffFile, series: tifffile.TiffPageSeries, name: str) -> None:
    """Raise ValueError when pages or pixels lie beyond the end of the file.

    The TIFF library itself goes on with the pages it can reach, or with zeros.
    """
    size = file.filehandle.size
    if _has_broken_page_list(file) or series.is_truncated:
        raise ValueError(f"{name}: is truncated; its list of pages runs past the end of the file")
    offset = _contiguous_offset(series)
    if offset is not None:
        _refuse_short_file(size, offset + series.nbytes, name)
        return
    pages = list(series)
    missing = sum(page is None for page in pages)
    if missing:
        raise ValueError(
            f"{name}: {missing} of {len(pages)} planes are missing; the file is truncated "
            "or lacks a companion file"
        )
    for page in pages:
        if page is not None and page.parent is file:
            segments = zip(page.dataoffsets, page.databytecounts, strict=False)
            end = max((start + count for start, count in segments), default=0)
            _refuse_short_file(size, end, name)


def _refuse_short_file(size: int, needed: int, name: str) -> None:
    if needed > size:
        raise ValueError(f"{name}: is truncated; it has {size} bytes of at least {needed}")


def _has_broken_page_list(file: tifffile.TiffFile) -> bool:
    # Every page ends with the file position of the next one; the last one must say 0.
    file_format, handle = file.tiff, file.filehandle
    position = file.pages.next_page_offset
    if position is None:
        return False
    handle.seek(position)
    data = handle.read(file_format.offsetsize)
    if len(data) < file_format.offsetsize:
        return True
    return bool(struct.unpack(file_format.offsetformat, data)[0])


def _contiguous_offset(series: tifffile.TiffPageSeries) -> int | None:
    """Return where the pixels of all pages lie in one uncompressed run, if they do."""
    return None if series.is_multifile else series.dataoffset


def _lazy_array(path: Path, file: tifffile.TiffFile, images: list[tifffile.TiffPageSeries]) -> Any:
    first = images[0]
    offset = _contiguous_offset(first)
    if offset is not None and len(images) == 1:
        dtype = first.dtype.newbyteorder(file.byteorder)
        return np.memmap(path, dtype, "r", offset, first.shape)
    num_pages = len(first)
    num_leading = 0
    while math.prod(first.shape[:num_leading]) < num_pages:
        num_leading += 1
    plane_shape = first.shape[num_leading:]
    leading_shape = first.shape[:num_leading]
    if len(images) > 1:
        leading_shape = (len(images), *leading_shape)

    def read_page(number: int) -> Pixels:
        image, page_number = divmod(number, num_pages)
        with _one_line_errors(f"{path}: page {number}"):
            page = images[image][page_number]
            assert page is not None
            return page.asarray().reshape(plane_shape)

    return PlaneArray(read_page, leading_shape, plane_shape, first.dtype)


@contextmanager
def _one_line_errors(name: str) -> Iterator[None]:
    """Turn whatever a damaged file makes the TIFF library raise or log into one ValueError."""
    log = logging.getLogger("tifffile")
    log.addFilter(_silence)
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if reason.startswith(name):
            raise
        raise ValueError(f"{name}: cannot be read as TIFF ({reason})") from error
    finally:
        log.removeFilter(_silence)


def _silence(record: logging.LogRecord) -> bool:
    return False
