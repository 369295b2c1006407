"""Low-res logits of tracked frames, on disk."""

import math
import tempfile
import weakref
from collections import deque
from threading import Lock

import numpy as np
import torch
from torch import Tensor


class LogitsFile:
    """Low-res logits on disk, written and read by place; removed when nobody refers to it.

    They are needed again only to correct a frame or to rebuild a memory, so they are not worth
    memory that would grow with the video. Places whose logits nobody refers to are used again.

    Args:
        dtype: float16 halves the size; float32 where every bit counts.
    """

    def __init__(self, dtype: torch.dtype = torch.float16) -> None:
        self.dtype = dtype
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        # Not when Python ends: what is saved then is read from here. The system closes it.
        weakref.finalize(self, self._file.close).atexit = False
        self._lock = Lock()
        self._size_bytes = 0
        # A deque, because places are given back whenever garbage is collected, in any thread.
        self._free: dict[int, deque[int]] = {}

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return self._size_bytes

    def round(self, logits: Tensor) -> Tensor:
        """The logits as they will be read again, so that what is rebuilt is equal to the bit."""
        return logits.to(self.dtype).to(logits.dtype)

    def append(self, logits: Tensor) -> "StoredLogits":
        """Store (1, 1, 4 h, 4 w) logits."""
        data = logits.detach().to("cpu", self.dtype).contiguous().numpy().tobytes()
        free = self._free.setdefault(len(data), deque())
        with self._lock:
            offset = free.pop() if free else self._size_bytes
            self._file.seek(offset)
            self._file.write(data)
            self._file.flush()
            self._size_bytes = max(self._size_bytes, offset + len(data))
        return StoredLogits(self, offset, tuple(logits.shape))

    def read(self, offset: int, shape: tuple[int, ...]) -> Tensor:
        """Read logits back as float32."""
        dtype = np.float16 if self.dtype == torch.float16 else np.float32
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(math.prod(shape) * np.dtype(dtype).itemsize)
        array = np.frombuffer(data, dtype=dtype).reshape(shape).astype(np.float32)
        return torch.from_numpy(array)

    def give_back(self, offset: int, shape: tuple[int, ...]) -> None:
        """Allow a place to be written again."""
        size = math.prod(shape) * self.dtype.itemsize
        self._free[size].append(offset)


class StoredLogits:
    """A place in a `LogitsFile`, given back when nobody refers to it."""

    __slots__ = ("_file", "_offset", "shape")

    def __init__(self, file: LogitsFile, offset: int, shape: tuple[int, ...]) -> None:
        self._file = file
        self._offset = offset
        self.shape = shape

    @property
    def dtype(self) -> torch.dtype:
        """As stored."""
        return self._file.dtype

    def read(self) -> Tensor:
        """(1, 1, 4 h, 4 w) float32 on the CPU."""
        return self._file.read(self._offset, self.shape)

    def __del__(self) -> None:
        self._file.give_back(self._offset, self.shape)
