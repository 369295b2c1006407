"""Whether what draws masks anew knows a kind of thing, told by the mask that tracking set out from.

It has learnt from few kinds of things, and of others it makes something else, frame after frame. A
mask that is right, and that is drawn anew as if it had been tracked, stays what it is if the object
is known. That alone says little of what is round and by itself, as profiles of cells in electron
micrographs are: there is nothing to mend. So of a mask that a person has drawn, which is right to
the pixel, one that is smaller and one that is larger are drawn anew too: these have to become what
they were made from.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sam2_plugins.core.retouching import drawn_on_the_way, in_pixels, iou

_CHANGE = 0.12
"""How far an outline is moved, in radii of a disc of the same area."""


def agreement(logits: Tensor, picture: Tensor, earlier: NDArray[np.uint8]) -> float:
    """IoU of a mask with what would be drawn anew of it, had it been tracked; 0 of an empty one.

    Args:
        logits: (1, 1, h, w) low-res logits.
        picture: (3, S, S), the model's input that was looked at.
        earlier: (S, S), the same in grey.
    """
    mask = in_pixels(logits, picture)
    if not mask.any():
        return 0.0
    return iou(drawn_on_the_way(mask, picture, earlier) > 0, mask)


def restoration(logits: Tensor, picture: Tensor, earlier: NDArray[np.uint8]) -> float:
    """Mean IoU of a mask with what would be drawn anew of it made smaller, and made larger.

    Args:
        logits: (1, 1, h, w) low-res logits.
        picture: (3, S, S), the model's input that was looked at.
        earlier: (S, S), the same in grey.

    Returns:
        In [0, 1]; 0 of an empty mask.
    """
    mask = in_pixels(logits, picture)
    if not mask.any():
        return 0.0
    reach = max(1, round(_CHANGE * float(np.sqrt(np.count_nonzero(mask) / np.pi))))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    changed = (change(mask.astype(np.uint8), disc) > 0 for change in (cv2.erode, cv2.dilate))
    # What is thin is gone when it is made smaller.
    others = [other if other.any() else mask for other in changed]
    anew = (drawn_on_the_way(other, picture, earlier) > 0 for other in others)
    return float(np.mean([iou(drawn, mask) for drawn in anew]))
