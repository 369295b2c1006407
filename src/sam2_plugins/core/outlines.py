"""Masks that were found without a prompt, drawn anew; see `core.retouching`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_plugins.core.mask_search import Candidate
from sam2_plugins.core.placed_masks import PlacedMask
from sam2_plugins.core.portraits import square_around, to_bytes
from sam2_plugins.core.retouch_network import draw_anew
from sam2_plugins.core.retouching import SCALE, assemble, paste, planes_of, shown
from sam2_plugins.core.stored_masks import box_of
from sam2_plugins.core.windows import Window

_BATCH = 64

Clean = Callable[[NDArray[np.bool_]], NDArray[np.bool_]]


def drawn_anew(found: Sequence[Candidate], image: NDArray[Any], *, clean: Clean) -> list[Candidate]:
    """The same things with their outlines drawn anew; a mask may become empty.

    Args:
        found: Not empty ones.
        image: (H, W, 3) uint8, or float in [0, 1].
        clean: What is done to every mask (h, w).
    """
    plane = Window(0, 0, image.shape[1], image.shape[0])
    anew = []
    for first in range(0, len(found), _BATCH):
        some = found[first : first + _BATCH]
        parts = [_square_of(each) for each in some]
        shows = [_shown(each, part, image) for each, part in zip(some, parts, strict=True)]
        for each, part, drawn in zip(some, parts, draw_anew(np.stack(shows)), strict=True):
            inside = part.shared(plane)
            mask = clean(paste(drawn, part.shifted(-inside.x0, -inside.y0), inside.size) > 0)
            placed = PlacedMask.place(mask, inside, Window(*box_of(mask)), plane.size)
            area = int(np.count_nonzero(mask))
            anew.append(replace(each, mask=placed, area=area, box=(*placed.window,)))
    return anew


def _square_of(found: Candidate) -> Window:
    x0, y0, x1, y1 = found.box
    return square_around([(x0, y0), (x1, y1), found.point], scale=SCALE)


def _shown(found: Candidate, part: Window, image: NDArray[Any]) -> NDArray[np.float32]:
    """A found mask as the network sees it, (CHANNELS, SIDE, SIDE)."""
    around = part.shared(Window(0, 0, image.shape[1], image.shape[0]))
    mask = np.zeros(around.size, np.bool_)
    mask[found.mask.window.shifted(-around.x0, -around.y0).slices] = found.mask.crop
    here = part.shifted(-around.x0, -around.y0)
    (x, y), pixels = found.point, to_bytes(image[around.slices])
    click = (x - around.x0, y - around.y0)
    return assemble([shown(pixels, here)], planes_of(mask, here, on_object=[click]))
