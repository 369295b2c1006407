"""Layers of ours stay where the image is when that is scaled, moved or turned in the viewer."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from sam2_plugins.napari_plugin.image_layers import transform_like

if TYPE_CHECKING:
    from napari.components import LayerList
    from napari.layers import Image, Layer

PLACE = ("scale", "translate", "rotate", "shear", "affine", "units")
"""What says where a layer is, as its attributes and events are called."""

Transform = Mapping[str, Any]


class ImageFollower:
    """Tells of every change of an image layer's place, as `transform_like` has it.

    Args:
        image: The layer.
        level: Of its resolution levels, the one that is worked on.
        on_moved: Told of the new transform.
    """

    def __init__(
        self, image: "Image", level: int, *, on_moved: Callable[[Transform], None]
    ) -> None:
        self._image = image
        self._level = level
        self._on_moved = on_moved
        for name in PLACE:
            getattr(image.events, name).connect(self._tell)

    def stop(self) -> None:
        """Tell of nothing any more."""
        for name in PLACE:
            getattr(self._image.events, name).disconnect(self._tell)

    def _tell(self, event: Any) -> None:
        self._on_moved(transform_like(self._image, self._level))


def put(layers: "Iterable[Layer]", transform: Transform) -> None:
    """Bring layers to a place."""
    for layer in layers:
        for name in PLACE:
            setattr(layer, name, transform[name])


def add_beneath(layers: "LayerList", layer: "Layer", above: "Iterable[Layer]") -> None:
    """Add a layer beneath others, on top of all where those are not there."""
    places = [layers.index(other) for other in above if other in layers]
    layers.insert(min(places, default=len(layers)), layer)


def remove_at_once(layers: "LayerList", gone: "Iterable[Layer]") -> None:
    """Remove layers, those of them that are there."""
    # For each by itself napari collects garbage, which takes half a second once torch is there.
    batch = getattr(layers, "batched_update", nullcontext)
    with batch():
        for layer in gone:
            if layer in layers:
                layers.remove(layer)


@contextmanager
def same_selection(layers: "LayerList") -> "Iterator[None]":
    """Whichever layers are added meanwhile, the one that was selected is so afterwards."""
    selected = layers.selection.active
    yield
    if selected is not None:
        layers.selection.active = selected
