"""Planes and prompts as they are kept in an autosave's JSON."""

import zlib
from typing import Any

from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.prompts import Click, Drawing, MaskPixels, PromptKey, SlicePrompts


def describe_plane(plane: Plane) -> list[Any]:
    """A plane, for JSON."""
    return [plane.shape, plane.frame_axis, plane.y_axis, plane.x_axis, plane.fixed]


def make_plane(entry: list[Any]) -> Plane:
    """The plane that was described."""
    shape, frame_axis, y_axis, x_axis, fixed = entry
    return Plane(tuple(shape), frame_axis, y_axis, x_axis, tuple((a, i) for a, i in fixed))


def describe_prompts(key: PromptKey, said: SlicePrompts) -> dict[str, Any]:
    """All that is said of an object on a frame, for JSON."""
    mask = said.mask
    return {
        "plane": describe_plane(key.plane),
        "frame": key.frame_index,
        "object": key.object_id,
        "clicks": said.clicks,
        "drawings": [[d.kind, d.vertices, d.label] for d in said.drawings],
        "mask": None if mask is None else [mask.shape, zlib.compress(mask.bits).hex(), mask.window],
    }


def make_prompts(entry: dict[str, Any]) -> tuple[PromptKey, SlicePrompts]:
    """What was described, and of which object and frame it is said."""
    mask = None if entry["mask"] is None else _make_mask(*entry["mask"])
    drawings = tuple(
        Drawing(kind, tuple((x, y) for x, y in vertices), label)
        for kind, vertices, label in entry["drawings"]
    )
    clicks = tuple(Click(x, y, label) for x, y, label in entry["clicks"])
    key = PromptKey(make_plane(entry["plane"]), entry["frame"], entry["object"])
    return key, SlicePrompts(clicks, drawings, mask)


def _make_mask(shape: list[int], packed: str, *windows: list[int] | None) -> MaskPixels:
    (height, width), bits = shape, zlib.decompress(bytes.fromhex(packed))
    if not windows:
        # Earlier versions wrote all of the plane.
        return MaskPixels.pack(MaskPixels((height, width), (0, 0, height, width), bits).unpack())
    if windows[0] is None:
        return MaskPixels((height, width), None, b"")
    y0, x0, y1, x1 = windows[0]
    return MaskPixels((height, width), (y0, x0, y1, x1), bits)
