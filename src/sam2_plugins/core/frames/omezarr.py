"""Frames of zarr arrays and OME-Zarr images, versions 2 and 3."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from sam2_plugins.core.frames.array import ArrayFrames
from sam2_plugins.core.frames.source import Selection, check_level, file_identity

if TYPE_CHECKING:
    import zarr

_MARKERS = ("zarr.json", ".zgroup", ".zarray")
_AXIS_TYPES = {"time": "t", "channel": "c"}
_LETTERS = {"t", "z", "c", "y", "x"}
# Images written before axes were part of the metadata always had these.
_FIRST_OME_AXES = "tczyx"


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr array or group."""
    return any((path / marker).is_file() for marker in _MARKERS)


def open_zarr_path(path: Path, selection: Selection) -> ArrayFrames:
    """Open a folder that is a zarr array or an OME-Zarr image.

    Raises:
        ValueError: When it is neither, or its metadata cannot be read.
    """
    import zarr  # takes a second, which only those who open zarr should pay

    name = str(path)
    markers = [path / marker for marker in _MARKERS if (path / marker).is_file()]
    if not markers:
        raise ValueError(f"{name}: is not a zarr folder; it has none of {', '.join(_MARKERS)}")
    try:
        node = zarr.open(str(path), mode="r")
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{name}: cannot be read as zarr ({reason})") from error
    return open_zarr(node, selection, name=name, identity=file_identity(markers[0]))


def open_zarr(node: Any, selection: Selection, *, name: str, identity: str = "") -> ArrayFrames:
    """Open a zarr array, or the chosen level of an OME-Zarr image group.

    Raises:
        ValueError: When a group holds no image, or has no such level.
    """
    if not _is_group(node):
        selection.refuse_level(name)
        axes = _dimension_axes(node)
        return ArrayFrames(node, axes, selection=selection, name=name, identity=identity)
    image = _find_multiscale(node)
    if image is None:
        return open_zarr(_only_array(node, name), selection, name=name, identity=identity)
    group, multiscale = image
    datasets = multiscale["datasets"]
    check_level(selection.level, len(datasets), name)
    dataset = str(datasets[selection.level]["path"])
    try:
        array: Any = group[dataset]
    except KeyError as error:
        raise ValueError(f"{name}: level {selection.level} ({dataset!r}) is missing") from error
    return ArrayFrames(
        array,
        _multiscale_axes(multiscale, array.ndim, name),
        selection=selection,
        name=name,
        identity=identity and f"{identity}|level {selection.level}",
    )


def _find_multiscale(group: "zarr.Group") -> "tuple[zarr.Group, dict[str, Any]] | None":
    attributes = _attributes(group)
    multiscales = attributes.get("multiscales")
    if multiscales and multiscales[0].get("datasets"):
        return group, multiscales[0]
    if "bioformats2raw.layout" in attributes and "0" in group:
        series = group["0"]
        return _find_multiscale(series) if _is_group(series) else None
    return None


def _is_group(node: "zarr.Array[Any] | zarr.Group") -> "TypeGuard[zarr.Group]":
    return hasattr(node, "array_keys")


def _attributes(group: "zarr.Group") -> dict[str, Any]:
    attributes: dict[str, Any] = dict(group.attrs)
    # Version 0.5 moved the metadata under one key.
    return {**attributes, **attributes.get("ome", {})}


def _multiscale_axes(multiscale: dict[str, Any], ndim: int, name: str) -> str:
    axes = multiscale.get("axes")
    letters = list(_FIRST_OME_AXES) if axes is None else [_axis_letter(axis) for axis in axes]
    if len(letters) != ndim or not {"y", "x"} <= set(letters):
        raise ValueError(
            f"{name}: its metadata names the axes {''.join(letters)!r} of an array of {ndim} axes"
        )
    return "".join(letters)


def _axis_letter(axis: str | dict[str, str]) -> str:
    """Return t, z, c, y or x, or q for an axis that is none of them."""
    if isinstance(axis, str):
        letter = axis.lower()
    else:
        letter = _AXIS_TYPES.get(axis.get("type", ""), axis["name"].lower())
    return letter if letter in _LETTERS else "q"


def _dimension_axes(array: Any) -> str | None:
    """Return the axes of a plain array whose dimensions all have one-letter names we know."""
    names = getattr(getattr(array, "metadata", None), "dimension_names", None)
    names = names or array.attrs.get("_ARRAY_DIMENSIONS")
    if not names or any(not isinstance(name, str) for name in names):
        return None
    letters = [_AXIS_TYPES.get(name.lower(), name.lower()) for name in names]
    is_known = len(set(letters)) == len(letters) and {"y", "x"} <= set(letters) <= _LETTERS
    return "".join(letters) if is_known else None


def _only_array(group: "zarr.Group", name: str) -> Any:
    if "plate" in _attributes(group):
        raise ValueError(f"{name}: is a plate; open one image of it, for example {name}/A/1/0")
    keys = sorted(group.array_keys())
    if len(keys) != 1:
        held = f"the arrays {', '.join(keys)}" if keys else "no array"
        raise ValueError(f"{name}: is not an OME-Zarr image; open one array of it (holds {held})")
    return group[keys[0]]
