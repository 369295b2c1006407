"""What labels say of one object on one frame, in the core's terms."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.fiftyone_plugin.geometry import Box


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """All that is said of one object on one frame.

    Attributes:
        points: (x, y) in pixels.
        point_labels: For each, 1 on the object or 0 on the background.
        box: (x0, y0, x1, y1) in pixels.
        mask: (H, W) bool, instead of a box; clicks correct it.
    """

    points: tuple[tuple[float, float], ...] = ()
    point_labels: tuple[int, ...] = ()
    box: Box | None = None
    mask: NDArray[np.bool_] | None = None

    def joined(self, later: "Prompt") -> "Prompt":
        """Both together: points add up; of two boxes or masks the later counts, else the mask."""
        mask = self.mask if later.mask is None else later.mask
        return Prompt(
            self.points + later.points,
            self.point_labels + later.point_labels,
            (later.box or self.box) if mask is None else None,
            mask,
        )

    def without_met_clicks(self) -> "Prompt":
        """Without clicks that the mask agrees with: they would only change a mask that is right."""
        if self.mask is None:
            return self
        last_row, last_column = self.mask.shape[0] - 1, self.mask.shape[1] - 1
        clicks = [
            ((x, y), label)
            for (x, y), label in zip(self.points, self.point_labels, strict=True)
            if self.mask[min(int(y), last_row), min(int(x), last_column)] != bool(label)
        ]
        points, point_labels = zip(*clicks, strict=True) if clicks else ((), ())
        return Prompt(points, point_labels, mask=self.mask)
