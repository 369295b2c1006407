"""Videos opened in napari: frames are decoded when they are looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2_plugins.core import open_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from sam2_plugins.core import FrameSource

LayerData = tuple["FrameArray", dict[str, Any], str]


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]]:
    """What napari reads videos with; which files are videos, the manifest says."""
    return read_layers


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Image layers of one file or several: one each, or one per channel.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It cannot be read.
    """
    paths = [path] if isinstance(path, str) else path
    return [layer for one in paths for layer in _layers_of(Path(one))]


def _layers_of(path: Path) -> Iterator[LayerData]:
    frames = open_frames(path)
    _warn_of_end(frames)
    array = FrameArray(frames)
    is_film = getattr(frames, "shows_time", False)
    labels = {"axis_labels": ("t", "y", "x")} if is_film else {}
    if frames.is_rgb or array.ndim == 3:
        facts = {"name": path.stem, "rgb": frames.is_rgb, **labels}
        yield array, facts, "image"
        return
    frames.close()
    for channel in range(array.shape[-1]):
        facts = {"name": f"{path.stem} {channel}", "blending": "additive", **labels}
        yield FrameArray(open_frames(path, channels=channel)), facts, "image"


def _warn_of_end(frames: FrameSource) -> None:
    """What there is of a video that ends early is shown: it is the person who decides."""
    shortfall = getattr(frames, "shortfall", None)
    if shortfall is not None:
        from napari.utils.notifications import show_warning

        show_warning(shortfall.message)


class FrameArray:
    """Frames as napari wants an array: read one at a time, when they are shown.

    Args:
        frames: Closed when this is forgotten.
    """

    def __init__(self, frames: FrameSource) -> None:
        self._frames = frames
        first = frames.read(0)
        self.dtype = first.dtype
        self.shape = (frames.num_frames, *first.shape)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        first, *others = index if isinstance(index, tuple) else (index,)
        rest = tuple(others)
        if isinstance(first, slice):
            read = [self._frames.read(i) for i in range(*first.indices(len(self)))]
            stacked = np.stack(read) if read else np.empty((0, *self.shape[1:]), self.dtype)
            return np.asarray(stacked[(slice(None), *rest)])
        if first is Ellipsis:
            return np.asarray(self[:][(first, *rest)])
        frame = int(first)
        return np.asarray(self._frames.read(frame + len(self) * (frame < 0))[rest])

    def __array__(self, dtype: np.dtype[Any] | None = None, copy: bool | None = None) -> Any:
        return np.asarray(self[:], dtype=dtype)
