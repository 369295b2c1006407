"""The Labels layer that masks are drawn into, and masks that a person paints there."""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from sam2_plugins.napari_plugin.following import put
from sam2_plugins.napari_plugin.frame_labels import FrameLabels, extent
from sam2_plugins.napari_plugin.label_arrays import blank_labels, look_through
from sam2_plugins.napari_plugin.layers import Plane, Window, paint_plane, union
from sam2_plugins.napari_plugin.object_colours import ObjectColours
from sam2_plugins.napari_plugin.prompts import MaskPixels, PromptKey
from sam2_plugins.napari_plugin.squares import SIDE, Square, count_labels, cut, occupied
from sam2_plugins.napari_plugin.strokes import Place, is_drawn, labels_by_frame

if TYPE_CHECKING:
    from napari.layers import Labels

MASKS = "SAM 2 masks"
HIGHEST_LABEL = int(np.iinfo(np.uint16).max)
"""That a layer of our own holds."""
MAX_STROKES = 1000
"""So many pieces of strokes that nobody asks for are remembered at most."""


class Drawn(NamedTuple):
    """What was drawn on a frame of one plane, or painted by hand.

    Attributes:
        window: (y0, x0, y1, x1) around it; None for nothing.
        ids: Whose pixels are to be removed when the frame is drawn anew; those of other objects
            were drawn as another plane's that crosses this one.
        squares: On which anything of that is.
    """

    window: Window | None = None
    ids: frozenset[int] = frozenset()
    squares: frozenset[Square] = frozenset()


