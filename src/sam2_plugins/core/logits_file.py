"""Low-res logits of tracked frames, on disk."""

import os
import tempfile
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


class LogitsFile:
    """Low-res logits on disk, appended and read by place; removed when nobody refers to it.

    They are needed again only to correct a frame or to rebuild a memory, so they are not worth
    memory that would grow with the video.

    Args:
        dtype: float16 halves the size; float32 where every bit counts.
    """

    def __init__(self, dtype: torch.dtype = torch.float16) -> None:
        self.dtype = dtype
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        self._end = 0

    def round(self, logits: Tensor) -> Tensor:
        """The logits as they will be read again, so that what is rebuilt is equal to the bit."""
        return logits.to(self.dtype).to(logits.dtype)

    def append(self, logits: Tensor) -> "StoredLogits":
        """Store (1, 1, 4 h, 4 w) logits."""
        data = logits.detach().to("cpu", self.dtype).contiguous().numpy().tobytes()
        offset, self._end = self._end, self._end + len(data)
        self._file.seek(offset)
        self._file.write(data)
        self._file.flush()
        return StoredLogits(self, offset, tuple(logits.shape))

    def read(self, offset: int, shape: tuple[int, ...]) -> Tensor:
        """Read logits back as float32."""
        dtype = np.float16 if self.dtype == torch.float16 else np.float32
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        data = os.pread(self._file.fileno(), size, offset)
        array = np.frombuffer(data, dtype=dtype).reshape(shape).astype(np.float32)
        return torch.from_numpy(array)


@dataclass(frozen=True, slots=True)
class StoredLogits:
    """A place in a `LogitsFile`."""

    file: LogitsFile
    offset: int
    shape: tuple[int, ...]

    def read(self) -> Tensor:
        """(1, 1, 4 h, 4 w) float32 on the CPU."""
        return self.file.read(self.offset, self.shape)
