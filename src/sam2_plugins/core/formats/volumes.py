"""An array of labels of any number of axes, as the formats of label images take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sam2_plugins.core.formats.stack import MaskStack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["LabelArray", "LabelSource"]

_AXES = "TZYX"


class LabelArray:
    """Labels in memory or in a file that is mapped to it; see `MaskStack` for frames that arrive.

    Args:
        labels: Integer ids, 0 is background.
        axes: A letter of TZYX for each axis, in this order; the last two are Y and X.
        scale: Size of a pixel along each axis; 1 if not given.
        units: Of the scale, for each axis: names like "micrometer"; "pixel" or "" for none.
        title: Name of the whole.

    Raises:
        ValueError: These do not fit together.
    """

    def __init__(
        self,
        labels: NDArray[np.integer],
        *,
        axes: str,
        scale: Sequence[float] | None = None,
        units: Sequence[str] | None = None,
        title: str = "masks",
    ) -> None:
        if axes not in ("TZYX", "TYX", "ZYX", "YX") or len(axes) != labels.ndim:
            raise ValueError(
                f"labels of shape {labels.shape} have axes {axes!r}; they are {_AXES}, of which "
                "T or Z or both may be missing"
            )
        if labels.dtype.kind not in "ui" or not labels.size:
            raise ValueError(
                f"labels are {labels.dtype} of shape {labels.shape}, not integers of some pixels"
            )
        for name, values in (("scale", scale), ("units", units)):
            if values is not None and len(values) != labels.ndim:
                raise ValueError(f"{name} has {len(values)} values for axes {axes}")
        self.axes = axes
        self.scale = tuple(float(step) for step in scale or (1.0,) * labels.ndim)
        self.units = tuple(units or ("",) * labels.ndim)
        self.title = title
        self.object_ids = _ids(labels)
        if len(self.object_ids) and self.object_ids[0] < 0:
            raise ValueError(f"label {self.object_ids[0]} is negative; 0 is background")
        # A plane is a stack of one frame, as everywhere.
        self._labels = labels[None] if axes == "YX" else labels

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the labels."""
        return self._labels.shape[-len(self.axes) :]

    @property
    def num_frames(self) -> int:
        """Length of the first axis; 1 of a single plane."""
        return len(self._labels)

    @property
    def label_dtype(self) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
        """Integer type that holds all ids."""
        is_wide = len(self.object_ids) > 0 and self.object_ids[-1] > np.iinfo(np.uint16).max
        return np.dtype(np.uint32) if is_wide else np.dtype(np.uint16)

    def labels(self) -> Iterator[NDArray[np.unsignedinteger]]:
        """Along the first axis, planes (H, W) or volumes (Z, H, W) of `label_dtype`."""
        dtype = self.label_dtype
        return (np.asarray(part).astype(dtype) for part in self._labels)

    def pages(self) -> Iterator[NDArray[np.unsignedinteger]]:
        """All planes (H, W), the last of the other axes fastest."""
        dtype = self.label_dtype
        return (
            np.asarray(self._labels[index]).astype(dtype)
            for index in np.ndindex(self._labels.shape[:-2])
        )


def _ids(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """All ids but 0, ascending; one plane is looked at after the other."""
    found = {0}
    for index in np.ndindex(labels.shape[:-2]):
        plane = np.asarray(labels[index])
        if plane.any():
            found.update(np.unique(plane).tolist())
    return np.array(sorted(found - {0}), dtype=np.int64)


LabelSource: TypeAlias = MaskStack | LabelArray
"""What the formats of label images write."""
