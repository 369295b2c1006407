"""One image, encoded as a whole and through the windows that it is looked at through."""

import hashlib
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_plugins.core.closeups import closeup_side, move_logits, whole
from sam2_plugins.core.mirrors import View, decode_views, encode_mirrored
from sam2_plugins.core.model.mask_decoder import Decoding
from sam2_plugins.core.model.prompt_encoder import BOX_CORNER_LABELS
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.portraits import read_part
from sam2_plugins.core.prompts import BACKGROUND
from sam2_plugins.core.transforms import image_to_tensor, points_to_model
from sam2_plugins.core.windows import Window

_CAPACITY = 32
"""Windows that stay encoded."""
_MIRRORED_CAPACITY = 8
"""Windows whose mirror images do."""
_REMEMBERED = 100_000
"""Logits of which it is known through which window they were seen: some 25 MB at most."""


class Said(NamedTuple):
    """What is said of one object, in pixels of the image, and the mask before.

    Attributes:
        xy: Corners of a box, and clicks (x, y).
        labels: As the prompt encoder wants them.
        mask: (1, 1, h, w) logits of the mask before, if there is one.
        before: What that was seen through.
        multimask: Whether there are to be three candidates.
        is_predicted: Whether the mask before was made from prompts, and is no mask that was given.
    """

    xy: list[tuple[float, float]]
    labels: list[int]
    mask: Tensor | None
    before: Window
    multimask: bool
    is_predicted: bool = False

    @property
    def has_box(self) -> bool:
        """Whether there are corners of a box."""
        return BOX_CORNER_LABELS[0] in self.labels

    @property
    def on_object(self) -> list[tuple[float, float]]:
        """Clicks on the object, and corners of its box."""
        pairs = zip(self.xy, self.labels, strict=True)
        return [xy for xy, label in pairs if label != BACKGROUND]

    def mask_through(self, window: Window) -> Tensor | None:
        """Logits of the mask before, as seen through a window; None without one."""
        return None if self.mask is None else move_logits(self.mask, self.before, window)


class Look(NamedTuple):
    """What was decoded of one object (B = 1), and through which window."""

    decoding: Decoding
    window: Window


class ImageViews:
    """Views of one image; the whole is encoded at once, windows when they are needed.

    Args:
        model: Encodes.
        image: (H, W, 3) RGB, uint8 or float in [0, 1].
        keeps_image: Whether there will be windows.
    """

    def __init__(self, model: SAM2, image: NDArray[Any], *, keeps_image: bool) -> None:
        self.model = model
        self.size = (image.shape[0], image.shape[1])
        self.closeup_size = closeup_side(model.config, model.image_size)
        self._image = image if keeps_image else None
        self._whole = self._encode(image_to_tensor(image, model.image_size))
        self._views: OrderedDict[Window, View] = OrderedDict()
        self._mirrored: OrderedDict[Window, list[View]] = OrderedDict()

    def through(self, window: Window) -> View:
        """What is seen through a window."""
        if window == whole(self.size):
            return self._whole
        if window not in self._views:
            self._views[window] = self._encode(self.picture(window))
            if len(self._views) > _CAPACITY:
                self._views.popitem(last=False)
        self._views.move_to_end(window)
        return self._views[window]

    def mirrored(self, window: Window) -> list[View]:
        """What is seen through a window, and its mirror images."""
        if window not in self._mirrored:
            image = self.picture(window).to(self.model.device)
            self._mirrored[window] = encode_mirrored(self.model, image)
            if len(self._mirrored) > _MIRRORED_CAPACITY:
                self._mirrored.popitem(last=False)
        self._mirrored.move_to_end(window)
        return [self.through(window), *self._mirrored[window]]

    @torch.inference_mode()
    def decode(
        self,
        points: NDArray[np.float32],
        point_labels: NDArray[np.int64],
        *,
        mask_logits: Tensor | None,
        multimask: bool,
        window: Window,
        mirrored: bool,
    ) -> Decoding:
        """Decode a batch of objects; see `ImagePredictor.decode`."""
        views = self.mirrored(window) if mirrored else [self.through(window)]
        device = self.model.device
        corner = np.array([window.x0, window.y0], dtype=np.float32)
        scaled = points_to_model(points - corner, window.size, 16 * views[0].features.grid[0])
        has_points = points.shape[1] > 0
        return decode_views(
            *(self.model, views),
            points=scaled.to(device) if has_points else None,
            point_labels=torch.from_numpy(point_labels).to(device) if has_points else None,
            mask_logits=mask_logits,
            multimask=multimask,
        )

    def look(self, window: Window, said: Said, *, mirrored: bool = False) -> Look:
        """Decode one object, seen through a window; clicks beside it say nothing there."""
        pairs = zip(said.xy, said.labels, strict=True)
        kept = [(point, label) for point, label in pairs if window.holds((*point, *point))]
        decoding = self.decode(
            np.array([point for point, _ in kept], dtype=np.float32).reshape(1, -1, 2),
            np.array([[label for _, label in kept]], dtype=np.int64),
            mask_logits=said.mask_through(window),
            multimask=said.multimask,
            window=window,
            mirrored=mirrored,
        )
        return Look(decoding, window)

    def read(self, window: Window) -> NDArray[np.uint8]:
        """A part of the image: (h, w, 3) uint8, RGB."""
        assert self._image is not None
        return read_part(self._image, window)

    def picture(self, window: Window) -> Tensor:
        """What is seen through a window, as the model's input (3, S, S)."""
        assert self._image is not None
        side = self.model.image_size if window == whole(self.size) else self.closeup_size
        return image_to_tensor(self._image[window.slices], side)

    @torch.inference_mode()
    def _encode(self, image: Tensor) -> View:
        features = self.model.encode_image(image[None].to(self.model.device))
        return View(features, self.model.without_memory(features))


class KnownWindows:
    """Through which windows logits were seen, of images of one size (H, W)."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self._windows: OrderedDict[bytes, Window] = OrderedDict()

    def remember(self, logits: Tensor, window: Window) -> None:
        """Note through which window logits (M, h, w) were seen."""
        for candidate in logits:
            name = _name(candidate)
            self._windows[name] = window
            self._windows.move_to_end(name)
        while len(self._windows) > _REMEMBERED:
            self._windows.popitem(last=False)

    def find(self, logits: Tensor) -> Window | None:
        """The window through which logits (h, w) were seen; None if that is not known."""
        return self._windows.get(_name(logits))


def _name(logits: Tensor) -> bytes:
    return hashlib.sha256(logits.cpu().numpy().tobytes()).digest()[:16]
