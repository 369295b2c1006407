"""Layers of an image that is left for another: hidden, and under that image's name."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Layer


class LayerLook(NamedTuple):
    """A layer of an image that was left: how it was called and shown before, and is called now."""

    layer: "Layer"
    name_before: str
    name: str
    was_visible: bool


class LayersAway:
    """The layers of one image, while another is worked on."""

    def __init__(self) -> None:
        self._looks: list[LayerLook] = []
        self._shown: Layer | None = None

    def leave(self, layers: "Iterable[Layer]", image_name: str, *, shown: "Layer | None") -> None:
        """Call layers after their image.

        Args:
            layers: Of the image.
            image_name: What it is called.
            shown: `hide` leaves it visible.
        """
        self._shown = shown
        for layer in layers:
            before = layer.name
            layer.name = f"{before} · {image_name}"
            # As it is called now: napari adds a number to a name that another layer has.
            self._looks.append(LayerLook(layer, before, layer.name, layer.visible))

    def hide(self) -> None:
        """Hide all layers but one, now that another image is there.

        Not before: napari may crash when an image is opened and Labels are all that is visible.
        """
        for look in self._looks:
            look.layer.visible = look.was_visible and look.layer is self._shown

    def come_back(self) -> None:
        """Call and show the layers as they were; what was renamed meanwhile stays so."""
        looks, self._looks, self._shown = self._looks, [], None
        for layer, name_before, name, was_visible in looks:
            if layer.name == name:
                layer.name = name_before
            layer.visible = was_visible
