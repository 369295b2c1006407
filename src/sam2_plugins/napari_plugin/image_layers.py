"""What an image layer of napari says about itself."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.napari_plugin.axes import axis_with_role
from sam2_plugins.napari_plugin.frames import ImageStack, make_stack
from sam2_plugins.napari_plugin.geometry import (
    is_sliced_straight,
    layer_axes,
    level_factors,
    level_transform,
)

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Image, Labels, Layer


MAX_DRAWN_SIDE = 16_384
"""Longer planes are more than a graphics card draws at once: napari thins out masks on them."""


def level_arrays(layer: "Image | Labels") -> list[Any]:
    """The arrays of a layer's resolution levels, the finest first; one if it has no pyramid."""
    return list(layer.data) if layer.multiscale else [layer.data]


def finest_level(layer: "Image") -> int:
    """The finest resolution level whose planes can be drawn on pixel by pixel.

    That is full resolution for all but the largest pyramids; small objects are not lost in a large
    plane, as they are looked at through windows. A layer without such a level is taken as it is.
    """
    for level, array in enumerate(level_arrays(layer)):
        if max(array.shape[: layer.ndim][-2:]) <= MAX_DRAWN_SIDE:
            return level
    return 0


def stack_from_layers(
    layers: Sequence["Image"],
    *,
    level: int = 0,
    limits: tuple[float, float] | None = None,
) -> ImageStack:
    """The pixels of one image layer, or of several that are channels of one image.

    Args:
        layers: Of equal shape.
        level: Resolution level, 0 the finest.
        limits: (low, high) pixel values that become 0 and 1; from the whole stack if not given.

    Raises:
        ValueError: The layers do not fit: together, or at all.
    """
    first = layers[0]
    if first.ndim < 2:
        raise ValueError(f"{first.name!r} has {first.ndim} axis; an image has at least 2")
    if level < (finest := finest_level(first)):
        height, width = level_arrays(first)[level].shape[: first.ndim][-2:]
        raise ValueError(
            f"planes of {height} x {width} pixels are too large to draw masks on: choose level "
            f"{finest} or a coarser one of {first.name!r}"
        )
    path = first.source.path
    place = transform_like(first, level)
    return make_stack(
        [level_arrays(layer)[level] for layer in layers],
        is_rgb=bool(first.rgb),
        name=first.name,
        path=None if path is None else str(path),
        axis_labels=axis_names(first),
        limits=limits,
        channel_axis=channel_axis(first),
        scale=tuple(float(step) for step in place["scale"]),
        units=tuple(str(unit) for unit in place["units"]),
    )


def axis_names(layer: "Image") -> tuple[str, ...]:
    """The names of a layer's axes."""
    return tuple(str(label) for label in layer.axis_labels)


def channel_axis(layer: "Image") -> int | None:
    """The axis of a layer along which channels are, by its label; None if there is none."""
    return None if layer.rgb else axis_with_role(axis_names(layer), "channel")


def linear_matrix(layer: "Layer") -> NDArray[np.float64]:
    """(n, n), from data to world without translation."""
    origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)))
    steps = [np.asarray(layer.data_to_world(row)) - origin for row in np.eye(layer.ndim)]
    return np.stack(steps, axis=1)


def transform_like(layer: "Image", level: int = 0) -> dict[str, Any]:
    """Keywords that give another layer the place of an image, or of one of its levels."""
    transform: dict[str, Any] = {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine,
        "axis_labels": layer.axis_labels,
        "units": layer.units,
    }
    if level:
        from napari.utils.transforms import Affine

        fine, coarse = (level_arrays(layer)[i].shape[: layer.ndim] for i in (0, level))
        own = Affine(scale=layer.scale, rotate=layer.rotate, shear=layer.shear, ndim=layer.ndim)
        transform |= level_transform(
            layer.scale, layer.translate, own.linear_matrix, factors=level_factors(fine, coarse)
        )
    return transform


def displayed_axes(layer: "Layer", dims: "Dims") -> list[int]:
    """The layer's own axes that the viewer displays; negative where it does not have them."""
    return layer_axes(dims.displayed, dims.ndim, layer.ndim)


def point_in_layer(layer: "Layer", dims: "Dims") -> NDArray[np.float64]:
    """Where the viewer's sliders stand, in the layer's data coordinates."""
    return np.asarray(layer.world_to_data(dims.point), dtype=float)


def check_straight(layer: "Layer", displayed: Sequence[int]) -> None:
    """Raise ValueError unless slices of the view are slices of the layer."""
    if not is_sliced_straight(linear_matrix(layer), displayed):
        raise ValueError(
            "the layer is rotated or sheared out of the displayed plane: its own slices are "
            "needed, show them without that rotation"
        )
