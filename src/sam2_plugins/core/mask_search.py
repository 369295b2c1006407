"""A search for everything in an image, crop by crop, and how what is found in them is merged."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.crops import Window, suppress
from sam2_plugins.core.placed_masks import PlacedMask

MAX_KNOWN_SHARE = 0.5
"""A mask seen from afar of which closer views know more than this is dropped."""


@dataclass(frozen=True, slots=True, eq=False)
class GeneratedMask:
    """One mask found without a prompt.

    Attributes:
        mask: (H, W) bool.
        area: Pixels of the mask.
        box: (x0, y0, x1, y1), half-open.
        predicted_iou: In [0, 1].
        stability: IoU of the mask at a high and at a low threshold, in [0, 1].
        point: (x, y) of the grid point it was found from.
    """

    mask: NDArray[np.bool_]
    area: int
    box: Window
    predicted_iou: float
    stability: float
    point: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A `GeneratedMask` that may still be dropped: thousands of them must not fill the memory.

    Attributes:
        worth: Of two masks of the same, that with the higher one stays.
    """

    mask: PlacedMask
    area: int
    box: Window
    predicted_iou: float
    stability: float
    point: tuple[float, float]
    worth: float

    def unpack(self) -> GeneratedMask:
        """With the mask at the image's size."""
        rest = (self.area, self.box, self.predicted_iou, self.stability, self.point)
        return GeneratedMask(self.mask.unpack(), *rest)


class Crop(NamedTuple):
    """A part of an image that is looked at; in later layers objects are larger."""

    window: Window
    points_per_side: int
    layer: int


class Looks(Protocol):
    """What looks at crops: a `MaskGenerator`."""

    def crops(self, size: tuple[int, ...]) -> list[Crop]:
        """What is looked at of an image (H, W)."""
        ...

    def look_at(self, image: NDArray[Any], crop: Crop) -> list[Candidate]:
        """The masks of one crop."""
        ...


class MaskSearch:
    """A search for masks; iterating looks at one crop after the other, and may be stopped.

    Args:
        generator: Looks.
        image: (H, W, 3) uint8, or float in [0, 1].
        max_box_iou: Of two masks whose boxes overlap more, the sharper or better one stays.
        is_tiled: Drop what closer views have shown to be several things.
        max_known_share: A mask of which better ones cover more is dropped; 1 keeps wholes and
            their parts.
    """

    def __init__(
        self,
        generator: Looks,
        image: NDArray[Any],
        *,
        max_box_iou: float,
        is_tiled: bool,
        max_known_share: float,
    ) -> None:
        self._generator = generator
        self._max_box_iou = max_box_iou
        self._is_tiled = is_tiled
        self._max_known_share = max_known_share
        self._image = image
        self._crops = generator.crops(image.shape[:2])
        self._found: list[tuple[int, Candidate]] = []

    def __len__(self) -> int:
        """How many crops there are."""
        return len(self._crops)

    def __iter__(self) -> Iterator[Crop]:
        for crop in self._crops:
            masks = self._generator.look_at(self._image, crop)
            self._found += [(crop.layer, mask) for mask in masks]
            yield crop

    def masks(self) -> Iterator[GeneratedMask]:
        """What was found so far, each once, the best first; unpacked one by one."""
        return (candidate.unpack() for candidate in self.candidates())

    def candidates(self) -> list[Candidate]:
        """The same, packed."""
        # Masks of smaller crops are sharper: they win over the same object seen from afar.
        order = sorted(self._found, key=lambda entry: (-entry[0], -entry[1].worth))
        kept = suppress([mask for _, mask in order], self._max_box_iou)
        if self._is_tiled:
            layers = {id(mask): layer for layer, mask in order}
            kept = _without_crowds(kept, [layers[id(mask)] for mask in kept])
        kept.sort(key=lambda mask: -mask.worth)
        return _apart(kept, self._max_known_share)


def _apart(masks: list[Candidate], max_known_share: float) -> list[Candidate]:
    """Masks, the best first, without those of which better ones cover more than a share."""
    if not masks or max_known_share >= 1:
        return masks
    is_known = np.zeros(masks[0].mask.shape, dtype=bool)
    kept = []
    for candidate in masks:
        known, mask = is_known[candidate.mask.window.slices], candidate.mask.crop
        if np.count_nonzero(known & mask) <= max_known_share * candidate.area:
            known |= mask
            kept.append(candidate)
    return kept


def _without_crowds(masks: list[Candidate], layers: list[int]) -> list[Candidate]:
    """Masks, sharpest first, but for those that closer views have shown to be several things."""
    if not masks:
        return []
    is_known = np.zeros(masks[0].mask.shape, dtype=bool)
    kept: list[Candidate] = []
    waiting: list[Candidate] = []
    for number, candidate in enumerate(masks):
        if number and layers[number] != layers[number - 1]:
            for known in waiting:
                is_known[known.mask.window.slices] |= known.mask.crop
            waiting = []
        here = is_known[candidate.mask.window.slices] & candidate.mask.crop
        if np.count_nonzero(here) <= MAX_KNOWN_SHARE * candidate.area:
            kept.append(candidate)
            waiting.append(candidate)
    return kept
