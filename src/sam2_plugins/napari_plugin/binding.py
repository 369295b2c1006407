"""One image of a viewer and its layers, tied to the controller. No Qt."""

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from sam2_plugins.napari_plugin import following
from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.document import Document
from sam2_plugins.napari_plugin.following import ImageFollower, add_beneath, same_selection
from sam2_plugins.napari_plugin.frame_labels import FrameLabels
from sam2_plugins.napari_plugin.image_layers import stack_from_layers, transform_like
from sam2_plugins.napari_plugin.importing import prompts_from_layer
from sam2_plugins.napari_plugin.label_arrays import look_through
from sam2_plugins.napari_plugin.leaving import LayersAway
from sam2_plugins.napari_plugin.mask_layer import MaskLayer
from sam2_plugins.napari_plugin.prompt_layers import PromptLayers
from sam2_plugins.napari_plugin.prompt_looks import BOXES, POINTS, SCRIBBLES
from sam2_plugins.napari_plugin.prompts import SlicePrompts, changes, gather
from sam2_plugins.napari_plugin.view import is_on_show, look, show_frame
from sam2_plugins.napari_plugin.waiting import wait_for

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer


class ImageBinding:
    """Keeps the layers of an image and the controller's document of it in step.

    Args:
        viewer: Of the image.
        controller: Told of prompts, and asked for masks.
        images: One image layer, or several that are channels of one image.
        level: Resolution level that is worked on, 0 the finest.
        limits: (low, high) pixel values that become 0 and 1.

    Raises:
        ValueError: The image does not fit, and why.
    """

    layer_made = Signal(object)

    def __init__(
        self,
        viewer: "ViewerModel",
        controller: Controller,
        images: Sequence["Image"],
        *,
        level: int = 0,
        limits: tuple[float, float] | None = None,
    ) -> None:
        self._viewer = weakref.ref(viewer)
        self.controller = controller
        self.images = list(images)
        self.level = level
        stack = stack_from_layers(images, level=level, limits=limits)
        axis = stack.channel_axis
        place = stack.shape, transform_like(images[0], level)
        self.masks = MaskLayer(*place, channel_axis=axis)
        self.prompts = PromptLayers(*place, colours=self.masks.colours, channel_axis=axis)
        self.frame_axis: int | None = None
        self.problem = ""
        self._is_dirty = self._is_active = False
        self.away = LayersAway()
        self._too_high: set[int] = set()
        self.document: Document = controller.open(stack)
        self._follower = ImageFollower(images[0], level, on_moved=self._on_moved)
        for signal, slot in self._heard():
            signal.connect(slot)

    @property
    def viewer(self) -> "ViewerModel":
        """The viewer; it is kept weakly."""
        viewer = self._viewer()
        assert viewer is not None
        return viewer

    @property
    def layers(self) -> "list[Layer]":
        """All layers of ours, the lowest first."""
        masks = [] if self.masks.layer is None else [self.masks.layer]
        return [*masks, *self.prompts.layers.values()]

    def activate(self) -> None:
        """Make this image the one that is worked on."""
        self._is_active = True
        self.controller.resume(self.document)
        self.away.come_back()
        self.ensure_layers()
        self.update_view()
        self._show_prompts()

    def deactivate(self) -> None:
        """Leave this image for another; its layers stay, under its own name."""
        self._is_active = False
        self.away.leave(self.layers, self.images[0].name, shown=self.masks.layer)

    def close(self) -> None:
        """Let go of the image; masks stay in the viewer."""
        self._is_active = False
        self._follower.stop()
        self.prompts.disconnect()
        self.masks.forget()
        self.controller.close_document(self.document)
        # Left to the garbage collector, it could go while the signal that calls it is sent.
        for signal, slot in self._heard():
            signal.disconnect(slot)

    def ensure_layers(self) -> None:
        """Make the layers that are not there, or were deleted."""
        new = [name for name in (BOXES, SCRIBBLES, POINTS) if name not in self.prompts.layers]
        with same_selection(self.viewer.layers):
            if self.masks.layer is None:
                self._add(self.masks.make())
                self.controller.redraw(self.document)
            for name in new:
                self._add(self.prompts.make(name))
        if new:
            self._show_prompts()

    def use_labels(self, layer: "Labels | None") -> None:
        """Draw masks into a person's own layer, or (None) into one of ours.

        Raises:
            ValueError: The layer does not fit the image, or has labels that objects are called by.
        """
        layer = layer or self.masks.own
        if layer is None:
            self.masks.forget()
            self.ensure_layers()
        if layer is self.masks.layer or layer is None:
            return
        if self.document.prompts:
            self.masks.use(layer, self.document.ours)
        else:
            highest = 0 if layer is self.masks.own else max(look_through(layer), default=0)
            self.masks.use(layer)
            self.document.objects.clear()
            self.controller.select_object(self.document.next_object(highest + 1))
        self.controller.redraw(self.document)

    def import_layer(self, layer: "Layer") -> int:
        """Make every label, point or shape of another layer a new object; returns how many.

        Raises:
            ValueError: The layer does not fit.
        """
        if (plane := self.controller.plane) is None:
            raise ValueError(self.problem or "no plane of the image is on show")
        is_used = any(map(self.document.has_prompts, self.document.objects))
        first = self.document.next_object() if is_used else 1
        read = partial(prompts_from_layer, layer, self._place, plane, first_object=first)
        index = self.controller.slice_index
        said = wait_for(lambda _: read(frame_index=index), f"Reading {layer.name}")
        self.controller.set_prompts(said, f"prompts from {layer.name}")
        self._show_prompts()
        return len(said)

    def update_view(self, event: Any = None) -> None:
        """Tell the controller which plane and slice are on show."""
        if not self._is_active:
            return
        stack = self.document.stack
        view = look(self._place, self.viewer.dims, stack, frame_axis=self.frame_axis)
        is_news, self.problem = view.problem != self.problem, view.problem
        if view.channel is not None and view.channel != self.prompts.channel:
            # Prompts are of all channels: they are shown on the one that is.
            self.prompts.channel = view.channel
            self._show_prompts()
        self.controller.set_view(view.plane, view.slice_index)
        if is_news:
            self.controller.plane_changed.emit()
        self._set_defaults()

    def show_slice(self, frame_index: int) -> None:
        """Move the viewer to a slice of the plane on show."""
        if (plane := self.controller.plane) is not None:
            show_frame(self._place, self.viewer.dims, plane, frame_index)

    def removed(self, layer: "Layer") -> None:
        """Take note that a layer was deleted."""
        self.prompts.forget(layer)
        self.masks.removed(layer)

    def refresh(self) -> None:
        """Show what was drawn, if any of it is on show."""
        if self._is_dirty and self.masks.layer is not None:
            self._is_dirty = False
            self.masks.layer.refresh(extent=False, highlight=False, thumbnail=False)

    @property
    def _place(self) -> "Layer":
        """A layer with the geometry that is worked on; that of the image is its finest level's."""
        return self.layers[-1] if self.level and self.layers else self.images[0]

    def _heard(self) -> "list[tuple[Any, Callable[..., None]]]":
        """Signals that are listened to, and with what."""
        controller, events = self.controller, self.viewer.dims.events
        return [
            (self.prompts.changed, self._on_prompts),
            (self.prompts.object_selected, self._on_object_selected),
            (self.masks.painted, self._on_painted),
            (self.masks.label_selected, self._on_label_selected),
            (controller.masks_changed, self._on_masks),
            (controller.prompts_changed, self._remake_layers),
            (controller.prompts_changed, self._show_prompts),
            (controller.objects_changed, self._set_defaults),
            (controller.stepped, self._remake_layers),
            (controller.run_ended, self._remake_layers),
            (controller.processed, self.refresh),
            *((events[name], self.update_view) for name in ("point", "order", "ndisplay", "ndim")),
        ]

    def _add(self, layer: "Layer") -> None:
        self.layer_made.emit(layer)
        above = self.prompts.layers.values() if layer is self.masks.layer else ()
        add_beneath(self.viewer.layers, layer, above)

    def _set_defaults(self) -> None:
        if not self._is_active:
            return
        object_id, polarity = self.document.current_object, self.document.polarity
        self.prompts.set_defaults(self.controller.plane, object_id=object_id, polarity=polarity)
        if not self.masks.select(object_id) and object_id not in self._too_high:
            self._too_high.add(object_id)
            self.controller.failed.emit(
                f"object {object_id} is not drawn, as its number is too high for "
                f"{self.masks.layer}: choose a layer of labels of 16 bits or more"
            )

    def _on_moved(self, transform: following.Transform) -> None:
        self.prompts.place(transform)
        self.masks.place(transform)
        self.controller.set_pixel_size(
            self.document, tuple(transform["scale"]), units=tuple(map(str, transform["units"]))
        )
        self.update_view()

    def _show_prompts(self) -> None:
        if self._is_active:
            self.prompts.write(self.document.shown_prompts())
            self._set_defaults()

    def _remake_layers(self) -> None:
        if self._is_active:
            self.ensure_layers()

    def _on_object_selected(self, object_id: int) -> None:
        if self._is_active:
            self.controller.select_object(object_id)

    def _on_label_selected(self, object_id: int) -> None:
        """Of a label that is none of an object one becomes when something is painted with it."""
        if object_id in self.document.objects:
            self._on_object_selected(object_id)

    def _on_prompts(self) -> None:
        if not self._is_active:
            return
        shown = self.document.shown_prompts()
        masks = {key: said.mask for key, said in shown.items() if said.mask is not None}
        found = changes(shown, gather(*self.prompts.read(), masks))
        # What is said of a finished object is not on the layers: it is added to, not replaced.
        finished = {key: new for key, new in found if self.document.is_committed(key.object_id)}
        said = self.document.prompts
        added = {key: said[key].joined(new) for key, new in finished.items() if key in said}
        self.controller.set_prompts([(key, added.get(key, new)) for key, new in found])
        for object_id in {key.object_id for key in finished}:
            self.controller.reopen(object_id)
        if self.controller.plane is None and self.prompts.has_strays:
            # On no slice; left there, it would be said at some later click.
            self._show_prompts()
            self.controller.failed.emit(self.problem)

    def _on_painted(self) -> None:
        """What a person paints on an object is the object's mask on each slice where it is done."""
        plane, layer = self.controller.plane, self.masks.layer
        if not self._is_active or plane is None or layer is None:
            return
        known = {*self.document.ours, self.document.current_object, int(layer.selected_label)}
        found = self.masks.repainted(plane, known - {0})
        said = [(key, SlicePrompts(mask=mask)) for key, mask in found.items()]
        self.controller.set_prompts(said, "paint")
        if any(key.object_id == layer.selected_label for key in found):
            self._on_object_selected(int(layer.selected_label))
        self._show_prompts()

    def _on_masks(self, document: Document, found: FrameLabels) -> None:
        if document is not self.document:
            return
        is_drawn, layer = self.masks.draw(found), self.masks.layer
        if is_drawn and layer is not None and not self._is_dirty:
            self._is_dirty = is_on_show(layer, self.viewer.dims, found.plane, found.frame_index)
