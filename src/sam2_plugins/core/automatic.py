"""Everything in an image, without prompts; and everything in a stack or video, as masklets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sam2_plugins.core.choice_network import judge
from sam2_plugins.core.crops import Window, crop_windows, is_cut, suppress, tile_windows
from sam2_plugins.core.mask_search import Candidate, Crop, GeneratedMask, MaskSearch
from sam2_plugins.core.masks import (
    FrameMasks,
    fill_mask_holes,
    remove_small_components,
    resize_logits,
    stability_score,
)
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.outlines import drawn_anew
from sam2_plugins.core.placed_masks import PlacedMask
from sam2_plugins.core.portraits import draw_portrait, read_part
from sam2_plugins.core.predictor import ImagePredictor
from sam2_plugins.core.rgb_frames import image_to_rgb
from sam2_plugins.core.stored_masks import box_of
from sam2_plugins.core.tracker import VideoTracker
from sam2_plugins.core.windows import Window as Part

_LEAST_HEARD = 0.3
"""Masks of which the network itself predicts less are not looked at again."""


@dataclass(frozen=True, slots=True)
class GeneratorOptions:
    """How masks are looked for and which are kept.

    Attributes:
        points_per_side: The grid of clicks over the image has this many a side.
        points_per_batch: Clicks decoded at once.
        min_predicted_iou: Masks below are dropped; `MaskGenerator` takes what suits the model if
            none is given.
        min_stability: Likewise.
        stability_offset: How far the threshold moves for the stability.
        max_box_iou: Of two masks whose boxes overlap more, the better one stays.
        crop_layers: Layer k looks again at crops of 1 / 2^k of the sides: for small objects.
        crop_overlap: Overlap of neighbouring crops, as a share of the image's sides.
        tile_side: Larger images are looked at in squares of this side as well, and of twice that,
            and so on: for small objects in large planes. The model's input size shows them as they
            are. 0 for never.
        tile_overlap: Of neighbouring squares, as a share of their side.
        min_area: Smaller regions and holes are removed, and masks smaller than that.
        max_area_share: Masks that cover more of the image are taken for background.
        max_known_share: A mask of which better ones cover more is dropped, so that everything is
            found once; 1 keeps wholes and their parts. `MaskGenerator` takes what suits the model
            if none is given.
        is_judged: Whether masks are looked at again by the network that chooses among the masks of
            a click, see `core.choosing`: what it thinks of their IoU then counts in place of what
            the model predicts. Likewise what suits the model.
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    min_predicted_iou: float = 0.8
    min_stability: float = 0.95
    stability_offset: float = 1.0
    max_box_iou: float = 0.7
    crop_layers: int = 0
    crop_overlap: float = 1 / 3
    tile_side: int = 0
    tile_overlap: float = 1 / 4
    min_area: int = 0
    max_area_share: float = 1.0
    max_known_share: float = 1.0
    is_judged: bool = False

    def __post_init__(self) -> None:
        for name in ("points_per_side", "points_per_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")


