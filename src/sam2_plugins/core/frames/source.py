"""What a source of frames is, and what the caller may choose when opening one."""

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[Any]

_SAMPLE_PIXELS = 4096


@runtime_checkable
class FrameSource(Protocol):
    """Frames of one stack or video, read one at a time.

    Every frame has the same size, channels and dtype. `open_frames` makes one from arrays and
    paths; anything else with these members is accepted wherever frames are.
    """

    @property
    def num_frames(self) -> int:
        """How many frames `read` can return."""

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W) of every frame in pixels."""

    @property
    def is_rgb(self) -> bool:
        """Whether `read` returns (H, W, 3) colours; else (H, W) or (H, W, C) channels."""

    @property
    def signature(self) -> str:
        """A short string that changes when the data does; part of cache keys."""

    def read(self, frame_index: int) -> Pixels:
        """Return one frame: (H, W) or (H, W, C), raw values in the source's own dtype."""

    def close(self) -> None:
        """Release files. Reading afterwards is an error for sources made from files."""


def shows_time(frames: FrameSource) -> bool:
    """Whether frames are points in time, in which things stay, and not slices of a stack.

    Colours are of films. Of grey frames a source may say so, by an attribute `shows_time`: those of
    files do where the file, or who opened it, names the axis.
    """
    return frames.is_rgb or bool(getattr(frames, "shows_time", False))


@dataclass(frozen=True, slots=True)
class Shortfall:
    """That a file ends early; what can be read of it is sound as far as it goes.

    Attributes:
        message: One line that says where.
        is_certain: Whether the file was once whole; else it may be a recording that was stopped.
    """

    message: str
    is_certain: bool


def check_whole(frames: FrameSource) -> None:
    """Refuse frames of a file that is cut short, and warn of one that may be.

    Opening does neither: a source says so by an attribute `shortfall`, and who can do with a part
    of the frames may leave it at that.

    Raises:
        ValueError: The file is cut short.
    """
    shortfall: Shortfall | None = getattr(frames, "shortfall", None)
    if shortfall is None:
        return
    if shortfall.is_certain:
        raise ValueError(f"{shortfall.message}; get the whole file")
    warnings.warn(shortfall.message, stacklevel=2)


@dataclass(frozen=True, slots=True)
class Selection:
    """What the caller chose to read; the fields are the arguments of `open_frames`."""

    axes: str | None = None
    level: int = 0
    rgb: bool | None = None
    channels: int | Sequence[int] | None = None
    at: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_default(self) -> bool:
        """Whether nothing was chosen."""
        return self == Selection()

    def refuse_level(self, name: str) -> None:
        """Raise ValueError when a resolution level is asked of a source that has only one."""
        check_level(self.level, 1, name)


def check_level(level: int, num_levels: int, name: str) -> None:
    """Raise ValueError unless `level` is one of the source's resolution levels."""
    if not 0 <= level < num_levels:
        raise ValueError(f"{name}: no level {level}; levels are 0 to {num_levels - 1}")


def check_frame_index(frame_index: int, num_frames: int, name: str) -> None:
    """Raise ValueError unless `frame_index` is one of the source's frames."""
    if not 0 <= frame_index < num_frames:
        raise ValueError(f"{name}: no frame {frame_index}; frames are 0 to {num_frames - 1}")


def file_identity(path: Path) -> str:
    """Return path, modification time and size in one string."""
    status = path.stat()
    return f"{path.resolve()}|{status.st_mtime_ns}|{status.st_size}"


def hash_sample(identity: str, frames: Iterable[Pixels]) -> str:
    """Hash a description and some pixels of some frames to 32 hexadecimal digits.

    Args:
        identity: Everything known without reading pixels: path, shape, dtype, layout.
        frames: The frames to sample, each any shape.
    """
    digest = hashlib.blake2b(identity.encode(), digest_size=16)
    for frame in frames:
        flat = frame.reshape(-1)
        # An odd step does not keep to the same columns of frames with even sides.
        digest.update(np.ascontiguousarray(flat[:: (flat.size // _SAMPLE_PIXELS) | 1]).tobytes())
    return digest.hexdigest()
