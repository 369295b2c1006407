"""Label stacks as multi-page TIFF, as napari, Fiji and scikit-image open them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from sam2_plugins.core.formats.stack import SavedMasks
from sam2_plugins.core.formats.staging import SOFTWARE
from sam2_plugins.core.masks import FrameMasks

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from sam2_plugins.core.formats.volumes import LabelSource

__all__ = ["is_own_page", "read", "write", "write_page"]

_MAX_CLASSIC_BYTES = 2**32 - 2**25
_SHORT = {
    "nanometer": "nm",
    "micrometer": "um",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
    "millisecond": "ms",
    "second": "s",
    "minute": "min",
    "hour": "h",
    "day": "d",
}
"""Units by the names that NGFF and napari have."""


def write(path: Path, stack: LabelSource) -> None:
    """Writes a stack of planes or volumes, one deflated page per plane.

    uint16 labels carry ImageJ metadata. ImageJ has no 32-bit integers and no files above 4 GiB, so
    wider ids and longer stacks carry OME metadata instead.
    """
    dtype = stack.label_dtype
    num_bytes = int(np.prod(stack.shape, dtype=np.int64)) * dtype.itemsize
    is_imagej = dtype == np.uint16 and num_bytes < _MAX_CLASSIC_BYTES
    with tifffile.TiffWriter(
        path, imagej=is_imagej, ome=not is_imagej, bigtiff=num_bytes >= _MAX_CLASSIC_BYTES
    ) as writer:
        writer.write(
            stack.pages(),
            shape=stack.shape,
            dtype=dtype,
            compression="zlib",
            photometric="minisblack",
            **(_imagej_facts(stack) if is_imagej else _ome_facts(stack)),
        )


def _imagej_facts(stack: LabelSource) -> dict[str, Any]:
    """Axes and pixel sizes as ImageJ has them: one unit for all axes of space."""
    steps = dict(zip(stack.axes, stack.scale, strict=True))
    units = dict(zip(stack.axes, stack.units, strict=True))
    facts: dict[str, Any] = {"axes": stack.axes, "unit": _SHORT.get(units["X"], units["X"])}
    if "Z" in steps:
        facts["spacing"] = steps["Z"]
    if "T" in steps and steps["T"] != 1:
        facts["finterval"] = steps["T"]
    # Pixels a unit; without a unit of TIFF's own, which knows inches and centimetres.
    resolution = (1 / steps["X"], 1 / steps["Y"])
    return {"metadata": facts, "resolution": resolution, "resolutionunit": "NONE"}


def _ome_facts(stack: LabelSource) -> dict[str, Any]:
    facts: dict[str, Any] = {"axes": stack.axes}
    for axis, step, unit in zip(stack.axes, stack.scale, stack.units, strict=True):
        name = "TimeIncrement" if axis == "T" else f"PhysicalSize{axis}"
        if unit in _SHORT:
            facts |= {name: step, f"{name}Unit": _SHORT[unit].replace("um", "µm")}
        elif axis != "T":
            facts |= {name: step, f"{name}Unit": "pixel"}
    return {"metadata": facts}


def write_page(path: Path, labels: NDArray[np.uint16]) -> None:
    """Writes one label image (H, W), or a page for each of a volume's (Z, H, W)."""
    tifffile.imwrite(
        path,
        labels,
        compression="zlib",
        photometric="minisblack",
        metadata=None,
        software=SOFTWARE,
    )


def is_own_page(path: Path) -> bool:
    """Whether `write_page` wrote a file."""
    try:
        with tifffile.TiffFile(path) as file:
            return bool(file.pages.first.software == SOFTWARE)
    except (tifffile.TiffFileError, OSError):
        return False


def read(path: Path) -> SavedMasks:
    """Opens a label stack of any integer type; one page is decoded at a time.

    Raises:
        ValueError: Not a TIFF, or not one integer image per frame.
    """
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            shape, dtype = series.shape, series.dtype
            num_pages = len(series.pages)
    except (tifffile.TiffFileError, IndexError) as error:
        raise ValueError(f"{path} is not a readable TIFF file: {error}") from error
    if len(shape) not in (2, 3) or dtype.kind not in "iub":
        raise ValueError(
            f"{path} holds {dtype} of shape {shape}; a label stack is integer (T, H, W)"
        )
    num_frames = shape[0] if len(shape) == 3 else 1
    frame_size = (int(shape[-2]), int(shape[-1]))

    def read_frame(frame_index: int) -> FrameMasks:
        if num_pages == num_frames:
            labels = tifffile.imread(path, key=frame_index)
        else:  # one page entry stands for many contiguous planes, as ImageJ writes large stacks
            labels = tifffile.imread(path).reshape(num_frames, *frame_size)[frame_index]
        return FrameMasks.from_labels(frame_index, labels)

    return SavedMasks(num_frames, frame_size, read_frame)
