"""Masks that are nearly right, drawn anew from near.

A small network that was trained on little sees objects through windows, and draws them on a grid of
a quarter of these. Given a mask of it, a second network, which sees nothing but the mask's
surroundings and what was said of the object, finds its outline better. It learns from answers of
the first one, see `training.retouch`.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_plugins.core.closeups import Extent
from sam2_plugins.core.heeded_prompts import Statement
from sam2_plugins.core.masks import resize_logits
from sam2_plugins.core.model.mask_decoder import Decoding
from sam2_plugins.core.model.prompt_encoder import BOX_CORNER_LABELS
from sam2_plugins.core.portraits import picture_in, place, spots, square_around
from sam2_plugins.core.prompts import BACKGROUND, OBJECT
from sam2_plugins.core.retouch_network import SIDE, draw_anew
from sam2_plugins.core.transforms import tensor_to_rgb
from sam2_plugins.core.windows import Window

SCALE = 1.9
"""The side of what is looked at, over that of the box around the mask and what was said."""
_LOOKS = ((SCALE,), (1.7, 2.1))
"""The same of a mask that was made from prompts: what is drawn is looked at again, and the mean of
two squares is taken. On every second of 708 held-out nuclei, one click has 0.771 IoU without
drawing anew, 0.791 with a mean of these two squares, and 0.792 so."""
_DARKEST_SPREAD = 0.02
"""Added to the spread of a picture's values, 0 to 1: one without any has none to scale by."""
_MOST_DEVIATIONS = 4.0
_LIMIT = 6.0
"""Of logits that are put together."""
_IN_STACKS, _IN_FILMS = 0.9, 0.3
"""What a tracked mask that was drawn anew counts, against the one before. On held-out clips, which
are colours, 0.3 has a J&F of 0.655 where 0.7 has 0.631 and nothing drawn anew 0.640. In stacks,
where objects end, dev/nuclei_3d has from boxes, drawn anew themselves, 0.669 with 0.7 and 0.680
with 0.9; 0.602 with nothing drawn anew."""
_HEEDED = 1.0
"""Logit at a click, at least."""
_ABSENT = -8.0
"""Logits of what was not looked at."""

Point = tuple[float, float]
Points = Sequence[Point]


def redrawn(
    decoding: Decoding, picture: Tensor, earlier: NDArray[np.uint8], *, things_stay: bool
) -> Decoding:
    """The best mask of a tracked frame, put together with what is drawn anew of the first.

    The first is the least that may be the object. Drawn anew it does not spread over neighbours.

    Args:
        decoding: Of one object (B = 1). Nothing changes where the first mask is empty; the best
            may become empty.
        picture: (3, S, S), the model's input that was looked at.
        earlier: (S, S), the frame before in grey, seen through the same window.
        things_stay: Whether they are frames of a film, and not slices of a stack.
    """
    weight = _IN_FILMS if things_stay else _IN_STACKS
    best = int(decoding.predicted_iou[0].argmax())
    one = slice(best, best + 1)
    logits = decoding.low_res_logits.float().clone()
    mask = in_pixels(logits[:, :1], picture)
    if not mask.any():
        return decoding
    anew = to_cells(drawn_on_the_way(mask, picture, earlier), logits[:, one]).clamp(-_LIMIT, _LIMIT)
    kept = logits[:, one].clamp(-_LIMIT, _LIMIT)
    logits[:, one] = kept + weight * (anew - kept)
    return decoding._replace(low_res_logits=logits)


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Of two masks (H, W), one of which is not empty."""
    return float(np.count_nonzero(one & other) / np.count_nonzero(one | other))


def drawn_on_the_way(
    mask: NDArray[np.bool_], picture: Tensor, earlier: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Logits (S, S) of a tracked mask drawn anew."""
    part = square_around(corners_of(mask, [], box=None), scale=SCALE)
    before = shown(earlier, part)[..., None]
    seen = [shown(tensor_to_rgb(picture, side=len(mask)), part), before]
    drawn = draw_anew(assemble(seen, planes_of(mask, part))[None])[0]
    return paste(drawn, part, mask.shape)


def is_to_be_drawn_anew(said: Statement) -> bool:
    """Whether a mask was made from prompts alone, and these say where the object is.

    Whoever mends a mask means most of it to stay, see `mending`.
    """
    return not said.goes_on and (OBJECT in said.labels or BOX_CORNER_LABELS[0] in said.labels)


def to_cells(anew: NDArray[np.float32], logits: Tensor) -> Tensor:
    """Logits (S, S) on the grid of others, (1, 1, h, w)."""
    cells = cv2.resize(anew, logits.shape[-2:][::-1], interpolation=cv2.INTER_AREA)
    return torch.from_numpy(cells)[None, None].to(logits)


def retouch(mask: NDArray[np.bool_], picture: Tensor, said: Statement) -> NDArray[np.float32]:
    """Draw a mask that was made from prompts anew.

    Args:
        mask: (S, S), not empty.
        picture: (3, S, S), the model's input that was looked at.
        said: What the mask was made from.

    Returns:
        (S, S) logits.
    """
    on_object, on_background = (
        [point for point, of in zip(said.points, said.labels, strict=True) if of == label]
        for label in (OBJECT, BACKGROUND)
    )
    box: Extent | None = None
    if BOX_CORNER_LABELS[0] in said.labels:
        (x0, y0), (x1, y1) = (said.points[said.labels.index(n)] for n in BOX_CORNER_LABELS)
        box = x0, y0, x1, y1
    rgb, anew = tensor_to_rgb(picture, side=len(mask)), np.zeros(mask.shape, np.float32)
    for scales in _LOOKS:
        corners = corners_of(mask, [*on_object, *on_background], box=box)
        parts = [square_around(corners, scale=scale) for scale in scales]
        shows = [
            assemble(
                [shown(rgb, part)],
                planes_of(mask, part, on_object=on_object, on_background=on_background, box=box),
            )
            for part in parts
        ]
        looks = [
            paste(_heeding(drawn, (on_object, on_background), part), part, mask.shape)
            for drawn, part in zip(draw_anew(np.stack(shows)), parts, strict=True)
        ]
        anew = np.mean(looks, axis=0, dtype=np.float32)
        mask = anew > 0
    return anew


