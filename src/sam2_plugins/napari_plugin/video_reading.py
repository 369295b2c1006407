"""Videos opened in napari: frames are decoded when they are looked at."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2_plugins.core import open_frames
from sam2_plugins.napari_plugin.waiting import GivenUpError, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from sam2_plugins.core import FrameSource

LayerData = tuple["FrameArray", dict[str, Any], str]
NO_LAYERS = [(None,)]
"""What napari takes for none."""


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[Any]]:
    """What napari reads videos with; which files are videos, the manifest says."""
    return read_layers


def read_layers(path: str | Sequence[str]) -> list[Any]:
    """Image layers of one file or several, as napari wants to be told of them.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It cannot be read.
    """
    paths = [path] if isinstance(path, str) else path
    return [layer for one in paths for layer in layers_of(Path(one))] or NO_LAYERS


def open_array(source: Path | Sequence[Path], **choice: Any) -> FrameArray:
    """Open frames for a window, which stays live while a long video is gone through.

    Args:
        source: A file, or one for each frame.
        choice: See `open_frames`.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It cannot be read.
        GivenUpError: A person has cancelled it.
    """
    source = source if isinstance(source, Path) else list(source)
    first = source if isinstance(source, Path) else source[0]
    reopen = partial(open_frames, source, **choice)
    frames = wait_for(lambda tell: reopen(progress=tell), f"Going through {first.name}")
    return FrameArray(frames, reopen)


def layers_of(path: Path) -> Iterator[LayerData]:
    """Image layers of a file: one, or one per channel; none where a person did not want to wait.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It cannot be read.
    """
    try:
        array = open_array(path)
    except GivenUpError:
        return
    frames = array.frames
    _warn_of_end(frames)
    is_film = getattr(frames, "shows_time", False)
    labels = {"axis_labels": ("t", "y", "x")} if is_film else {}
    if frames.is_rgb or array.ndim == 3:
        facts = {"name": path.stem, "rgb": frames.is_rgb, **labels}
        yield array, facts, "image"
        return
    frames.close()
    for channel in range(array.shape[-1]):
        facts = {"name": f"{path.stem} {channel}", "blending": "additive", **labels}
        yield open_array(path, channels=channel), facts, "image"


def _warn_of_end(frames: FrameSource) -> None:
    """What there is of a video that ends early is shown: it is the person who decides."""
    shortfall = getattr(frames, "shortfall", None)
    if shortfall is not None:
        from napari.utils.notifications import show_warning

        show_warning(shortfall.message)


class FrameArray:
    """Frames as napari wants an array: read one at a time, when they are shown.

    A tracker in its own thread reads along while the window shows frames far from there: each has
    a decoder of its own, or one would wait for the other, and both decode the same again and again.

    Args:
        frames: For the thread that calls this; closed when this is forgotten.
        reopen: Opens them again, for other threads; they share `frames` if it is not given.
    """

    def __init__(
        self, frames: FrameSource, reopen: Callable[[], FrameSource] | None = None
    ) -> None:
        self.frames = frames
        self._reopen = reopen
        self._owner = threading.get_ident()
        self._lock = threading.Lock()
        self._others: FrameSource | None = None
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
            read = [self._read(i) for i in range(*first.indices(len(self)))]
            stacked = np.stack(read) if read else np.empty((0, *self.shape[1:]), self.dtype)
            return np.asarray(stacked[(slice(None), *rest)])
        if first is Ellipsis:
            return np.asarray(self[:][(first, *rest)])
        frame = int(first)
        return np.asarray(self._read(frame + len(self) * (frame < 0))[rest])

    def __array__(self, dtype: np.dtype[Any] | None = None, copy: bool | None = None) -> Any:
        return np.asarray(self[:], dtype=dtype)

    def _read(self, frame_index: int) -> NDArray[Any]:
        frames = self.frames
        if self._reopen is not None and threading.get_ident() != self._owner:
            with self._lock:
                if self._others is None:
                    self._others = self._reopen()
            frames = self._others
        return frames.read(frame_index)
