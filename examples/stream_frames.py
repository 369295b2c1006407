"""Track frames as they arrive, as from a microscope or camera: no stack is ever held."""

from collections.abc import Iterator

import numpy as np

from sam2_plugins.core import VideoTracker, load_model


def camera() -> Iterator[np.ndarray]:
    """A bright cell that wanders across 12 frames."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:96, :128]
    for step in range(12):
        cell = np.exp(-((rows - 48) ** 2 + (columns - 30 - 5 * step) ** 2) / 150)
        yield (200 + 3000 * cell + random.normal(0, 40, cell.shape)).astype(np.uint16)


# A stream cannot be looked through for its brightest pixel, so the limits are given.
tracker = VideoTracker(load_model(), limits=(200, 3200))
for frame_index, frame in enumerate(camera()):
    found = tracker.push(frame)
    if frame_index == 0:
        found = tracker.set_box(0, 1, [15, 33, 45, 63])
    rows, columns = found.masks[0].nonzero()
    where = f"x {columns.mean():.0f}, y {rows.mean():.0f}" if len(rows) else "not seen"
    print(f"frame {frame_index}: {where}, {len(rows)} pixels")
