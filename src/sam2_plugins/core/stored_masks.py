"""Masks as they are kept: one bit a pixel, compressed."""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.masks import PackedMask, mask_to_box, pack_mask, unpack_mask

_FASTEST = 1


@dataclass(frozen=True, slots=True)
class StoredMask:
    """A mask (H, W), in a small part of its size.

    A video's masks stay in memory, and those that a correction replaced stay for `undo`.

    Attributes:
        data: Packed bits, compressed.
        shape: (H, W).
    """

    data: bytes
    shape: tuple[int, ...]

    @classmethod
    def pack(cls, mask: NDArray[np.bool_]) -> "StoredMask":
        """Store a mask."""
        return cls.from_bits(pack_mask(mask).bits.tobytes(), mask.shape)

    @classmethod
    def from_bits(cls, bits: bytes, shape: tuple[int, ...]) -> "StoredMask":
        """Store a mask that is packed already."""
        return cls(zlib.compress(bits, _FASTEST), shape)

    @property
    def bits(self) -> bytes:
        """The pixels in C order, the first in the highest bit of the first byte."""
        return zlib.decompress(self.data)

    def unpack(self) -> NDArray[np.bool_]:
        """(H, W) bool."""
        return unpack_mask(PackedMask(np.frombuffer(self.bits, dtype=np.uint8), self.shape))


def box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The smallest box around one mask (H, W), see `mask_to_box`."""
    x0, y0, x1, y1 = (int(v) for v in mask_to_box(mask[None])[0])
    return x0, y0, x1, y1
