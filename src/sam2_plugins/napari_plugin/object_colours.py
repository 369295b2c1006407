"""The colours that masks of objects have on their layer."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

if TYPE_CHECKING:
    from napari.layers import Labels

WHITE = (1.0, 1.0, 1.0, 1.0)


class ObjectColours:
    """Tells which colour an object's mask has, and when masks get others."""

    changed = Signal()

    def __init__(self) -> None:
        self._labels: Labels | None = None
        self._known: dict[int, NDArray[np.floating]] = {}

    def follow(self, labels: "Labels | None") -> None:
        """Masks are on this layer from now on, or nowhere."""
        if self._labels is not None:
            self._labels.events.colormap.disconnect(self._on_colormap)
        self._labels = labels
        self._known.clear()
        if labels is not None:
            labels.events.colormap.connect(self._on_colormap)
            self.changed.emit()

    def of(self, object_id: int) -> NDArray[np.floating]:
        """The colour of an object, (4,) RGBA in [0, 1]; white if its mask is not to be seen."""
        if self._labels is None:
            return np.array(WHITE)
        colormap = self._labels.colormap
        if object_id in self._known and not colormap.use_selection:
            # napari takes milliseconds for one, and there may be hundreds of objects.
            return self._known[object_id]
        mapped = np.asarray(colormap.map(object_id), np.float64).reshape(4)
        found = np.array(WHITE) if mapped[3] == 0 else np.append(mapped[:3], 1.0)
        if not colormap.use_selection:
            self._known[object_id] = found
        return found

    def _on_colormap(self) -> None:
        self._known.clear()
        self.changed.emit()
