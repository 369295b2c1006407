"""The layers that hold prompts: reading them, writing them, and noticing changes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from psygnal import Signal

from sam2_plugins.napari_plugin.following import put
from sam2_plugins.napari_plugin.layers import Plane, plane_from_key
from sam2_plugins.napari_plugin.object_colours import ObjectColours
from sam2_plugins.napari_plugin.prompt_looks import (
    BOXES,
    POINTS,
    SCRIBBLES,
    colour,
    colour_new,
    new_layer,
)
from sam2_plugins.napari_plugin.prompt_rows import (
    COLUMNS,
    complete,
    label_of,
    object_of,
    polarity_of,
    rows_of,
)
from sam2_plugins.napari_plugin.prompts import (
    NEGATIVE,
    POSITIVE,
    Click,
    Drawing,
    PromptKey,
    SlicePrompts,
)

if TYPE_CHECKING:
    from napari.layers import Layer, Points, Shapes


class PromptLayers:
    """Points, boxes and scribbles of one image.

    Args:
        shape: Of the image, without colours.
        transform: Keywords that put a layer where the image is.
        colours: Of the objects.
        channel_axis: Along which a prompt is the same wherever it is.

    Attributes:
        has_strays: Whether there were prompts, when the layers were read, that are on no slice.
    """

    changed = Signal()
    object_selected = Signal(int)

    def __init__(
        self,
        shape: tuple[int, ...],
        transform: Mapping[str, Any],
        *,
        colours: ObjectColours,
        channel_axis: int | None = None,
    ) -> None:
        self.shape = shape
        self.channel_axis = channel_axis
        self.channel = 0
        self.layers: dict[str, Layer] = {}
        self.click_polarity: str | None = None
        self._transform = dict(transform)
        self._colours = colours
        colours.changed.connect(self._recolour)
        self._defaults: dict[str, Any] = {"object": 1, "polarity": POSITIVE, "plane": ""}
        self._plane: Plane | None = None
        self._is_silent = False
        self.has_strays = False

    @property
    def points(self) -> "Points | None":
        """The points layer, if it is there."""
        return self.layers.get(POINTS)

    def make(self, name: str) -> "Layer":
        """Make one of the layers anew; it has to be added to the viewer."""
        layer = new_layer(name, self.shape, defaults=self._defaults, transform=self._transform)
        if name == POINTS:
            layer.mouse_drag_callbacks.insert(0, self._note_click)
        self.layers[name] = layer
        layer.events.data.connect(self._on_data)
        layer.events.features.connect(self._on_features)
        layer.events.feature_defaults.connect(self._on_defaults)
        return layer

    def disconnect(self) -> None:
        """Stop listening to the layers."""
        self._colours.changed.disconnect(self._recolour)
        for layer in self.layers.values():
            layer.events.data.disconnect(self._on_data)
            layer.events.features.disconnect(self._on_features)
            layer.events.feature_defaults.disconnect(self._on_defaults)
        self.layers.clear()

    def forget(self, layer: "Layer") -> bool:
        """Stop using a layer that was removed; whether it was one of these."""
        names = [name for name, known in self.layers.items() if known is layer]
        for name in names:
            del self.layers[name]
        return bool(names)

    def rename_axes(self, names: Sequence[str]) -> None:
        """Call the axes of the layers as those of the image are called."""
        self._transform["axis_labels"] = tuple(names)
        for layer in self.layers.values():
            layer.axis_labels = tuple(names)

    def place(self, transform: Mapping[str, Any]) -> None:
        """Put the layers where the image is now."""
        self._transform |= transform
        put(self.layers.values(), transform)

    def set_defaults(self, plane: Plane | None, *, object_id: int, polarity: str) -> None:
        """Say of which object, which way and on which plane new prompts are."""
        self._plane = plane
        key = "" if plane is None else plane.key
        wanted = {"object": object_id, "polarity": polarity, "plane": key}
        if wanted == self._defaults:
            return
        self._defaults = wanted
        with self._silently():
            for layer in self.layers.values():
                layer.feature_defaults = pd.DataFrame([wanted])
            self._recolour()

    def read(self) -> tuple[list[tuple[PromptKey, Click]], list[tuple[PromptKey, Drawing]]]:
        """What the layers say; prompts outside the image are left out."""
        clicks: list[tuple[PromptKey, Click]] = []
        drawings: list[tuple[PromptKey, Drawing]] = []
        points = self.points
        if points is not None:
            for position, row in zip(points.data, rows_of(points), strict=True):
                key = self._key(position, row)
                if key is not None:
                    x, y = key.plane.xy(position)
                    clicks.append((key, Click(x, y, label_of(row))))
        for name in (BOXES, SCRIBBLES):
            shapes = self.layers.get(name)
            if shapes is not None:
                drawings += self._read_shapes(shapes)
        count = sum(len(layer.data) for layer in self.layers.values())
        self.has_strays = count > len(clicks) + len(drawings)
        return clicks, drawings

    def write(self, prompts: Mapping[PromptKey, SlicePrompts]) -> None:
        """Make the layers say exactly this."""
        rows: dict[str, list[dict[str, Any]]] = {POINTS: [], BOXES: [], SCRIBBLES: []}
        positions: list[tuple[float, ...]] = []
        shapes: dict[str, list[tuple[Any, str]]] = {BOXES: [], SCRIBBLES: []}
        for (plane, frame_index, object_id), said in prompts.items():
            base = {"object": object_id, "plane": plane.key}
            for click in said.clicks:
                positions.append(
                    plane.position(frame_index, click.x, click.y, channel=self.channel)
                )
                rows[POINTS].append({**base, "polarity": polarity_of(click.label)})
            for drawing in said.drawings:
                name = SCRIBBLES if drawing.is_stroke else BOXES
                vertices = [
                    plane.position(frame_index, x, y, channel=self.channel)
                    for x, y in drawing.vertices
                ]
                shapes[name].append((np.array(vertices), drawing.kind))
                rows[name].append({**base, "polarity": polarity_of(drawing.label)})
        with self._silently():
            for name, layer in self.layers.items():
                if not rows[name] and not len(layer.data):
                    # Written all the same, it would take the window longer than a prompt does.
                    continue
                layer.selected_data = set()
                if name == POINTS:
                    layer.data = np.reshape(positions, (-1, len(self.shape)))
                else:
                    layer.data = []
                    if drawn := shapes[name]:
                        layer.add([v for v, _ in drawn], shape_type=[kind for _, kind in drawn])
                layer.features = pd.DataFrame(rows[name], columns=list(COLUMNS))
                layer.feature_defaults = pd.DataFrame([self._defaults])
                self._colour(name)

    @contextmanager
    def _silently(self) -> Iterator[None]:
        before, self._is_silent = self._is_silent, True
        try:
            yield
        finally:
            self._is_silent = before

    def _read_shapes(self, shapes: "Shapes") -> list[tuple[PromptKey, Drawing]]:
        found = []
        kinds = [str(kind) for kind in shapes.shape_type]
        for vertices, kind, row in zip(shapes.data, kinds, rows_of(shapes), strict=True):
            key = self._key(vertices[0], row)
            if key is not None:
                xy = tuple(key.plane.xy(vertex) for vertex in vertices)
                found.append((key, Drawing(kind, xy, label_of(row))))
        return found

    def _key(self, position: Any, row: Mapping[str, Any]) -> PromptKey | None:
        axis = self.channel_axis
        plane = plane_from_key(self.shape, str(row.get("plane") or ""), position, channel_axis=axis)
        if plane is None and self._plane is not None:
            plane = plane_from_key(self.shape, self._plane.key, position, channel_axis=axis)
        if plane is None:
            return None
        frame_index = plane.frame_index(position)
        object_id = object_of(row)
        if frame_index is None or object_id is None:
            return None
        return PromptKey(plane, frame_index, object_id)

    def _note_click(self, layer: "Points", event: Any) -> None:
        """Remember which button and keys a click was made with: Ctrl or right is the opposite."""
        is_other = "Control" in event.modifiers or event.button == 2
        polarity = str(self._defaults["polarity"])
        flipped = NEGATIVE if polarity == POSITIVE else POSITIVE
        # Said for every click: the layer's own default follows the point that is selected.
        said = flipped if is_other else polarity
        self.click_polarity = said if str(layer.mode) == "add" else None

    def _on_data(self, event: Any) -> None:
        if self._is_silent:
            return
        action = str(getattr(event, "action", "changed")).rsplit(".", maxsplit=1)[-1].lower()
        if action in ("adding", "removing", "changing"):
            return
        if action == "added":
            self._complete_last(event.source)
        self._stamp(event.source)
        self.changed.emit()

    def _on_features(self, event: Any) -> None:
        if not self._is_silent:
            self._stamp(event.source)
            self.changed.emit()

    def _on_defaults(self, event: Any) -> None:
        """Selecting a prompt of another object makes that object the current one."""
        if self._is_silent:
            return
        defaults = event.source.feature_defaults
        object_id = object_of(dict(defaults.iloc[0])) if len(defaults) else None
        if object_id is not None and object_id != self._defaults["object"]:
            self.object_selected.emit(object_id)

    def _complete_last(self, layer: "Layer") -> None:
        """A click by mouse says what its button and keys say."""
        polarity, self.click_polarity = self.click_polarity, None
        is_point = layer is self.layers.get(POINTS)
        if polarity is not None and is_point and len(layer.features):
            with self._silently():
                features = layer.features.copy()
                features.loc[features.index[-1], "polarity"] = polarity
                layer.features = features

    def _stamp(self, layer: "Layer") -> None:
        """Give rows without an object, polarity or plane the present ones; colour by polarity."""
        with self._silently():
            completed = complete(layer.features, self._defaults)
            if completed is not None:
                layer.features = completed
            for name, known in self.layers.items():
                if known is layer:
                    self._colour(name)

    def _colour(self, name: str) -> None:
        colour(self.layers[name], name, colours=self._colours, current=self._defaults["object"])

    def _recolour(self) -> None:
        """Prompts and new ones look as they should."""
        polarity, new = self._defaults["polarity"], self._colours.of(self._defaults["object"])
        with self._silently():
            for name, layer in self.layers.items():
                colour_new(layer, name, polarity=polarity, colour=new)
                # Those that are selected have become as new ones are.
                self._colour(name)