def _heeding(
    drawn: NDArray[np.float32], clicks: tuple[Points, Points], part: Window
) -> NDArray[np.float32]:
    """Logits (SIDE, SIDE) of a square that say at clicks (x, y) what these say.

    Args:
        drawn: The logits.
        clicks: On the object, and on the background.
        part: The square.
    """
    for points, sign in zip(clicks, (1, -1), strict=True):
        for point in points:
            spot = spots([point], part, side=SIDE)
            cell = np.unravel_index(spot.argmax(), spot.shape)
            lacking = max(_HEEDED - sign * float(drawn[cell]), 0.0)
            drawn = np.asarray(drawn + sign * lacking * spot, np.float32)
    return drawn


def in_pixels(logits: Tensor, picture: Tensor) -> NDArray[np.bool_]:
    """The mask (S, S) of low-res logits (1, 1, h, w), in pixels of what was looked at."""
    side = picture.shape[-1]
    return np.asarray((resize_logits(logits[0].float(), (side, side))[0] > 0).cpu().numpy())


def corners_of(mask: NDArray[np.bool_], points: Points, *, box: Extent | None) -> list[Point]:
    """Points (x, y) that what is looked at must hold: of a mask (H, W), clicks and a box."""
    corners = [*points]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows):
        corners += [(columns[0], rows[0]), (columns[-1] + 1, rows[-1] + 1)]
    if box is not None:
        corners += [box[:2], box[2:]]
    return corners


def planes_of(
    mask: NDArray[np.bool_],
    part: Window,
    *,
    on_object: Points = (),
    on_background: Points = (),
    box: Extent | None = None,
) -> list[NDArray[np.floating]]:
    """What is drawn beside the picture: the mask, the clicks, the box, and where the picture is.

    Args:
        mask: (H, W).
        part: The square that is drawn.
        on_object: Clicks (x, y).
        on_background: Likewise.
        box: (x0, y0, x1, y1).

    Returns:
        (SIDE, SIDE) each.
    """
    inside = part.shared(Window(0, 0, mask.shape[1], mask.shape[0]))
    clicks = spots(on_object, part, side=SIDE) - spots(on_background, part, side=SIDE)
    return [
        2 * place(mask[inside.slices], inside, part=part, side=SIDE) - 1,
        2 * clicks,
        2 * _filled(box, part),
        2 * place(True, inside, part=part, side=SIDE) - 1,
    ]


def shown(picture: NDArray[np.uint8], part: Window) -> NDArray[np.float32]:
    """A square of a picture (H, W, 3) or (H, W) as (SIDE, SIDE, 3) or (SIDE, SIDE) in [0, 1]."""
    plane = picture.shape[0], picture.shape[1]
    seen = picture_in(part, plane, read=lambda inside: picture[inside.slices], side=SIDE)
    return np.asarray(seen / 255, np.float32)


def assemble(
    seen: Sequence[NDArray[np.float32]], planes: Sequence[NDArray[np.floating]]
) -> NDArray[np.float32]:
    """Pictures, by their own brightness and contrast, and what was drawn.

    Args:
        seen: (SIDE, SIDE, 3) in [0, 1], and perhaps an earlier look (SIDE, SIDE, 1).
        planes: (SIDE, SIDE) of the mask, the clicks, the box, and what is inside the picture.

    Returns:
        (CHANNELS, SIDE, SIDE).
    """
    mean, spread = seen[0].mean(), seen[0].std() + _DARKEST_SPREAD
    colours, *others = (
        ((each - mean) / spread).clip(-_MOST_DEVIATIONS, _MOST_DEVIATIONS) for each in seen
    )
    before = others[0] if others else np.zeros_like(colours[..., :1])
    parts = [colours.transpose(2, 0, 1), np.stack(planes), before.transpose(2, 0, 1)]
    return np.concatenate(parts).astype(np.float32)


def paste(drawn: NDArray[np.float32], part: Window, size: tuple[int, ...]) -> NDArray[np.float32]:
    """Logits (SIDE, SIDE) of a square as they are on the picture (H, W)."""
    scale = part.side / SIDE
    shift = (scale - 1) / 2
    forward = np.array([[scale, 0, part.x0 + shift], [0, scale, part.y0 + shift]])
    return np.asarray(
        cv2.warpAffine(
            *(drawn, forward, size[::-1]),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(_ABSENT,),
        )
    )


def _filled(box: Extent | None, part: Window) -> NDArray[np.float32]:
    """How much of each cell of a square is in a box."""
    if box is None:
        return np.zeros((SIDE, SIDE), np.float32)
    scale = part.side / SIDE
    edges = np.arange(SIDE + 1)
    shares = []
    for low, high, start in ((box[0], box[2], part.x0), (box[1], box[3], part.y0)):
        ends = np.clip(edges, (low - start) / scale, (high - start) / scale)
        shares.append(np.diff(ends))
    return np.asarray(shares[1][:, None] * shares[0][None, :], np.float32)
