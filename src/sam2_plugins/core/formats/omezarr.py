"""Labels as OME-Zarr (NGFF 0.4), which napari, Fiji and web viewers open.

NGFF 0.4 stands on Zarr version 2, whose layout is JSON files and compressed chunks. It is written
here directly, so that the result is the same whichever zarr package is installed.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2_plugins.core.formats.davis import davis_palette
from sam2_plugins.core.formats.stack import SavedMasks
from sam2_plugins.core.formats.staging import SOFTWARE
from sam2_plugins.core.masks import FrameMasks

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from sam2_plugins.core.formats.volumes import LabelSource

__all__ = ["is_output", "is_zarr", "read", "write"]

_VERSION = "0.4"
_MAX_CHUNK = 1024  # pixels a side: one chunk is one frame of usual size


def write(path: Path, stack: LabelSource) -> None:
    """Writes a label multiscale of one level, one chunk per plane of up to 1024 x 1024 pixels."""
    dtype = stack.label_dtype.newbyteorder("<")
    leading = stack.shape[:-2]
    chunk_size = tuple(min(side, _MAX_CHUNK) for side in stack.shape[-2:])
    (path / "0").mkdir(parents=True)
    _write_json(path / ".zgroup", {"zarr_format": 2})
    _write_json(path / ".zattrs", _attributes(stack))
    _write_json(
        path / "0" / ".zarray",
        {
            "zarr_format": 2,
            "shape": list(stack.shape),
            "chunks": [*(1 for _ in leading), *chunk_size],
            "dtype": dtype.str,
            "compressor": {"id": "zlib", "level": 1},
            "fill_value": 0,
            "filters": None,
            "order": "C",
            "dimension_separator": "/",
        },
    )
    for index, labels in zip(np.ndindex(leading), stack.pages(), strict=True):
        folder = path.joinpath("0", *map(str, index))
        _write_chunks(folder, labels.astype(dtype, copy=False), chunk_size)


def _write_chunks(
    folder: Path, labels: NDArray[np.unsignedinteger], chunk_size: tuple[int, ...]
) -> None:
    """Writes one plane; chunks without objects are left out, they read as the fill value."""
    height, width = chunk_size
    for top in range(0, labels.shape[0], height):
        for left in range(0, labels.shape[1], width):
            piece = labels[top : top + height, left : left + width]
            if not piece.any():
                continue
            chunk = np.zeros(chunk_size, labels.dtype)  # chunks at the border have full size too
            chunk[: piece.shape[0], : piece.shape[1]] = piece
            row_folder = folder / str(top // height)
            row_folder.mkdir(parents=True, exist_ok=True)
            (row_folder / str(left // width)).write_bytes(zlib.compress(chunk.tobytes(), 1))


def _axis(name: str, unit: str) -> dict[str, str]:
    axis = {"name": name.lower(), "type": "time" if name == "T" else "space"}
    return axis if unit in ("", "pixel") else {**axis, "unit": unit}


def _attributes(stack: LabelSource) -> dict[str, object]:
    palette = davis_palette()
    return {
        "_creator": {"name": SOFTWARE},
        "multiscales": [
            {
                "version": _VERSION,
                "name": stack.title,
                "axes": [_axis(*pair) for pair in zip(stack.axes, stack.units, strict=True)],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": list(stack.scale)}
                        ],
                    }
                ],
            }
        ],
        "image-label": {
            "version": _VERSION,
            "colors": [
                {
                    "label-value": int(object_id),
                    "rgba": [*palette[(object_id - 1) % 255 + 1].tolist(), 255],
                }
                for object_id in stack.object_ids
            ],
        },
    }


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr group or array."""
    return any((path / name).is_file() for name in (".zgroup", ".zarray", "zarr.json"))


def is_output(path: Path) -> bool:
    """Whether a folder holds labels that `write` wrote."""
    try:
        attributes = json.loads((path / ".zattrs").read_text(encoding="utf-8"))
        return bool(attributes["_creator"]["name"] == SOFTWARE)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read(path: Path) -> SavedMasks:
    """Opens labels of a Zarr array or of the finest level of an OME-Zarr group.

    The group may be the label multiscale itself, or an image with labels under `labels/`, of which
    the first is taken. Both NGFF 0.4 and 0.5 are understood.

    Raises:
        ValueError: No integer array of two or three dimensions is there.
    """
    import zarr  # slow to import, and needed only here

    node: Any = zarr.open(str(path), mode="r")
    for _ in range(3):  # group -> labels/name -> level 0 -> array
        if hasattr(node, "shape"):
            break
        node = node[_child_path(node, path)]
    if node.dtype.kind not in "iub" or len(node.shape) not in (2, 3):
        raise ValueError(
            f"{path} holds {node.dtype} of shape {node.shape}; labels are integer (T, H, W)"
        )
    array = node
    num_frames = array.shape[0] if len(array.shape) == 3 else 1

    def read_frame(frame_index: int) -> FrameMasks:
        labels = array[frame_index] if len(array.shape) == 3 else array[:]
        return FrameMasks.from_labels(frame_index, np.asarray(labels))

    return SavedMasks(num_frames, (array.shape[-2], array.shape[-1]), read_frame)


def _child_path(group: Any, path: Path) -> str:
    """Where to look for labels inside a Zarr group."""
    attributes = dict(group.attrs)
    attributes |= attributes.get("ome", {})
    names = set(group)
    if "labels" in names and "image-label" not in attributes:
        return f"labels/{_first_label(group['labels'])}"
    if "multiscales" in attributes:
        return str(attributes["multiscales"][0]["datasets"][0]["path"])
    raise ValueError(f"{path} is a Zarr group without OME metadata; it holds {sorted(names)}")


def _first_label(group: Any) -> str:
    attributes = dict(group.attrs)
    attributes |= attributes.get("ome", {})
    return str((attributes.get("labels") or sorted(group))[0])
