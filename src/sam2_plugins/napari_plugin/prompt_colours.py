"""Which colour a prompt has on its layer: one for the object, one for the background."""

from typing import TYPE_CHECKING

import numpy as np

from sam2_plugins.napari_plugin.prompt_rows import label_of, polarity_of, rows_of
from sam2_plugins.napari_plugin.prompts import NEGATIVE, POSITIVE

if TYPE_CHECKING:
    from napari.layers import Layer

COLOURS = {POSITIVE: "#2ecc40", NEGATIVE: "#ff4136"}
BOX_COLOUR = "#ffdc00"


def colour_by_polarity(layer: "Layer", what: str) -> None:
    """Give every prompt of a layer the colour of its polarity.

    Args:
        layer: Points or shapes.
        what: The layer's attribute that holds the colours: "face_color" or "edge_color".
    """
    from napari.utils.colormaps.standardize_color import transform_color

    if not len(layer.data):
        return
    wanted = transform_color([COLOURS[polarity_of(label_of(row))] for row in rows_of(layer)])
    # Setting them draws the layer anew, even where all stay as they are.
    if not np.allclose(getattr(layer, what), wanted):
        setattr(layer, what, wanted)
