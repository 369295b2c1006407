"""Which of several masks of one clicked object is meant.

A click does not say how large its object is. It is looked at through several windows, and through
each there are several masks; the best of them all is better by far than the one that the network is
surest of. What a small network predicts of its IoU says little. So every mask is measured in ways
that say something of an object: whether it is seen alike through other windows, whether the click
is in its middle, where people click, whether its outline follows the edges of the picture. And it
is looked at, with what is around it. A network of its own, which learns from the images that the
model was trained on (see `training.choice`), makes one number of these.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sam2_plugins.core.choice_network import judge
from sam2_plugins.core.closeups import overlap, sureness
from sam2_plugins.core.mask_regions import distances_inside
from sam2_plugins.core.mirrors import ANSWER_LIMIT
from sam2_plugins.core.portraits import ReadPart, draw_portrait
from sam2_plugins.core.windows import Window

_LEAST_VOICE = 0.02
"""What a mask that is not sure at all counts where masks are asked whether they agree."""
_LEAST_CELLS = 3
"""Of a mask: one that is smaller has no outline."""
_UNCLICKED = (-1.0,) * 8
"""What is measured of a mask that the click is not on."""
_AROUND = np.ones((3, 3), np.uint8)

Mask = NDArray[np.bool_]
Points = Sequence[tuple[float, float]]


class Candidate(NamedTuple):
    """A mask of one object, seen through one of several windows.

    Attributes:
        mask: (H, W) bool, at the window's size.
        window: Through which it was seen.
        logits: (h, w) float32, low-res mask logits.
        picture: (h, w, 3) uint8, what was seen, at the size of the logits.
        predicted_iou: In [0, 1].
        is_best: Whether it has the highest of what was seen through the window.
    """

    mask: Mask
    window: Window
    logits: NDArray[np.float32]
    picture: NDArray[np.uint8]
    predicted_iou: float
    is_best: bool


def choose(
    candidates: Sequence[Candidate], clicks: Points, *, plane: tuple[int, int], read: ReadPart
) -> int:
    """The mask to believe, of one object seen through several windows.

    Args:
        candidates: One mask or several through each window.
        clicks: Points (x, y) on the object, in pixels of the image.
        plane: (H, W) of the image.
        read: Reads parts of it.

    Returns:
        The index of the mask.
    """
    portraits = draw(candidates, clicks, plane=plane, read=read)
    return int(np.argmax(judge(portraits, measure(candidates, clicks, plane=plane))))


def draw(
    candidates: Sequence[Candidate], clicks: Points, *, plane: tuple[int, int], read: ReadPart
) -> NDArray[np.uint8]:
    """The portraits (M, CHANNELS, SIDE, SIDE) of masks of one object; see `choose`."""
    return np.stack(
        [
            draw_portrait(each.mask, each.window, clicks=clicks, plane=plane, read=read)
            for each in candidates
        ]
    )


def measure(
    candidates: Sequence[Candidate], clicks: Points, *, plane: tuple[int, int]
) -> NDArray[np.float32]:
    """Measure masks of one object; see `choose`.

    Returns:
        (M, len(MEASURES)) float32.
    """
    sure = [sureness(c.logits, c.mask, window=c.window, plane=plane) for c in candidates]
    agreement = _agreement(candidates, sure)
    rows = []
    for index, candidate in enumerate(candidates):
        piece = _clicked_piece(candidate, clicks)
        of_piece = _UNCLICKED
        if np.count_nonzero(piece) >= _LEAST_CELLS:
            of_piece = (
                *_middle_and_shape(candidate, piece, clicks),
                *_outline(candidate.picture, piece),
                *_size(piece, candidate.window, plane),
                float(candidate.logits[piece].clip(-ANSWER_LIMIT, ANSWER_LIMIT).mean()),
            )
        rows.append([sure[index], agreement[index], candidate.predicted_iou, *of_piece])
    return np.array(rows, np.float32)


def _agreement(candidates: Sequence[Candidate], sure: Sequence[float]) -> list[float]:
    """How far masks are seen alike through other windows.

    Each window has one voice, that of its best mask, and the sure ones count most.
    """
    voters = [(c, max(s, 0.0)) for c, s in zip(candidates, sure, strict=True) if c.is_best]
    agreement = []
    for one in candidates:
        said, voices = 0.0, 0.0
        for voter, voter_sure in voters:
            if voter.window == one.window:
                continue
            voice = min(voter_sure, 1.0) + _LEAST_VOICE
            voices += voice
            said += voice * overlap(
                one.mask, one.window, other=voter.mask, other_window=voter.window
            )
        agreement.append(said / max(voices, _LEAST_VOICE))
    return agreement


def _clicked_piece(candidate: Candidate, clicks: Points) -> Mask:
    """The parts of a mask that clicks are on, at the size of its logits."""
    pieces, _ = ndimage.label(candidate.logits > 0)
    clicked = [pieces[cell] for cell in _cells(candidate, clicks)]
    return np.isin(pieces, [piece for piece in clicked if piece])


def _cells(candidate: Candidate, clicks: Points) -> list[tuple[int, int]]:
    """The cells (row, column) of clicks that the window holds."""
    window, num_cells = candidate.window, len(candidate.logits)
    height, width = window.size
    return [
        (int((y - window.y0) / height * num_cells), int((x - window.x0) / width * num_cells))
        for x, y in clicks
        if window.x0 <= x < window.x1 and window.y0 <= y < window.y1
    ]


def _middle_and_shape(
    candidate: Candidate, piece: Mask, clicks: Points
) -> tuple[float, float, float]:
    """How near to the middle of the piece it was clicked, its share of the mask, its solidity."""
    depth = distances_inside(piece)
    deepest = max(depth[cell] for cell in _cells(candidate, clicks))
    area = np.count_nonzero(piece)
    share = area / np.count_nonzero(candidate.logits > 0)
    hull = cv2.convexHull(np.argwhere(piece)[:, ::-1].astype(np.int32))
    solidity = area / np.count_nonzero(cv2.fillConvexPoly(np.zeros(piece.shape, np.uint8), hull, 1))
    return float(deepest / depth.max()), float(share), float(solidity)


def _outline(picture: NDArray[np.uint8], piece: Mask) -> tuple[float, float]:
    """How far the picture changes across the outline, and how much of its edges are along it."""
    pixels, drawn = picture.astype(np.float32), piece.astype(np.uint8)
    inner, outer = cv2.erode(drawn, _AROUND) > 0, cv2.dilate(drawn, _AROUND) > 0
    within, beyond = piece & ~inner, outer & ~piece
    if not beyond.any():
        return 0.0, 0.0
    change = np.abs(pixels[within].mean(0) - pixels[beyond].mean(0)).mean()
    edge = change / (pixels.std((0, 1)).mean() + 1)
    slopes = np.hypot(*np.gradient(pixels.mean(-1)))
    return float(edge), float(slopes[outer & ~inner].mean() / (slopes.mean() + 0.5))


def _size(piece: Mask, window: Window, plane: tuple[int, int]) -> tuple[float, float]:
    """Its longer side, over that of the window, and the logarithm of it over that of the image."""
    extent = max(int(np.ptp(line)) + 1 for line in np.nonzero(piece))
    share = extent / len(piece)
    return share, float(np.log(share * window.side / max(plane)))
