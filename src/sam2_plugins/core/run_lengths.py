"""COCO run lengths of masks, in NumPy: what SA-V, COCO and their tools store in JSON.

A mask is read column by column; its runs alternate between background and object, background
first. The compressed string holds, from the fourth run on, the difference to the run two before,
in groups of five bits, lowest first, one printable character each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["RLE", "decode_rle", "encode_rle"]

_FIRST_CHARACTER = 48
_MAX_CHARACTERS = 12  # of one run: enough for any 64-bit difference that can occur


class RLE(TypedDict):
    """COCO run lengths: `size` is [H, W], `counts` the compressed string."""

    size: list[int]
    counts: str


def encode_rle(mask: NDArray[np.bool_]) -> RLE:
    """Compressed COCO run lengths of one (H, W) bool mask, ready for JSON."""
    pixels = np.asarray(mask, dtype=np.bool_).ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    starts_with_object = bool(pixels.size) and bool(pixels[0])
    edges = np.concatenate([[0] * (1 + starts_with_object), changes, [pixels.size]])
    runs = np.diff(edges).astype(np.int64)
    height, width = mask.shape
    return {"size": [int(height), int(width)], "counts": _compress(runs)}


def decode_rle(rle: Mapping[str, object] | RLE) -> NDArray[np.bool_]:
    """The (H, W) bool mask of COCO run lengths.

    Args:
        rle: `size` [H, W], and `counts` as compressed string or bytes, or as a list of runs.

    Raises:
        ValueError: The runs are malformed or do not fill the size.
    """
    try:
        height, width = (int(side) for side in rle["size"])  # type: ignore[attr-defined]
        counts = rle["counts"]
        if isinstance(counts, (str, bytes)):
            runs = _expand(counts.encode("ascii") if isinstance(counts, str) else counts)
        else:
            runs = np.asarray(counts, dtype=np.int64)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"not COCO run lengths ({error}); expected size [H, W] and counts"
        ) from error
    if min(height, width) < 0 or runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"COCO run lengths do not fill their size, {height} x {width} pixels")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape((height, width), order="F")


def _compress(runs: NDArray[np.int64]) -> str:
    differences = runs.copy()
    differences[3:] -= runs[1:-2]
    characters = np.zeros((len(runs), _MAX_CHARACTERS), dtype=np.uint8)
    is_open = np.ones(len(runs), dtype=np.bool_)
    lengths = np.zeros(len(runs), dtype=np.int64)
    for place in range(_MAX_CHARACTERS):
        group = differences & 31
        differences >>= 5
        # the top bit of the last group is the sign of the number
        is_more = differences != np.where(group & 16, -1, 0)
        characters[:, place] = group + 32 * is_more + _FIRST_CHARACTER
        lengths += is_open
        is_open &= is_more
        if not is_open.any():
            break
    used = np.arange(_MAX_CHARACTERS) < lengths[:, None]
    return characters[used].tobytes().decode("ascii")


def _expand(text: bytes) -> NDArray[np.int64]:
    groups = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - _FIRST_CHARACTER
    is_last = groups & 32 == 0
    if len(groups) and (groups.min() < 0 or groups.max() > 63 or not is_last[-1]):
        raise ValueError("broken counts string")
    starts = np.concatenate([[0], np.flatnonzero(is_last)[:-1] + 1]) if len(groups) else groups
    lengths = np.flatnonzero(is_last) + 1 - starts
    if len(lengths) and lengths.max() > _MAX_CHARACTERS:
        raise ValueError("broken counts string")
    places = np.arange(len(groups)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((groups & 31) << 5 * places, starts) if len(groups) else groups
    is_negative = groups[is_last] & 16 != 0
    runs = runs - np.where(is_negative, 1 << 5 * lengths, 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
