"""Everything that SAM 2 knows in one viewer; it outlives the widgets that show it. No Qt."""

import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from sam2_plugins.napari_plugin.binding import ImageBinding
from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.following import remove_at_once
from sam2_plugins.napari_plugin.keys import bind_layer, bind_viewer
from sam2_plugins.napari_plugin.settings import read_settings
from sam2_plugins.napari_plugin.sources import files_to_keep

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari.components import ViewerModel
    from napari.layers import Image, Layer

    from sam2_plugins.napari_plugin.leaving import LayersAway

_SESSIONS: "weakref.WeakKeyDictionary[ViewerModel, ViewerSession]" = weakref.WeakKeyDictionary()


class ViewerSession:
    """The controller of a viewer, and its images.

    Args:
        viewer: Kept weakly: a viewer that is closed is not held in memory.
        controller: A new one if not given.
    """

    image_changed = Signal()
    image_chosen = Signal()
    problem_changed = Signal(str)

    def __init__(self, viewer: "ViewerModel", controller: Controller | None = None) -> None:
        self.controller: Controller = controller or Controller()
        if controller is None:
            settings = read_settings()
            self.controller.places = settings.places
            self.controller.models.choice = settings.choice
        self.bindings: list[ImageBinding] = []
        self.active: ImageBinding | None = None
        self.problem = ""
        self.pump: Any = None
        self._away: list[LayersAway] = []
        self._viewer = weakref.ref(viewer)
        self.controller.find_sources = partial(_files_to_keep, self._viewer)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)
        for layer in viewer.layers:
            layer.events.name.connect(self._on_renamed)
        weakref.finalize(viewer, self.controller.close)
        bind_viewer(viewer, self)
        self.choose_any()

    @property
    def viewer(self) -> "ViewerModel":
        """The viewer.

        Raises:
            RuntimeError: It was closed.
        """
        viewer = self._viewer()
        if viewer is None:
            raise RuntimeError("this viewer is closed")
        return viewer

    def images(self) -> "list[Image]":
        """Image layers that could be worked on, the uppermost first."""
        from napari.layers import Image

        return [layer for layer in reversed(list(self.viewer.layers)) if isinstance(layer, Image)]

    def choose_any(self) -> None:
        """Work on the selected image layer, else on the uppermost, if there is one."""
        images = self.images()
        selected = self.viewer.layers.selection.active
        if selected in images:
            self.choose([selected])
        elif images:
            self.choose(images[:1])
        else:
            self._say("Open an image, a stack or a video: drop a file here, or File ▸ Open Sample.")

    def choose(
        self,
        images: "Sequence[Image]",
        *,
        level: int = 0,
        limits: tuple[float, float] | None = None,
    ) -> None:
        """Work on an image layer, or on several that are channels of one image.

        Args:
            images: The layers.
            level: Resolution level, 0 the finest.
            limits: (low, high) pixel values that become 0 and 1; from the whole stack by default.
        """
        binding = self._known(images, level, limits)
        if binding is None:
            try:
                binding = ImageBinding(
                    *(self.viewer, self.controller, images),
                    level=level,
                    limits=limits,
                )
            except ValueError as error:
                self._say(str(error))
                return
            binding.layer_made.connect(self._on_layer_made)
            self.bindings.append(binding)
        if self.active is not None and self.active is not binding:
            self._leave(self.active)
        self.active = binding
        while self._away:
            self._away.pop().hide()
        binding.activate()
        self.activate_points()
        self._say("")
        self.image_changed.emit()
        self.image_chosen.emit()

    def activate_points(self) -> None:
        """Make the next click on the canvas a prompt."""
        points = None if self.active is None else self.active.prompts.points
        if points is not None:
            self.viewer.layers.selection.active = points
            points.mode = "add"

    def _known(
        self, images: "Sequence[Image]", level: int, limits: tuple[float, float] | None
    ) -> ImageBinding | None:
        for binding in self.bindings:
            is_same = len(binding.images) == len(images) and all(
                a is b for a, b in zip(binding.images, images, strict=True)
            )
            stack = binding.document.stack
            if is_same and binding.level == level and stack.limits == limits:
                return binding
        return None

    def _leave(self, binding: ImageBinding) -> None:
        if binding.document.prompts:
            binding.deactivate()
            self._away.append(binding.away)
            return
        # Nothing was said of it: its layers would only be in the way.
        layers = binding.layers
        self._close(binding)
        remove_at_once(self.viewer.layers, layers)

    def _close(self, binding: ImageBinding) -> None:
        self.bindings.remove(binding)
        if self.active is binding:
            self.active = None
        binding.close()

    def _on_inserted(self, event: Any) -> None:
        event.value.events.name.connect(self._on_renamed)
        if self.active is None and self.images():
            self.choose_any()
        else:
            self.image_changed.emit()

    def _on_renamed(self, event: Any) -> None:
        self.image_changed.emit()

    def _on_layer_made(self, layer: "Layer") -> None:
        bind_layer(layer, self)

    def _on_removed(self, event: Any) -> None:
        layer: Layer = event.value
        layer.events.name.disconnect(self._on_renamed)
        for binding in list(self.bindings):
            if any(image is layer for image in binding.images):
                if binding is self.active:
                    # So that another image's layers can be called as ours always are.
                    binding.deactivate()
                    self._away.append(binding.away)
                self._close(binding)
                if self.active is None:
                    more = " Choose another image above." if self.images() else ""
                    self._say(f"{layer.name!r} was removed; its masks stay.{more}")
            else:
                binding.removed(layer)
        self.image_changed.emit()

    def _say(self, problem: str) -> None:
        self.problem = problem
        self.problem_changed.emit(problem)


def _files_to_keep(viewer: "weakref.ref[ViewerModel]", target: "Path") -> "list[Path]":
    opened = viewer()
    return [] if opened is None else files_to_keep(opened.layers, target)


def session_for(viewer: Any) -> ViewerSession:
    """The session of a viewer, made when first asked for."""
    real = getattr(viewer, "__wrapped__", viewer)
    if real not in _SESSIONS:
        _SESSIONS[real] = ViewerSession(real)
    return _SESSIONS[real]
