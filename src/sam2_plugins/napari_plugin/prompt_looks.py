"""What prompts look like: which way a click is, and of which object a prompt is.

A click or scribble is green on the object and red on the background. A box has the colour that the
object's mask has, and so has the ring around a click; around those of the object that is worked on
it is white, to be seen well.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.napari_plugin.object_colours import WHITE, ObjectColours
from sam2_plugins.napari_plugin.prompt_rows import (
    label_of,
    no_rows,
    object_of,
    polarity_of,
    rows_of,
)
from sam2_plugins.napari_plugin.prompts import NEGATIVE, POSITIVE

if TYPE_CHECKING:
    from napari.layers import Layer

POINTS, BOXES, SCRIBBLES = "SAM 2 points", "SAM 2 boxes", "SAM 2 scribbles"
COLOURS = {POSITIVE: "#2ecc40", NEGATIVE: "#ff4136"}
_POINTS_PER_SIDE = 50
"""A point is this fraction of the image's shorter side across."""
_RING = 0.25
"""Width of the ring around a point, over its diameter."""


def new_layer(
    name: str, shape: tuple[int, ...], *, defaults: Mapping[str, Any], transform: Mapping[str, Any]
) -> "Layer":
    """An empty layer for prompts.

    Args:
        name: `POINTS`, `BOXES` or `SCRIBBLES`.
        shape: Of the image, without colours.
        defaults: Features of new prompts.
        transform: Keywords that put a layer where the image is.
    """
    from napari.layers import Points, Shapes

    point_size, ndim = max(1.0, min(sorted(shape)[-2:]) / _POINTS_PER_SIDE), len(shape)
    common = {"name": name, "ndim": ndim, "features": no_rows(), "feature_defaults": defaults}
    if name == POINTS:
        return Points(
            np.empty((0, ndim)),
            size=point_size,
            face_color=COLOURS[POSITIVE],
            border_color=np.array(WHITE),
            border_width=_RING,
            **common,
            **transform,
        )
    return Shapes(
        edge_color=np.array(WHITE) if name == BOXES else COLOURS[POSITIVE],
        face_color="transparent",
        edge_width=max(point_size / 5, 0.5),
        **common,
        **transform,
    )


def colour_new(layer: "Layer", name: str, *, polarity: str, colour: NDArray[np.floating]) -> None:
    """Say what the next prompt of a layer looks like: of the object that is worked on.

    Args:
        layer: One of those of `new_layer`; a person may have renamed it.
        name: As which it was made.
        polarity: Which way it is.
        colour: (4,) RGBA of its object.
    """
    if name == POINTS:
        layer.current_face_color = COLOURS[polarity]
        layer.current_border_color = np.array(WHITE)
    elif name == BOXES:
        layer.current_edge_color = colour
    else:
        layer.current_edge_color = COLOURS[polarity]


def colour(layer: "Layer", name: str, *, colours: ObjectColours, current: int) -> None:
    """Give every prompt of a layer the look that it should have.

    Args:
        layer: One of those of `new_layer`; a person may have renamed it.
        name: As which it was made.
        colours: Of the objects.
        current: The object that is worked on.
    """
    from napari.utils.colormaps.standardize_color import transform_color

    if not len(layer.data):
        return
    rows = rows_of(layer)
    ways = transform_color([COLOURS[polarity_of(label_of(row))] for row in rows])
    ids, which = np.unique([object_of(row) or 0 for row in rows], return_inverse=True)
    objects = np.array([colours.of(int(object_id)) for object_id in ids])[which]
    is_current = (ids == current)[which, None]
    wanted = {
        POINTS: {"face_color": ways, "border_color": np.where(is_current, WHITE, objects)},
        BOXES: {"edge_color": objects},
        SCRIBBLES: {"edge_color": ways},
    }[name]
    for what, values in wanted.items():
        # Setting them draws the layer anew, even where all stay as they are.
        if not np.allclose(getattr(layer, what), values):
            setattr(layer, what, values)
