"""Arrays of labels: new ones, and which labels are in one."""

import math
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sam2_plugins.napari_plugin.waiting import wait_for

if TYPE_CHECKING:
    from napari.layers import Labels

IN_MEMORY_BYTES = 2**30


def labels_in(layer: "Labels", tell: Callable[[float], object] = lambda share: None) -> set[int]:
    """Every label but 0; looks at all pixels, a part of the layer at a time.

    Args:
        layer: The layer.
        tell: Told how much was looked at, 0 to 1.
    """
    found: set[int] = set()
    for number, part in enumerate(layer.data):
        found.update(np.unique(np.asarray(part)).tolist())
        tell((number + 1) / len(layer.data))
    return found - {0}


def look_through(layer: "Labels") -> set[int]:
    """Every label but 0 in a layer; where that takes long the window lives meanwhile.

    Raises:
        GivenUpError: A person did not want to wait.
    """
    return wait_for(partial(labels_in, layer), f"Looking through {layer.name}")


def blank_labels(
    shape: Sequence[int], channel_axis: int | None = None, *, dtype: DTypeLike = np.uint16
) -> NDArray[Any]:
    """Zeros of a shape: in memory, or in a temporary file where that would take too much.

    Args:
        shape: Of the image.
        channel_axis: Along it the same pixels are seen again and again: painted once, they are
            on every channel.
        dtype: Of the labels.
    """
    if channel_axis is not None:
        lengths = [1 if a == channel_axis else n for a, n in enumerate(shape)]
        once = blank_labels(lengths, dtype=dtype)
        strides = [0 if a == channel_axis else step for a, step in enumerate(once.strides)]
        return np.lib.stride_tricks.as_strided(once, tuple(shape), strides)
    size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if size_bytes <= IN_MEMORY_BYTES:
        return np.zeros(tuple(shape), dtype)
    # Unlinked at once where the system allows it: it goes when the layer does.
    with tempfile.NamedTemporaryFile(prefix="sam2-masks-", suffix=".bin") as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=tuple(shape))
