"""Labels, Points and Shapes layers that exist already, as prompts for many objects at once."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.mask_layer import HIGHEST_LABEL
from sam2_plugins.napari_plugin.prompts import Click, Drawing, MaskPixels, PromptKey, SlicePrompts

if TYPE_CHECKING:
    from napari.layers import Labels, Layer, Points, Shapes

Said = list[tuple[PromptKey, SlicePrompts]]


def prompts_from_layer(
    layer: "Layer", place: "Layer", plane: Plane, *, frame_index: int, first_object: int
) -> Said:
    """Every label on the slice on show, or every point or shape, as a new object.

    Args:
        layer: A Labels, Points or Shapes layer.
        place: A layer where the image is: positions are taken from world to its data.
        plane: On show.
        frame_index: The slice on show, for labels.
        first_object: The first new object's id; labels keep their own where they are higher, unless
            one is too high for a layer of masks.

    Returns:
        Prompts by object and frame.

    Raises:
        ValueError: The layer does not fit, or has nothing to take.
    """
    kind = type(layer).__name__
    if kind == "Labels":
        said = _from_labels(layer, plane, frame_index, first_object)
    elif kind == "Points":
        said = _from_points(layer, place, plane, first_object)
    elif kind == "Shapes":
        said = _from_shapes(layer, place, plane, first_object)
    else:
        raise ValueError(f"{layer.name!r} is {kind}; prompts come from Labels, Points or Shapes")
    if not said:
        raise ValueError(f"{layer.name!r} has nothing here that could be a prompt")
    return said


def _from_labels(layer: "Labels", plane: Plane, frame_index: int, first_object: int) -> Said:
    data = layer.data
    if tuple(data.shape) == plane.shape:
        labels = np.asarray(data[plane.index(frame_index)])
    elif tuple(data.shape) == plane.frame_size:
        labels = np.asarray(data)
    else:
        raise ValueError(
            f"{layer.name!r} has shape {tuple(data.shape)}; it must be {plane.shape}, as the image"
        )
    parts = _parts_of(labels)
    values = list(parts)
    ids = [value + first_object - 1 for value in values]
    if values and not 0 < min(ids) <= max(ids) <= HIGHEST_LABEL:
        # Numbers that the layer of masks does not hold would be drawn as others.
        ids = list(range(first_object, first_object + len(values)))
    masks = (
        MaskPixels.place(labels[where] == value, (where[0].start, where[1].start), plane.frame_size)
        for value, where in parts.items()
    )
    return [
        (PromptKey(plane, frame_index, object_id), SlicePrompts(mask=mask))
        for object_id, mask in zip(ids, masks, strict=True)
    ]


def _parts_of(labels: NDArray[Any]) -> dict[int, tuple[slice, slice]]:
    """Where every label but 0 is, ascending."""
    from scipy.ndimage import find_objects

    if labels.min() >= 0 and labels.max() <= HIGHEST_LABEL:
        found = enumerate(find_objects(labels.astype(np.int32)), start=1)
        return {value: where for value, where in found if where is not None}
    values, numbers = np.unique(labels, return_inverse=True)
    windows = find_objects(numbers.reshape(labels.shape) + 1)
    return {int(value): where for value, where in zip(values, windows, strict=True) if value}


def _from_points(layer: "Points", place: "Layer", plane: Plane, first_object: int) -> Said:
    said: Said = []
    for position in layer.data:
        where = _positions(layer, place, [position])[0]
        frame_index = plane.frame_index(where)
        x, y = plane.xy(where)
        if frame_index is not None and plane.holds(x, y):
            key = PromptKey(plane, frame_index, first_object + len(said))
            said.append((key, SlicePrompts(clicks=(Click(x, y, 1),))))
    return said


def _from_shapes(layer: "Shapes", place: "Layer", plane: Plane, first_object: int) -> Said:
    said: Said = []
    for vertices, kind in zip(layer.data, layer.shape_type, strict=True):
        where = _positions(layer, place, vertices)
        frame_index = plane.frame_index(where[0])
        if frame_index is not None:
            drawing = Drawing(str(kind), tuple(plane.xy(vertex) for vertex in where))
            key = PromptKey(plane, frame_index, first_object + len(said))
            said.append((key, SlicePrompts(drawings=(drawing,))))
    return said


def _positions(layer: "Layer", place: "Layer", positions: Iterable[Any]) -> list[list[float]]:
    """Data coordinates of another layer, through the world; axes it lacks are at 0."""
    found = []
    for position in positions:
        world = np.asarray(layer.data_to_world(position), dtype=float)
        missing = max(place.ndim - len(world), 0)
        world = np.concatenate([np.zeros(missing), world])
        found.append([float(v) for v in place.world_to_data(world)])
    return found
