"""The Labels layer that masks are drawn into, and masks that a person paints there."""

import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from psygnal import Signal

from sam2_plugins.napari_plugin.layers import Plane, Window, paint_plane, union
from sam2_plugins.napari_plugin.prompts import MaskPixels
from sam2_plugins.napari_plugin.session import FrameLabels, extent

if TYPE_CHECKING:
    from napari.layers import Labels

MASKS = "SAM 2 masks"
IN_MEMORY_BYTES = 2**30


class MaskLayer:
    """Draws the masks of one image into a Labels layer, slice by slice.

    Args:
        shape: Of the image, without colours.
        transform: Keywords that put a layer where the image is.
        channel_axis: Along which masks are the same.
    """

    painted = Signal()

    def __init__(
        self,
        shape: tuple[int, ...],
        transform: Mapping[str, Any],
        *,
        channel_axis: int | None = None,
    ) -> None:
        self.shape = shape
        self.channel_axis = channel_axis
        self.layer: Labels | None = None
        self.preserve = True
        self._transform = dict(transform)
        self._windows: dict[tuple[Plane, int], Window] = {}
        self._areas: dict[tuple[Plane, int], dict[int, int]] = {}
        self.is_own = False
        self._is_painting = False

    def make(self) -> "Labels":
        """Make a layer of our own; it has to be added to the viewer."""
        from napari.layers import Labels

        self._use(
            Labels(blank_labels(self.shape, self.channel_axis), name=MASKS, **self._transform)
        )
        self.is_own = True
        assert self.layer is not None
        return self.layer

    def use(self, layer: "Labels") -> None:
        """Draw into a person's own layer from now on.

        Raises:
            ValueError: It does not fit the image.
        """
        if layer.multiscale or tuple(layer.data.shape) != self.shape:
            raise ValueError(
                f"{layer.name!r} cannot take masks of this image: its shape is "
                f"{tuple(np.shape(layer.data))}, the image's is {self.shape}"
            )
        self._use(layer)
        self.is_own = False

    def rename_axes(self, names: Sequence[str]) -> None:
        """Call the axes of a layer of our own as those of the image are called."""
        self._transform["axis_labels"] = tuple(names)
        if self.layer is not None and self.is_own:
            self.layer.axis_labels = tuple(names)

    def forget(self) -> None:
        """The layer is gone: draw nowhere until there is another."""
        if self.layer is not None:
            self.layer.events.paint.disconnect(self._on_paint)
            self.layer.events.labels_update.disconnect(self._on_update)
            self.layer.events.set_data.disconnect(self._on_update)
        self.layer = None
        self._windows.clear()
        self._areas.clear()

    def highest_label(self) -> int:
        """The highest id in the layer; looks at every pixel of a layer that is not our own."""
        if self.layer is None or self.is_own:
            return 0
        return max((int(np.asarray(part).max()) for part in self.layer.data), default=0)

    def draw(self, found: FrameLabels, ours: Sequence[int]) -> bool:
        """Draw a frame's masks; the layer is not refreshed. Whether there is a layer.

        Args:
            found: The masks.
            ours: Ids of all our objects.
        """
        layer = self.layer
        self._is_painting = False
        if layer is None:
            return False
        place = (found.plane, found.frame_index)
        window = union(self._windows.get(place), found.window)
        if window is None:
            return True
        index = found.plane.index(found.frame_index, window)
        labels = np.zeros((window[2] - window[0], window[3] - window[1]), found.labels.dtype)
        if found.window is not None:
            y, x = found.window[0] - window[0], found.window[1] - window[1]
            labels[y : y + found.labels.shape[0], x : x + found.labels.shape[1]] = found.labels
        current = np.asarray(layer.data[index])
        ids = [i for i in ours if i <= np.iinfo(current.dtype).max]
        painted = paint_plane(current, labels, ours=ids, preserve=self.preserve)
        if not np.array_equal(painted, current):
            layer.data[index] = painted
            for channel in range(1, self._num_channels):
                layer.data[found.plane.index(found.frame_index, window, channel=channel)] = painted
        if found.window is None:
            self._windows.pop(place, None)
        else:
            self._windows[place] = found.window
        # Ours are all inside the window; others are of no interest to `repainted`.
        self._areas[place] = count_labels(painted)
        return True

    @property
    def _num_channels(self) -> int:
        """How often a mask has to be drawn; once in our own layer, where channels are one."""
        is_one = self.is_own or self.channel_axis is None
        return 1 if is_one else self.shape[self.channel_axis or 0]

    def select(self, object_id: int) -> None:
        """Paint this object with the layer's own tools."""
        if self.layer is not None and self.layer.selected_label != object_id:
            self.layer.selected_label = object_id

    def _use(self, layer: "Labels") -> None:
        self.forget()
        self.layer = layer
        layer.events.paint.connect(self._on_paint)
        layer.events.labels_update.connect(self._on_update)
        layer.events.set_data.connect(self._on_update)

    def _on_paint(self, event: Any) -> None:
        """A stroke by hand has been drawn when this comes; one by code is about to be."""
        self._is_painting = True
        self.painted.emit()

    def _on_update(self, event: Any) -> None:
        if self._is_painting:
            self.painted.emit()

    def repainted(
        self, plane: Plane, frame_index: int, candidates: Iterable[int]
    ) -> dict[int, MaskPixels]:
        """Objects that a person has painted or erased on a frame since it was drawn.

        Args:
            plane: Of the frame.
            frame_index: The frame.
            candidates: Ids that count as objects.
        """
        assert self.layer is not None
        labels = np.asarray(self.layer.data[plane.index(frame_index)])
        before, now = self._areas.get((plane, frame_index), {}), count_labels(labels)
        self._areas[plane, frame_index] = now
        changed = [i for i in candidates if before.get(i, 0) != now.get(i, 0)]
        self._is_painting = self._is_painting and not changed
        where = extent(np.isin(labels, changed)) if changed else None
        if where is not None:
            # Drawn anew, a stroke that is not in force must go wherever it is.
            earlier = self._windows.get((plane, frame_index))
            self._windows[plane, frame_index] = union(earlier, where) or where
        return {object_id: MaskPixels.pack(labels == object_id) for object_id in changed}


def count_labels(labels: NDArray[Any]) -> dict[int, int]:
    """Pixels of every label but 0."""
    ids, counts = np.unique(labels, return_counts=True)
    return {int(i): int(n) for i, n in zip(ids, counts, strict=True) if i}


def blank_labels(
    shape: Sequence[int], channel_axis: int | None = None, *, dtype: DTypeLike = np.uint16
) -> NDArray[Any]:
    """Zeros of a shape: in memory, or in a temporary file where that would take too much.

    Args:
        shape: Of the image.
        channel_axis: Along it the same pixels are seen again and again: painted once, they are
            on every channel.
        dtype: Of the labels.
    """
    if channel_axis is not None:
        lengths = [1 if a == channel_axis else n for a, n in enumerate(shape)]
        once = blank_labels(lengths, dtype=dtype)
        strides = [0 if a == channel_axis else step for a, step in enumerate(once.strides)]
        return np.lib.stride_tricks.as_strided(once, tuple(shape), strides)
    size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if size_bytes <= IN_MEMORY_BYTES:
        return np.zeros(tuple(shape), dtype)
    # Unlinked at once where the system allows it: it goes when the layer does.
    with tempfile.NamedTemporaryFile(prefix="sam2-masks-", suffix=".bin") as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=tuple(shape))
