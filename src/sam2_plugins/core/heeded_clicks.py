"""What clicks say of their surroundings, where the network heeds them too little.

A small network now and then answers a click with a mask that the click says is wrong: of five
clicks on held-out nuclei, one in six. What a person says of one pixel holds for what looks like it
nearby. So the mask gives way around every click, a little where it agrees with it already, and as
much as is needed where it does not: along paths that cross no edge of the picture, and only as far
as clicks that say the opposite are further off. Distances along such paths are geodesic ones, as in
Criminisi et al., "GeoS: Geodesic Image Segmentation" (ECCV 2008).

On half of the held-out images, on which the numbers here were chosen, three clicks on nuclei give
0.800 IoU instead of 0.780, on clothing 0.552 instead of 0.495; on the other half 0.791 instead of
0.769 and 0.529 instead of 0.491.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.graph import MCP_Geometric
from torch import Tensor
from torch.nn import functional

from sam2_plugins.core.mask_regions import distances_inside
from sam2_plugins.core.model.values import LOGIT_LIMIT
from sam2_plugins.core.motion import MASK_STRIDE
from sam2_plugins.core.prompts import BACKGROUND, OBJECT

_PUSH = 1.5
"""Logits that every click adds around it."""
_SURENESS = 3.0
"""Logit at a cell whose click was not heeded, before that."""
_LEAST_REACH, _REACH = 2.0, 6.0
"""Cells after which a click has lost all but a third of its force, where nothing is in the way: of
one that the mask contradicts between the two, of others the second."""
_BEYOND = 1.5
"""The first, over how far the outline is: people click in the middle of what is wrong, so that it
reaches about as far to the other side. Of 52 masks from boxes around things in held-out clips, with
0.761 IoU, clicks at the centre of the error then make 0.762, 0.766 and 0.786, where with a reach of
six cells for all of them they made 0.728, 0.754 and 0.777."""
_EDGES = 1.0
"""What a step across an average edge costs, besides the step itself."""

Cell = tuple[int, int]


def are_to_be_heeded(labels: Sequence[int], *, goes_on: bool) -> bool:
    """Whether clicks add to something: a first click alone has nothing to correct.

    Args:
        labels: Of clicks, and of the corners of a box.
        goes_on: Whether they come on top of a mask.
    """
    is_clicked = OBJECT in labels or BACKGROUND in labels
    return is_clicked and (goes_on or len(labels) > 1)


def heed_clicks(
    logits: Tensor,
    picture: Tensor,
    *,
    points: Sequence[tuple[float, float]],
    labels: Sequence[int],
) -> Tensor:
    """Move a mask towards what the clicks say that it was made from.

    Args:
        logits: (1, 1, h, w) low-res logits.
        picture: (3, S, S), the model's input that was looked at.
        points: Clicks (x, y) in pixels of the input; those outside it say nothing.
        labels: 1 on the object, 0 on the background; others are no clicks.

    Returns:
        (1, 1, h, w).
    """
    seen = logits[0, 0].float().cpu().numpy()
    said = clicked_cells(points, labels, num_cells=len(seen))
    costs = _costs(picture, len(seen))
    far = {label: _distances(costs, cells) for label, cells in said.items()}
    change = np.zeros_like(seen)
    for label, opposite, sign in ((OBJECT, BACKGROUND, 1), (BACKGROUND, OBJECT, -1)):
        is_nearer = far[label] < far[opposite]
        change += sign * _PUSH * _force(far[label]) * is_nearer
        ignored = [cell for cell in said[label] if sign * seen[cell] <= 0]
        against = (-sign * seen).clip(0, LOGIT_LIMIT)
        for_itself = _force_of_ignored(costs, ignored, seen=seen > 0)
        change += sign * (_SURENESS + against) * for_itself * is_nearer
    return logits + torch.from_numpy(change).to(logits)


def _force(far: NDArray[np.float64], reach: float = _REACH) -> NDArray[np.float64]:
    return np.exp(-far / (reach * (1 + _EDGES)))


def _force_of_ignored(
    costs: NDArray[np.float64], cells: Sequence[Cell], *, seen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The greatest force of clicks that a mask (h, w) contradicts."""
    force = np.zeros_like(costs)
    if not cells:
        return force
    inside = distances_inside(seen)
    outside = ndimage.distance_transform_edt(~seen) if seen.any() else np.full(seen.shape, np.inf)
    for cell in cells:
        depth = inside[cell] if seen[cell] else outside[cell]
        reach = float(np.clip(_BEYOND * depth, _LEAST_REACH, _REACH))
        force = np.maximum(force, _force(_distances(costs, [cell]), reach))
    return force


def clicked_cells(
    points: Sequence[tuple[float, float]], labels: Sequence[int], *, num_cells: int
) -> dict[int, list[Cell]]:
    """The cells (row, column) that are clicked, by label."""
    cells: dict[int, list[Cell]] = {OBJECT: [], BACKGROUND: []}
    for (x, y), label in zip(points, labels, strict=True):
        row, column = int(y // MASK_STRIDE), int(x // MASK_STRIDE)
        if label in cells and 0 <= row < num_cells and 0 <= column < num_cells:
            cells[label].append((row, column))
    return cells


def _costs(picture: Tensor, num_cells: int) -> NDArray[np.float64]:
    """(h, w) what a step costs: more where the colour changes."""
    size = (num_cells, num_cells)
    small = functional.interpolate(picture[None].float().cpu(), size=size, mode="area")[0]
    across = torch.diff(small, dim=2, append=small[:, :, -1:]).abs().amax(0)
    down = torch.diff(small, dim=1, append=small[:, -1:]).abs().amax(0)
    edges = torch.hypot(across, down).double().numpy()
    return np.asarray(1 + _EDGES * edges / max(edges.mean(), 1e-6))


def _distances(costs: NDArray[np.float64], cells: Sequence[Cell]) -> NDArray[np.float64]:
    """(h, w) geodesic distance from the nearest cell; infinite from none."""
    if not cells:
        return np.full(costs.shape, np.inf)
    return np.asarray(MCP_Geometric(costs).find_costs(cells)[0])
