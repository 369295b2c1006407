"""The features of prompt layers: of which object, which way and on which plane a prompt is."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd  # type: ignore[import-untyped]

from sam2_plugins.napari_plugin.prompts import NEGATIVE, POSITIVE

if TYPE_CHECKING:
    from napari.layers import Layer

COLUMNS = ("object", "polarity", "plane")


def no_rows() -> pd.DataFrame:
    """The features of a layer without prompts."""
    return pd.DataFrame({column: pd.Series(dtype=object) for column in COLUMNS})


def rows_of(layer: "Layer") -> list[dict[str, Any]]:
    """A layer's features, a row for each of its prompts."""
    return list(layer.features.to_dict("records"))


def complete(features: pd.DataFrame, defaults: Mapping[str, Any]) -> pd.DataFrame | None:
    """Features with what is missing filled in; None if nothing is.

    Args:
        features: As they are on a layer; they stay so.
        defaults: By column; an empty one fills nothing in.
    """
    filled = features.copy()
    is_changed = False
    for column in COLUMNS:
        if column not in filled:
            filled[column] = None
        missing = filled[column].isna() | (filled[column] == "")
        if missing.any() and defaults[column] != "":
            filled[column] = filled[column].astype(object)
            filled.loc[missing, column] = defaults[column]
            is_changed = True
    return filled if is_changed else None


def label_of(row: Mapping[str, Any]) -> int:
    """1 on the object, 0 on the background."""
    return 0 if str(row.get("polarity")) == NEGATIVE else 1


def polarity_of(label: int) -> str:
    """The polarity of a label."""
    return POSITIVE if label else NEGATIVE


def object_of(row: Mapping[str, Any]) -> int | None:
    """The id of the object; None if what is there is none."""
    try:
        value = int(row.get("object", 0))
    except (TypeError, ValueError):
        return None
    return value if value >= 1 else None