class MaskGenerator:
    """Finds masks of everything in an image.

    Args:
        model: From `load_model`.
        options: Of `GeneratorOptions`, by name; None for the usual.
    """

    def __init__(self, model: SAM2, **options: Any) -> None:
        config = model.config
        usual = {
            "min_predicted_iou": config.min_predicted_iou,
            "min_stability": config.min_stability,
            "max_known_share": config.max_known_share,
            "is_judged": config.closeup_size is not None,
        }
        given = {name: value for name, value in options.items() if value is not None}
        self.options = GeneratorOptions(**{**usual, **given})
        self._predictor = ImagePredictor(model)

    def generate(self, image: ArrayLike, *, rgb: bool | None = None) -> list[GeneratedMask]:
        """Find masks.

        Args:
            image: As in `ImagePredictor.set_image`.
            rgb: As there.

        Returns:
            Masks, the best first: by predicted IoU, and with `nano` by stability as well.
        """
        return self.generate_rgb(image_to_rgb(image, rgb=rgb))

    def generate_rgb(self, image: NDArray[Any]) -> list[GeneratedMask]:
        """Find masks in an image that is RGB already: (H, W, 3) uint8, or float in [0, 1]."""
        search = self.search(image)
        for _ in search:
            pass
        return list(search.masks())

    def search(self, image: NDArray[Any]) -> "MaskSearch":
        """Find masks in an image that is RGB already, crop by crop."""
        options = self.options
        return MaskSearch(
            *(self, image),
            max_box_iou=options.max_box_iou,
            is_tiled=options.tile_side > 0,
            max_known_share=options.max_known_share,
        )

    def crops(self, size: tuple[int, ...]) -> "list[Crop]":
        """What is looked at of an image (H, W), the whole first."""
        options = self.options
        found = []
        for layer in range(options.crop_layers + 1):
            num_points = max(1, options.points_per_side // 2**layer)
            windows = crop_windows(size, layer, options.crop_overlap)
            found += [Crop(window, num_points, layer) for window in windows]
        sides: list[int] = []
        while options.tile_side and options.tile_side * 2 ** len(sides) < max(size[:2]):
            sides.append(options.tile_side * 2 ** len(sides))
        for number, side in enumerate(reversed(sides)):
            layer = options.crop_layers + 1 + number
            windows = tile_windows(size, side, options.tile_overlap)
            found += [Crop(window, options.points_per_side, layer) for window in windows]
        return found

    def look_at(self, image: NDArray[Any], crop: "Crop") -> list[Candidate]:
        """The masks of one crop, in coordinates of the image."""
        (x0, y0, x1, y1), side = crop.window, crop.points_per_side
        self._predictor.set_rgb(np.ascontiguousarray(image[y0:y1, x0:x1]))
        ticks = (np.arange(side, dtype=np.float32) + 0.5) / side
        grid = np.array(list(product(ticks, ticks)), dtype=np.float32)[:, ::-1]
        points = grid * np.array([x1 - x0, y1 - y0], dtype=np.float32)
        found: list[Candidate] = []
        for first in range(0, len(points), self.options.points_per_batch):
            part = points[first : first + self.options.points_per_batch]
            found += self._masks_at(part, crop.window, image.shape[:2])
        if not self.options.is_judged:
            return suppress(_best_first(found), self.options.max_box_iou)
        least = self.options.min_predicted_iou
        found = [each for each in self._judged(found, image) if each.predicted_iou >= least]
        found = suppress(_best_first(found), self.options.max_box_iou)
        return suppress(_best_first(self._drawn_anew(found, image)), self.options.max_box_iou)

    def _drawn_anew(self, found: list[Candidate], image: NDArray[Any]) -> list[Candidate]:
        """Masks with the better of two outlines: their own, and one that is drawn anew."""
        pairs = zip(found, drawn_anew(found, image, clean=self._clean), strict=True)
        anew = [new if self._is_kept(new.area, image.shape) else old for old, new in pairs]
        judged = self._judged(anew, image)
        return [max(pair, key=lambda one: one.worth) for pair in zip(found, judged, strict=True)]

    def _is_kept(self, area: int, size: tuple[int, ...]) -> bool:
        """Whether a mask is neither too small for an image (H, W) nor as good as all of it."""
        largest = self.options.max_area_share * size[0] * size[1]
        return max(self.options.min_area, 1) <= area <= largest

    def _judged(self, found: list[Candidate], image: NDArray[Any]) -> list[Candidate]:
        """Masks with the IoU that they are likely to have, by how they look on the image."""
        judged = judge(draw_found(found, image))
        return [
            replace(each, predicted_iou=iou, worth=iou * each.stability)
            for each, iou in zip(found, judged.tolist(), strict=True)
        ]

    @torch.inference_mode()
    def _masks_at(
        self, points: NDArray[np.float32], window: Window, size: tuple[int, ...]
    ) -> list[Candidate]:
        """The masks worth keeping of a batch of clicks (B, 2) in a crop."""
        options = self.options
        labels = np.ones((len(points), 1), dtype=np.int64)
        decoding = self._predictor.decode(points[:, None], labels)
        logits, iou = decoding.low_res_logits, decoding.predicted_iou.float()
        stability = stability_score(logits.flatten(0, 1), offset=options.stability_offset)
        stability = torch.as_tensor(stability).reshape(iou.shape).to(iou.device)
        least = _LEAST_HEARD if self.options.is_judged else options.min_predicted_iou
        good = (iou >= least) & (stability >= options.min_stability)
        found = []
        for row, candidate in good.nonzero().tolist():
            low_res = logits[row, candidate]
            if is_cut(low_res > 0, window, size):
                continue
            mask = self._unfold(low_res, window)
            area = int(mask.sum())
            if not self._is_kept(area, size):
                continue
            x, y = (float(v) for v in points[row])
            placed = PlacedMask.place(mask, Part(*window), Part(*box_of(mask)), (size[0], size[1]))
            found.append(
                Candidate(
                    mask=placed,
                    area=area,
                    box=(*placed.window,),
                    predicted_iou=float(iou[row, candidate]),
                    stability=float(stability[row, candidate]),
                    point=(window[0] + x, window[1] + y),
                    worth=float(iou[row, candidate]),
                )
            )
        return found

    def _unfold(self, low_res: torch.Tensor, window: Window) -> NDArray[np.bool_]:
        """A crop's mask (h, w) at its size, cleaned."""
        x0, y0, x1, y1 = window
        mask = (resize_logits(low_res[None], (y1 - y0, x1 - x0))[0] > 0).cpu().numpy()
        return self._clean(mask)

    def _clean(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask (h, w) without small regions and holes."""
        if self.options.min_area:
            mask = fill_mask_holes(mask[None], self.options.min_area)[0]
            mask = remove_small_components(mask[None], self.options.min_area)[0]
        return mask


def _best_first(found: Sequence[Candidate]) -> list[Candidate]:
    return sorted(found, key=lambda mask: -mask.worth)


def draw_found(found: Sequence[Candidate], image: NDArray[Any]) -> NDArray[np.uint8]:
    """The portraits (M, CHANNELS, SIDE, SIDE) of what was found in an image, see `portraits`."""
    portraits = [
        draw_portrait(
            *(each.mask.crop, each.mask.window),
            clicks=[each.point],
            plane=(image.shape[0], image.shape[1]),
            read=partial(read_part, image),
        )
        for each in found
    ]
    return np.array(portraits, np.uint8)


def auto_masklets(
    tracker: VideoTracker,
    generator: MaskGenerator,
    *,
    key_frames: list[int],
    max_known_share: float = 0.5,
) -> Iterator[FrameMasks]:
    """Find everything on some frames of a tracker's video, and follow it through all frames.

    On each key frame, a mask is a new object unless objects that are known already cover more than
    a share of it.

    Args:
        tracker: Gets the objects as mask prompts, numbered on from those it has.
        generator: Finds masks.
        key_frames: Where to look, in this order.
        max_known_share: In [0, 1].

    Yields:
        What `VideoTracker.propagate` yields.
    """
    for frame_index in key_frames:
        known = tracker.masks(frame_index).masks.any(axis=0)
        next_id = max(tracker.object_ids, default=0) + 1
        new_ids = []
        # Small objects first: a whole must not hide its parts.
        masks = generator.generate_rgb(tracker.read_rgb(frame_index))
        for found in sorted(masks, key=lambda mask: mask.area):
            if (found.mask & known).sum() > max_known_share * found.area:
                continue
            tracker.set_mask(frame_index, next_id, found.mask)
            new_ids.append(next_id)
            known = known | found.mask
            next_id += 1
        if new_ids:
            yield from tracker.propagate(object_ids=new_ids)
