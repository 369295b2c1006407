"""What an object looks like, learnt where a person has said what it is.

Optical flow takes a mask along with whatever is under it: once it has spread to what is around the
object, it stays there, and what it has lost is lost. What a prompted frame shows says where it does
not belong. So, as in FRTM (Robinson et al., CVPR 2020), a linear model is learnt on that frame,
which tells the object's cells from those around it, and is asked on every tracked one; here by
ridge regression in closed form, of what the encoder sees and of colours. The less the object looks
as it did some frames ago (see `looking_back`), the less flow is to be trusted, and the more this is
heeded.

The numbers were chosen with nano on 16 clips made of held-out images, of things that move over
others, on which J&F where the object is seen goes from 0.531 to 0.589, and on 8 of nuclei that move
(0.757 and 0.760): their neighbours look alike, and heeding it more (shares of 0.8) loses them. Not
looked at for that were 18 clips of shapes, cells and volumes (0.511 and 0.532). On grey stacks,
where objects change from slice to slice and end beside their like, it does harm, and is not asked.
"""

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sam2_plugins.core.model.sam2 import ImageFeatures
from sam2_plugins.core.motion import TRUST
from sam2_plugins.core.transforms import tensor_to_lab

_STIFFNESS = 0.3
"""Of the regression: weight of the penalty for each cell, on features of unit deviation."""
_MOST_WEIGHT = 20.0
"""Object and surroundings count alike; yet no cell of a small object more than so many."""
_GAIN = 2.0
"""What the regression, which shrinks, is multiplied by."""
_NUM_WAVES = 200
"""Random Fourier features (Rahimi and Recht, NIPS 2007) of colours, and of those around a cell."""
_AROUND = 2.5
"""Cells, as the deviation of a Gaussian, that are around a cell."""
_REACH = 3
"""Cells by which a mask may grow at once towards what looks like the object."""
_LEAST_FIT, _BEST_FIT = 0.3, 1.0
"""IoU of the mask and of what the model makes of the frame it was learnt on: from which on it is
heeded, and at which it is wholly."""
_SHARE = 0.5
"""Of what the model says, where it is sure and the object looks otherwise than before."""
_RELIEF = 0.5
"""By how much less it counts where the object looks quite as it did."""
_LEAST_SHARE = 0.02
"""A smaller share changes nothing."""
_LEAST_CELLS = 4
"""Of the object, and of what is around it, to learn from."""


class Appearance(NamedTuple):
    """A linear model of what is the object.

    Attributes:
        weights: (C,) of each map that describes a frame.
        bias: What is added.
        trust: In (0, 1], from how well it tells the object where it was learnt.
    """

    weights: tuple[Tensor, ...]
    bias: float
    trust: float

    def scores(self, picture: Tensor, features: ImageFeatures) -> Tensor:
        """How far each cell looks like the object.

        Args:
            picture: (3, S, S), the model's input.
            features: Of it, B = 1.

        Returns:
            (S / 4, S / 4), from -1, like what is around the object, to 1.
        """
        num_cells = picture.shape[-1] // 4
        total = torch.full((num_cells, num_cells), self.bias, device=features.stride_4.device)
        for seen, weights in zip(_describe(picture, features), self.weights, strict=True):
            # Weighed before it is enlarged: one map of sums instead of hundreds.
            said = torch.einsum("bchw,c->bhw", seen, weights)[:, None]
            total += _enlarge(said, num_cells)[0, 0]
        return (_GAIN * total).clamp(-1, 1)


def learn_appearance(picture: Tensor, features: ImageFeatures, logits: Tensor) -> Appearance | None:
    """Learn what an object looks like from a mask of it.

    Args:
        picture: (3, S, S), the model's input.
        features: Of it, B = 1.
        logits: (1, 1, S / 4, S / 4), low-res logits of the mask.

    Returns:
        None where too little is seen to learn from, or where looks do not tell the object.
    """
    num_cells = picture.shape[-1] // 4
    # A mask that was seen through another window, or by an earlier version, has other cells.
    is_object = _enlarge(logits.float(), num_cells)[0, 0].to(features.stride_4.device) > 0
    num_on = int(is_object.sum())
    if min(num_on, is_object.numel() - num_on) < _LEAST_CELLS:
        return None
    maps = _describe(picture, features)
    cells = torch.cat([_enlarge(seen, num_cells)[0].flatten(1).T for seen in maps], 1)
    weights, bias = _regress(cells, is_object.flatten())
    parts = weights.split([seen.shape[1] for seen in maps])
    learnt = Appearance(parts, bias, trust=1.0)
    is_like = (learnt.scores(picture, features) > 0) & _near(is_object, 2 * _REACH)
    fit = float((is_like & is_object).sum() / (is_like | is_object).sum())
    trust = (fit - _LEAST_FIT) / (_BEST_FIT - _LEAST_FIT)
    return learnt._replace(trust=trust) if trust > 0 else None


