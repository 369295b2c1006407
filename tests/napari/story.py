"""What the story is told on: stacks with true labels, and a person's hands in a window."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sam2_plugins.core import nuclei_stack

DATA_VARIABLE = "SAM2_PLUGINS_DATA"
POINTS, BOXES, SCRIBBLES, MASKS = (f"SAM 2 {x}" for x in ("points", "boxes", "scribbles", "masks"))
TIMEOUT_MS = 180_000


@dataclass(frozen=True)
class Sample:
    """A stack with truth.

    Attributes:
        images: (T, H, W) or (T, H, W, 3).
        labels: (T, H, W) true ids.
        frame: Where to begin.
        facts: Of the image layer.
        least_iou: What a box gives at least on that frame.
    """

    images: NDArray[Any]
    labels: NDArray[Any]
    frame: int
    facts: dict[str, Any]
    least_iou: float

    def largest(self, count: int) -> list[int]:
        """Ids of the largest objects on the frame."""
        ids, areas = np.unique(self.labels[self.frame], return_counts=True)
        return [int(ids[i]) for i in np.argsort(-areas) if ids[i]][:count]

    def truth(self, label: int) -> NDArray[np.bool_]:
        """(H, W) bool: where an object is on the frame."""
        return np.asarray(self.labels[self.frame] == label)

    def centre(self, label: int) -> tuple[float, float]:
        """(y, x) inside an object, far from its edge."""
        from scipy.ndimage import distance_transform_edt

        depth = distance_transform_edt(np.pad(self.truth(label), 1))[1:-1, 1:-1]
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        return float(y), float(x)

    def corners(self, label: int) -> NDArray[np.float64]:
        """(4, 3) corners of the box around an object."""
        rows, columns = np.nonzero(self.truth(label))
        y0, x0, y1, x1 = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        t = self.frame
        return np.array([[t, y0, x0], [t, y0, x1], [t, y1, x1], [t, y1, x0]], float)


def data_folder() -> Path | None:
    """Real data with masks, where there is some."""
    root = Path(__file__).resolve().parents[2]
    named = os.environ.get(DATA_VARIABLE)
    found = Path(named) if named else root.parent / "shared" / "data"
    return found / "dev" if (found / "dev").is_dir() else None


def generated() -> Sample:
    """A stack of nuclei, slices twice as far apart as pixels."""
    sample = nuclei_stack((10, 96, 96), num_nuclei=6)
    facts = {"scale": (2, 1, 1), "axis_labels": ("z", "y", "x")}
    return Sample(sample.images, sample.labels, 5, facts, 0.5)


def nuclei_3d(folder: Path) -> Sample:
    """A real stack of nuclei."""
    images, labels = (
        tifffile.imread(folder / "nuclei_3d" / f"{x}.tif")[8:20] for x in ("volume", "labels")
    )
    return Sample(images, labels, 6, {"scale": (2, 1, 1), "axis_labels": ("z", "y", "x")}, 0.4)


def chair_video(folder: Path) -> Sample:
    """A real video: the reflection of a chair in a window, which is hard."""
    images, labels = (
        np.stack(
            [
                np.asarray(Image.open(path))[::3, ::3]
                for path in sorted((folder / "chair_video" / name).iterdir())[:8]
            ]
        )
        for name in ("frames", "masks")
    )
    return Sample(images, labels, 3, {"rgb": True, "axis_labels": ("t", "y", "x")}, 0.1)


SAMPLES: dict[str, Callable[..., Sample]] = {
    "generated": generated,
    "nuclei_3d": nuclei_3d,
    "chair_video": chair_video,
}


def load_sample(name: str) -> Sample:
    """A sample by name."""
    return generated() if name == "generated" else SAMPLES[name](data_folder())


# Skipped by a mark: napari's viewer fixture cannot clean up after a test that skips itself.
needs_data = pytest.mark.skipif(
    data_folder() is None, reason=f"no real data: set {DATA_VARIABLE} to a folder with dev/"
)
SAMPLE_PARAMETERS = [
    pytest.param(name, marks=() if name == "generated" else needs_data) for name in SAMPLES
]


def iou(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Of two masks."""
    a, b = np.asarray(first, bool), np.asarray(second, bool)
    return float(np.count_nonzero(a & b) / max(np.count_nonzero(a | b), 1))


def frames_with(masks: NDArray[Any], object_id: int) -> list[int]:
    """Slices on which an object is drawn."""
    return np.flatnonzero((np.asarray(masks) == object_id).any(axis=(1, 2))).tolist()
