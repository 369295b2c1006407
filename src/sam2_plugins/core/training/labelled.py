"""Images, volumes and videos with their instances, in memory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MIN_INSTANCE_AREA = 16


@dataclass(frozen=True)
class Instance:
    """One labelled object of an image: its id, its bounds and its area in pixels."""

    object_id: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    area: int


@dataclass(frozen=True)
class LabelledImage:
    """An image with its instances.

    Attributes:
        name: File name without its ending.
        image: (H, W, 3) uint8, RGB.
        labels: (H, W) uint16, 0 is background.
        instances: The instances of at least `MIN_INSTANCE_AREA` pixels.
    """

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.uint16]
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class LabelledVolume:
    """A volume with its instances.

    Attributes:
        name: Name of its folder.
        volume: (Z, Y, X) uint8.
        labels: (Z, Y, X) uint16, ids consistent through all axes.
    """

    name: str
    volume: NDArray[np.uint8]
    labels: NDArray[np.uint16]


@dataclass(frozen=True)
class TrainingData:
    """What a training run draws from.

    Attributes:
        images: Images by name of their set.
        volumes: Volumes by name of their set.
    """

    images: dict[str, tuple[LabelledImage, ...]]
    volumes: dict[str, tuple[LabelledVolume, ...]]


def find_instances(labels: NDArray[np.uint16]) -> tuple[Instance, ...]:
    """List the instances of a label map of at least `MIN_INSTANCE_AREA` pixels."""
    areas = np.bincount(labels.ravel())
    return tuple(
        Instance(
            index + 1,
            (bounds[0].start, bounds[0].stop),
            (bounds[1].start, bounds[1].stop),
            int(areas[index + 1]),
        )
        for index, bounds in enumerate(ndimage.find_objects(labels.astype(np.int32)))
        if bounds is not None and areas[index + 1] >= MIN_INSTANCE_AREA
    )


@dataclass(frozen=True)
class LabelledStack:
    """A video or a volume, of which every frame here is labelled.

    Attributes:
        name: What it is called.
        frames: (T, H, W, 3) uint8, RGB.
        labels: (T, H, W) uint16, ids consistent over frames.
        is_volume: Whether the frames are slices.
    """

    name: str
    frames: NDArray[np.uint8]
    labels: NDArray[np.uint16]
    is_volume: bool

    def part(self, frames: slice, name: str) -> "LabelledStack":
        """Return some of its frames under a name of their own."""
        return LabelledStack(name, self.frames[frames], self.labels[frames], self.is_volume)