class MaskLayer:
    """Draws the masks of one image into a Labels layer, slice by slice.

    Args:
        shape: Of the image, without colours.
        transform: Keywords that put a layer where the image is.
        channel_axis: Along which masks are the same.
    """

    painted = Signal()
    label_selected = Signal(int)

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
        self.colours = ObjectColours()
        self.preserve = True
        self._transform = dict(transform)
        self._drawn: dict[Place, Drawn] = {}
        self._areas: dict[Place, dict[int, int]] = {}
        self._used: WeakKeyDictionary[Labels, dict[Place, Drawn]] = WeakKeyDictionary()
        self.own: Labels | None = None
        self._is_painting = False
        self._strokes: deque[Any] = deque(maxlen=MAX_STROKES)
        self._selected: int | None = None

    @property
    def is_own(self) -> bool:
        """Whether masks are drawn into the layer of our own, not a person's."""
        return self.layer is not None and self.layer is self.own

    def make(self) -> "Labels":
        """Make a layer of our own; it has to be added to the viewer."""
        from napari.layers import Labels

        blank = blank_labels(self.shape, self.channel_axis)
        self.own = Labels(blank, name=MASKS, **self._transform)
        self._use(self.own)
        return self.own

    def removed(self, layer: Any) -> None:
        """Take note that a layer was deleted."""
        if layer is self.own:
            self.own = None
        if layer is self.layer:
            self.forget()

    def use(self, layer: "Labels", ids: Collection[int] = ()) -> None:
        """Draw into a person's own layer from now on, or into ours again.

        Args:
            layer: The layer.
            ids: Of objects that there are already.

        Raises:
            ValueError: It does not fit the image, or has other things that are called as objects
                are.
        """
        if layer.multiscale or tuple(layer.data.shape) != self.shape:
            raise ValueError(
                f"{layer.name!r} cannot take masks of this image: its shape is "
                f"{tuple(np.shape(layer.data))}, the image's is {self.shape}"
            )
        if ids and layer not in self._used and (taken := look_through(layer) & set(ids)):
            numbers = ", ".join(map(str, sorted(taken)))
            raise ValueError(
                f"{layer.name!r} has labels {numbers}, which are objects here, and would be drawn "
                "over: choose a layer without these labels"
            )
        self._use(layer)

    def rename_axes(self, names: Sequence[str]) -> None:
        """Call the axes of a layer of our own as those of the image are called."""
        self._transform["axis_labels"] = tuple(names)
        if self.own is not None:
            self.own.axis_labels = tuple(names)

    def forget(self) -> None:
        """The layer is gone: draw nowhere until there is another."""
        if self.layer is not None:
            self.layer.events.paint.disconnect(self._on_paint)
            self.layer.events.labels_update.disconnect(self._on_update)
            self.layer.events.set_data.disconnect(self._on_update)
            self.layer.events.selected_label.disconnect(self._on_selected)
        self.layer = None
        self.colours.follow(None)
        self._selected = None
        self._drawn = {}
        self._areas.clear()
        self._strokes.clear()

    def draw(self, found: FrameLabels) -> bool:
        """Draw a frame's masks; the layer is not refreshed. Whether there is a layer."""
        layer = self.layer
        self._is_painting = False
        if layer is None:
            return False
        place = (found.plane, found.frame_index)
        drawn = self._drawn.get(place, Drawn())
        window = union(drawn.window, found.window)
        if window is None:
            return True
        highest = np.iinfo(layer.data.dtype).max
        ids = [i for i in drawn.ids | found.scores.keys() if i <= highest]
        areas: Counter[int] = Counter()
        squares = set()
        for square, part in cut(window, self._side(found.plane)):
            labels = found.within(part)
            labels[labels > highest] = 0
            if labels.any():
                squares.add(square)
            elif square not in drawn.squares:
                continue
            index = partial(found.plane.index, found.frame_index, part)
            areas.update(self._draw_part(layer.data, index, labels, ids))
        self._drawn[place] = Drawn(found.window, frozenset(found.scores), frozenset(squares))
        # Ours are all inside these squares; others are of no interest to `repainted`.
        self._areas[place] = dict(areas)
        return True

    def _draw_part(
        self, data: Any, index: Callable[..., Any], labels: NDArray[Any], ids: Sequence[int]
    ) -> dict[int, int]:
        """Draw a part of a frame; how many pixels every label has on it then."""
        current = np.asarray(data[index()])
        painted = paint_plane(current, labels, ours=ids, preserve=self.preserve)
        if not np.array_equal(painted, current):
            for channel in range(self._num_channels):
                data[index(channel=channel)] = painted
        return count_labels(painted)

    def _side(self, plane: Plane) -> int:
        """Of squares; what is not in memory is not cut: it may be stored in larger pieces."""
        is_in_memory = self.layer is not None and isinstance(self.layer.data, np.ndarray)
        return SIDE if is_in_memory else max(plane.frame_size)

    @property
    def _num_channels(self) -> int:
        """How often a mask has to be drawn; once in our own layer, where channels are one."""
        is_one = self.is_own or self.channel_axis is None
        return 1 if is_one else self.shape[self.channel_axis or 0]

    def place(self, transform: Mapping[str, Any]) -> None:
        """Put a layer of our own where the image is now."""
        self._transform |= transform
        if self.own is not None:
            put([self.own], transform)

    def select(self, object_id: int) -> bool:
        """Paint this object with the layer's own tools; whether the layer can hold it.

        Said again it changes nothing: a person may have selected a label for the next stroke.
        """
        layer = self.layer
        if layer is None:
            return True
        if object_id > np.iinfo(layer.data.dtype).max:
            return False
        if object_id != self._selected:
            self._selected = object_id
            layer.selected_label = object_id
        return True

    def _use(self, layer: "Labels") -> None:
        self.forget()
        self.layer = layer
        # What was drawn there before goes when it is drawn anew.
        self._drawn = self._used.setdefault(layer, {})
        layer.events.paint.connect(self._on_paint)
        layer.events.labels_update.connect(self._on_update)
        layer.events.set_data.connect(self._on_update)
        layer.events.selected_label.connect(self._on_selected)
        self.colours.follow(layer)

    def _on_selected(self, event: Any) -> None:
        label = int(event.source.selected_label)
        if label != self._selected:
            self.label_selected.emit(label)

    def _on_paint(self, event: Any) -> None:
        """A stroke by hand has been drawn when this comes; one by code is about to be."""
        assert self.layer is not None
        self._is_painting = True
        self._strokes.extend(event.value)
        if is_drawn(self.layer.data, event.value[-1]):
            self.painted.emit()

    def _on_update(self, event: Any) -> None:
        if self._is_painting:
            self.painted.emit()

    def repainted(self, plane: Plane, candidates: Iterable[int]) -> dict[PromptKey, MaskPixels]:
        """Objects that a person has painted or erased, on every frame where that was done.

        Args:
            plane: On show.
            candidates: Ids that count as objects.
        """
        self._is_painting = False
        touched = labels_by_frame(self._strokes, plane)
        self._strokes.clear()
        counted = set(candidates)
        return {
            PromptKey(*place, object_id): mask
            for place, labels in touched.items()
            for object_id, mask in self._repainted_on(place, labels & counted).items()
        }

    def _repainted_on(self, place: Place, touched: set[int]) -> dict[int, MaskPixels]:
        assert self.layer is not None
        plane, frame_index = place
        labels = np.asarray(self.layer.data[plane.index(frame_index)])
        before, now = self._areas.get(place), count_labels(labels)
        self._areas[place] = now
        # What was drawn here as another plane's was not painted; nor was what has its old area.
        changed = [i for i in touched if before is None or before.get(i, 0) != now.get(i, 0)]
        if changed:
            drawn, painted = self._drawn.get(place, Drawn()), np.isin(labels, changed)
            # Drawn anew, a stroke that is not in force must go wherever it is.
            self._drawn[place] = Drawn(
                union(drawn.window, extent(painted)),
                drawn.ids | set(changed),
                drawn.squares | occupied(painted, self._side(plane)),
            )
        return {object_id: MaskPixels.pack(labels == object_id) for object_id in changed}
