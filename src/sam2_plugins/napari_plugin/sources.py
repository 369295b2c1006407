"""Files that the layers of a viewer were read from: no export takes the place of one."""

import math
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sam2_plugins.napari_plugin.image_layers import level_arrays

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Layer


def files_to_keep(layers: "Iterable[Layer]", target: Path) -> list[Path]:
    """Files and folders that an output must not be, or replace.

    Of several files that became one stack napari remembers the first alone: every image of a single
    plane beside it may be another one.

    Args:
        layers: Of the viewer.
        target: Where the output is to be; among what is returned if it is, or holds, such a file.
    """
    read = [(layer, Path(layer.source.path).absolute()) for layer in layers if layer.source.path]
    output = target.absolute()
    is_taken = any(
        output in path.parents or (_is_beside(output, path) and _is_of_several(layer, path))
        for layer, path in read
    )
    return [path for _, path in read] + [output] * is_taken


def _is_beside(output: Path, path: Path) -> bool:
    """Whether an output that exists could be the next file after one that was read."""
    is_alike = output.suffix.lower() == path.suffix.lower()
    is_near = is_alike and output.parent.resolve() == path.parent.resolve()
    return is_near and output.is_file() and _is_one_plane(output)


def _is_of_several(layer: "Layer", path: Path) -> bool:
    """Whether a layer has more planes than the file that it is said to be of."""
    from napari.layers import Image, Labels

    if not isinstance(layer, Image | Labels):
        return False
    leading = level_arrays(layer)[0].shape[: layer.ndim][:-2]
    return math.prod(leading) > 1 and path.is_file() and _is_one_plane(path)


def _is_one_plane(path: Path) -> bool:
    from sam2_plugins.core import open_frames

    try:
        with closing(open_frames(path)) as frames:
            return bool(frames.num_frames == 1)
    except (OSError, ValueError):
        return False
