"""Prompts as the layers show them, and what the tracker is told: pure functions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.napari_plugin.frame_labels import extent
from sam2_plugins.napari_plugin.layers import Plane, Window
from sam2_plugins.napari_plugin.polygons import fill_polygon

POSITIVE, NEGATIVE = "positive", "negative"
SCRIBBLE_POINTS = 8
"""A scribble is as many clicks along its length."""


class Click(NamedTuple):
    """A click: (x, y) in pixels of its frame, label 1 on the object or 0 on the background."""

    x: float
    y: float
    label: int


class PromptKey(NamedTuple):
    """Which object on which frame of which plane."""

    plane: Plane
    frame_index: int
    object_id: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """A shape that was drawn.

    Attributes:
        kind: "rectangle", "polygon", "ellipse", "line" or "path".
        vertices: (x, y) of each vertex, as napari has them.
        label: 1 on the object, 0 on the background.
    """

    kind: str
    vertices: tuple[tuple[float, float], ...]
    label: int = 1

    @property
    def is_stroke(self) -> bool:
        """Whether it is a line, not an area."""
        return self.kind in ("line", "path")


@dataclass(frozen=True, slots=True)
class MaskPixels:
    """A mask (H, W), packed, equal by content.

    Attributes:
        shape: (H, W).
        window: Around what is there; None where nothing is.
        bits: Of the window.
    """

    shape: tuple[int, int]
    window: Window | None
    bits: bytes

    @classmethod
    def pack(cls, mask: NDArray[Any]) -> "MaskPixels":
        """Pack (H, W); anything but 0 is object."""
        return cls.place(mask, (0, 0), (mask.shape[0], mask.shape[1]))

    @classmethod
    def place(
        cls, part: NDArray[Any], corner: tuple[int, int], shape: tuple[int, int]
    ) -> "MaskPixels":
        """Pack a mask of which a part is given, and nothing is elsewhere.

        Args:
            part: (h, w); anything but 0 is object.
            corner: (y, x) of it in the mask.
            shape: (H, W) of the mask.
        """
        where = extent(part)
        if where is None:
            return cls(shape, None, b"")
        y0, x0, y1, x1 = where
        window = (y0 + corner[0], x0 + corner[1], y1 + corner[0], x1 + corner[1])
        return cls(shape, window, np.packbits(part[y0:y1, x0:x1] != 0).tobytes())

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing: the object is not on that frame."""
        return self.window is None

    def unpack(self) -> NDArray[np.bool_]:
        """(H, W) bool."""
        mask = np.zeros(self.shape, np.bool_)
        if self.window is not None:
            y0, x0, y1, x1 = self.window
            part = mask[y0:y1, x0:x1]
            bits = np.unpackbits(np.frombuffer(self.bits, dtype=np.uint8), count=part.size)
            part[:] = bits.reshape(part.shape)
        return mask