def _regress(cells: Tensor, is_object: Tensor) -> tuple[Tensor, float]:
    """Weights (D,) and bias by ridge regression of 1 on the object and -1 around it.

    Args:
        cells: (N, D).
        is_object: (N,), of some cells, but not of all.
    """
    num_cells, num_on = len(cells), int(is_object.sum())
    spread, middle = torch.std_mean(cells, 0, correction=0)
    spread = spread + 1e-3
    inputs = functional.pad((cells - middle) / spread, (0, 1), value=1.0)
    counts = torch.where(is_object, num_cells / num_on, num_cells / (num_cells - num_on)) / 2
    weighted = (inputs * counts.clamp(max=_MOST_WEIGHT)[:, None]).T
    targets = torch.where(is_object, 1.0, -1.0)
    penalty = _STIFFNESS * num_cells * torch.eye(inputs.shape[1])
    solved = torch.linalg.solve((weighted @ inputs).cpu() + penalty, (weighted @ targets).cpu())
    weights = solved[:-1].to(spread) / spread
    return weights, float(solved[-1]) - float(weights @ middle)


def heed_appearance(carried: Tensor, scores: Tensor, *, trust: float, likeness: float) -> Tensor:
    """A carried mask, moved towards what looks like the object.

    Args:
        carried: (1, 1, h, w) logits of the mask.
        scores: (h, w), from `Appearance.scores`.
        trust: Of the model.
        likeness: How far the object looks as it did, see `LookedBack`.

    Returns:
        (1, 1, h, w); away from the mask nothing is added, however much it looks like the object.
    """
    within_reach = _near(carried[0, 0] > 0, _REACH)
    scores = torch.where(within_reach, scores, scores.clamp(max=0))
    share = _SHARE * trust * (1 - _RELIEF * likeness) * scores.square()
    limited = carried.clamp(-TRUST, TRUST)
    moved = limited + share * (TRUST * scores - limited)
    is_told = (share > _LEAST_SHARE) & (within_reach | (moved < limited))
    return torch.where(is_told, moved, carried)


def _describe(picture: Tensor, features: ImageFeatures) -> list[Tensor]:
    """Maps (1, C, h, w) of what the encoder sees, and of colours; h is S / 4 or less."""
    num_cells = picture.shape[-1] // 4
    colours = tensor_to_lab(picture, side=num_cells)
    around = cv2.GaussianBlur(colours, (0, 0), _AROUND)
    maps = [level.float() for level in (features.stride_4, features.stride_8, features.stride_16)]
    for seen, (directions, phases) in zip((colours, around), _waves(), strict=True):
        waves = (torch.from_numpy(seen) @ directions + phases).cos()
        maps.append(waves.permute(2, 0, 1)[None].to(features.stride_4.device))
    return maps


def _enlarge(maps: Tensor, num_cells: int) -> Tensor:
    """(1, C, h, w) to (1, C, num_cells, num_cells)."""
    if maps.shape[-1] == num_cells:
        return maps
    return functional.interpolate(maps, size=(num_cells, num_cells), mode="bilinear")


@cache
def _waves() -> list[tuple[Tensor, Tensor]]:
    """Directions (3, n) and phases (n,) of two sets of Fourier features, always the same."""
    drawn = np.random.default_rng(0)
    return [
        (
            torch.from_numpy(drawn.normal(size=(3, _NUM_WAVES)).astype(np.float32)),
            torch.from_numpy(drawn.uniform(0, 2 * np.pi, _NUM_WAVES).astype(np.float32)),
        )
        for _ in range(2)
    ]


def _near(mask: Tensor, reach: int) -> Tensor:
    """Cells (h, w) that are on a mask or at most so many cells from it."""
    offsets = np.arange(-reach, reach + 1)
    disc = (np.hypot(offsets[:, None], offsets) <= reach).astype(np.uint8)
    grown = np.asarray(cv2.dilate(mask.cpu().numpy().astype(np.uint8), disc))
    return torch.from_numpy(grown > 0).to(mask.device)