@dataclass(frozen=True, slots=True)
class SlicePrompts:
    """Everything said of one object on one frame.

    Attributes:
        clicks: In the order they were made.
        drawings: Likewise.
        mask: Painted, or taken from other labels.
    """

    clicks: tuple[Click, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    mask: MaskPixels | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said."""
        return not self.clicks and not self.drawings and self.mask is None

    def joined(self, more: "SlicePrompts") -> "SlicePrompts":
        """All of these, and what is said on top; a mask takes the place of another."""
        mask = self.mask if more.mask is None else more.mask
        return SlicePrompts(self.clicks + more.clicks, self.drawings + more.drawings, mask)


@dataclass(frozen=True, slots=True)
class Orders:
    """What the tracker is told of one object on one frame, in this order.

    Attributes:
        mask: Instead of a box.
        box: (x0, y0, x1, y1).
        clicks: On top of either.
        others: Clicks on other objects, which are background to this one; not to a mask, that is
            what it is.
    """

    mask: MaskPixels | None = None
    box: tuple[float, float, float, float] | None = None
    clicks: tuple[Click, ...] = ()
    others: tuple[Click, ...] = ()

    @property
    def told(self) -> tuple[Click, ...]:
        """All clicks as the tracker is told of them."""
        return self.clicks + tuple(click._replace(label=0) for click in self.others)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to say."""
        return self.mask is None and self.box is None and not self.clicks


def make_orders(prompts: SlicePrompts, plane: Plane) -> Orders:
    """Prompts for the tracker: the last box, areas as one mask, scribbles as clicks.

    Clicks outside the frame and boxes that do not meet it are left out. That the object is not
    there is left out where anything else says that it is.
    """
    box = None
    areas: list[NDArray[np.bool_]] = []
    strokes: list[Click] = []
    for drawing in prompts.drawings:
        if drawing.is_stroke:
            strokes += stroke_clicks(drawing)
        elif drawing.kind == "rectangle":
            box = drawn_box(drawing, plane.frame_size) or box
        else:
            areas.append(drawn_area(drawing, plane.frame_size))
    mask = prompts.mask
    for area in areas:
        mask = MaskPixels.pack(area if mask is None else area | mask.unpack())
    clicks = tuple(
        Click(max(c.x, 0.0), max(c.y, 0.0), c.label)
        for c in (*prompts.clicks, *strokes)
        if plane.holds(c.x, c.y)
    )
    if mask is not None and mask.is_blank and (box or any(click.label for click in clicks)):
        mask = None
    return Orders(mask, None if mask is not None else box, clicks)


def stroke_clicks(drawing: Drawing, count: int = SCRIBBLE_POINTS) -> list[Click]:
    """Clicks at equal distances along a line."""
    vertices = np.asarray(drawing.vertices, dtype=float)
    lengths = np.hypot(*np.diff(vertices, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    if along[-1] == 0:
        return [Click(float(vertices[0, 0]), float(vertices[0, 1]), drawing.label)]
    at = along[-1] * (np.arange(count) + 0.5) / count
    xs, ys = np.interp(at, along, vertices[:, 0]), np.interp(at, along, vertices[:, 1])
    return [Click(float(x), float(y), drawing.label) for x, y in zip(xs, ys, strict=True)]


def drawn_box(
    drawing: Drawing, frame_size: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """(x0, y0, x1, y1) around a shape, cut to the frame; None if nothing is left of it."""
    vertices = np.asarray(drawing.vertices, dtype=float)
    (x0, y0), (x1, y1) = vertices.min(axis=0), vertices.max(axis=0)
    height, width = frame_size
    x0, y0 = max(float(x0), 0.0), max(float(y0), 0.0)
    x1, y1 = min(float(x1), float(width)), min(float(y1), float(height))
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        return None
    # A box drawn thinner than a pixel still means that pixel.
    return x0, y0, max(x1, x0 + 1.0), max(y1, y0 + 1.0)


def drawn_area(drawing: Drawing, frame_size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) bool, the pixels whose centres a polygon or ellipse covers."""
    vertices = np.asarray(drawing.vertices, dtype=float)
    if drawing.kind != "ellipse":
        return fill_polygon(vertices, frame_size)
    from skimage.draw import ellipse

    centre = vertices.mean(axis=0)
    # napari's four vertices are the corners of the box around the ellipse, which may be turned.
    along, across = vertices[1] - vertices[0], vertices[2] - vertices[1]
    rows, columns = ellipse(  # type: ignore[no-untyped-call]
        *(centre[1], centre[0]),
        *(np.hypot(*across) / 2, np.hypot(*along) / 2),
        shape=frame_size,
        rotation=-float(np.arctan2(along[1], along[0])),
    )
    area = np.zeros(frame_size, dtype=bool)
    area[rows, columns] = True
    return area


def changes(
    old: Mapping[PromptKey, SlicePrompts], new: Mapping[PromptKey, SlicePrompts]
) -> list[tuple[PromptKey, SlicePrompts]]:
    """What is to be said anew, in the order of `new`; what is gone comes last, empty."""
    found = [(key, prompts) for key, prompts in new.items() if old.get(key) != prompts]
    return found + [(key, SlicePrompts()) for key in old if key not in new]


def gather(
    clicks: Iterable[tuple[PromptKey, Click]],
    drawings: Iterable[tuple[PromptKey, Drawing]],
    masks: Mapping[PromptKey, MaskPixels],
) -> dict[PromptKey, SlicePrompts]:
    """Prompts by object and frame, from all layers."""
    found: dict[PromptKey, SlicePrompts] = {
        key: SlicePrompts(mask=mask) for key, mask in masks.items()
    }
    for key, click in clicks:
        known = found.get(key, SlicePrompts())
        found[key] = replace(known, clicks=(*known.clicks, click))
    for key, drawing in drawings:
        known = found.get(key, SlicePrompts())
        found[key] = replace(known, drawings=(*known.drawings, drawing))
    return found
