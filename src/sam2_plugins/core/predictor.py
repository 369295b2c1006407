"""ImagePredictor: masks of one image from points, boxes and masks."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sam2_plugins.core.closeups import whole, window_for
from sam2_plugins.core.image_answers import Answer, answer_from_near, best_of, drawn_anew, heeding
from sam2_plugins.core.image_views import ImageViews, KnownWindows, Look, Said
from sam2_plugins.core.masks import resize_logits
from sam2_plugins.core.mirrors import MIRRORS
from sam2_plugins.core.model.mask_decoder import Decoding
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.model.values import LOGIT_LIMIT
from sam2_plugins.core.prompts import make_box, make_points
from sam2_plugins.core.rgb_frames import image_to_rgb
from sam2_plugins.core.windows import Window

_BOX_BATCH = 64
"""Rows that are decoded at once: boxes, times the mirrors that each is seen in."""


@dataclass(frozen=True, slots=True, eq=False)
class ImagePrediction:
    """Candidate masks of one object, best first.

    Attributes:
        masks: (M, H, W) bool.
        predicted_iou: (M,) float32 in [0, 1].
        low_res_logits: (M, h, w) float32, a quarter of the model's input, of the part of the image
            that was looked at; hand one back as `mask_logits` to refine it.
        object_score_logit: > 0 means the model sees an object.
    """

    masks: NDArray[np.bool_]
    predicted_iou: NDArray[np.float32]
    low_res_logits: NDArray[np.float32]
    object_score_logit: float

    @property
    def best(self) -> NDArray[np.bool_]:
        """(H, W) bool: the first mask."""
        mask: NDArray[np.bool_] = self.masks[0]
        return mask


class ImagePredictor:
    """Segments objects of one image, encoded once.

    Args:
        model: From `load_model`.
        closeups: Look at small objects through windows around them, encoded when needed, and at
            mirror images; see `core.closeups`. By default for models trained so (`nano`).
    """

    def __init__(self, model: SAM2, *, closeups: bool | None = None) -> None:
        self.model = model.eval()
        self.closeups = model.config.closeup_size is not None if closeups is None else closeups
        self._image: ImageViews | None = None
        self._windows = KnownWindows((0, 0))

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the image, as it was given."""
        return self._views.size

    @property
    def _views(self) -> ImageViews:
        if self._image is None:
            raise RuntimeError("there is no image yet: call set_image first")
        return self._image

    def set_image(
        self,
        image: ArrayLike,
        *,
        rgb: bool | None = None,
        limits: tuple[float, float] | None = None,
    ) -> None:
        """Encode an image.

        Args:
            image: (H, W), (H, W, 3) or (H, W, C) of any real dtype. (H, W, 3) uint8 is taken as
                RGB and used as it is; anything else is scaled by the pixel policy.
            rgb: Whether three channels last are RGB; by default only those of uint8.
            limits: (low, high) values that become black and white; by default percentiles.

        Raises:
            ValueError: It is not an image.
        """
        self.set_rgb(image_to_rgb(image, rgb=rgb, limits=limits))

    def set_rgb(self, image: NDArray[Any]) -> None:
        """Encode an image that is RGB already: (H, W, 3) uint8, or float in [0, 1]."""
        self._image = ImageViews(self.model, image, keeps_image=self.closeups)
        if self._windows.size != self._image.size:
            self._windows = KnownWindows(self._image.size)

    def predict(
        self,
        *,
        points: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_logits: ArrayLike | None = None,
        multimask: bool = True,
    ) -> ImagePrediction:
        """Segment one object.

        Args:
            points: (N, 2), (x, y) in pixels of the image.
            point_labels: (N,), 1 object, 0 background.
            box: (x0, y0, x1, y1).
            mask_logits: (h, w) or (1, h, w) logits of an earlier prediction, to refine: of this
                predictor, on this image or one of the same size; or logits of the whole image.
            multimask: Three candidates, for prompts that may mean several things; else one.

        Returns:
            M = 3 or 1 candidates, best first.

        Raises:
            RuntimeError: There is no image yet.
            ValueError: There is no prompt, or one is malformed or outside the image.
        """
        if points is None and box is None and mask_logits is None:
            raise ValueError("predict needs a prompt: points, box or mask_logits")
        xy: list[tuple[float, float]] = []
        labels: list[int] = []
        if box is not None:
            xy += make_box(box, size=self.image_size).corners
            labels += [2, 3]
        if points is not None:
            clicks = make_points(
                points, [] if point_labels is None else point_labels, size=self.image_size
            )
            xy += clicks.xy
            labels += clicks.labels
        mask, known = None, None
        if mask_logits is not None:
            mask = self._check_logits(mask_logits)
            known = self._window_of(mask[0, 0])
        before = known or whole(self.image_size)
        said = Said(xy, labels, mask, before, multimask, is_predicted=known is not None)
        if self.closeups:
            answered = answer_from_near(self._views, said)
            return self._prediction(drawn_anew(self._views, said, answered))
        return self._prediction(best_of(self._views.look(before, said)))

    def predict_boxes(self, boxes: ArrayLike, *, multimask: bool = False) -> list[ImagePrediction]:
        """Segment many objects, one for each box, in batches.

        Args:
            boxes: (B, 4), (x0, y0, x1, y1).
            multimask: As in `predict`; a box is seldom ambiguous.

        Raises:
            RuntimeError: There is no image yet.
            ValueError: A box is empty or outside the image.
        """
        array = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        corners = np.array(
            [make_box(box, size=self.image_size).corners for box in array], dtype=np.float32
        )
        groups: dict[Window, list[int]] = {}
        for row, ((x0, y0), (x1, y1)) in enumerate(corners.tolist()):
            plane = self.image_size
            window = window_for((x0, y0, x1, y1), plane) if self.closeups else whole(plane)
            groups.setdefault(window, []).append(row)
        predictions: dict[int, ImagePrediction] = {}
        step = _BOX_BATCH // (1 + len(MIRRORS)) if self.closeups else _BOX_BATCH
        for window, rows in groups.items():
            for first in range(0, len(rows), step):
                part = rows[first : first + step]
                labels = np.tile(np.array([2, 3], dtype=np.int64), (len(part), 1))
                decoding = self.decode(
                    *(corners[part], labels),
                    multimask=multimask, window=window, mirrored=self.closeups,
                )  # fmt: skip
                for index, row in enumerate(part):
                    answered = best_of(Look(decoding.row(index), window))
                    if self.closeups:
                        said = Said(corners[row].tolist(), [2, 3], None, window, multimask)
                        answered = heeding(self._views, said, answered)
                        answered = drawn_anew(self._views, said, answered)
                    predictions[row] = self._prediction(answered)
        return [predictions[row] for row in range(len(corners))]

    def decode(
        self,
        points: NDArray[np.float32],
        point_labels: NDArray[np.int64],
        *,
        mask_logits: Tensor | None = None,
        multimask: bool = True,
        window: Window | None = None,
        mirrored: bool = False,
    ) -> Decoding:
        """Decode a batch of objects of the image, unchecked.

        Args:
            points: (B, N, 2) pixels of the image.
            point_labels: (B, N), box corners as 2 and 3.
            mask_logits: (B, 1, h, w), of what is looked at.
            multimask: As in `predict`.
            window: What to look at; the whole image if not given.
            mirrored: Look at its mirror images too; only with `closeups`.

        Returns:
            Low-res masks, scores and presence, on the model's device.
        """
        return self._views.decode(
            *(points, point_labels),
            mask_logits=mask_logits,
            multimask=multimask,
            window=window or whole(self.image_size),
            mirrored=mirrored,
        )

    def _prediction(self, answered: Answer) -> ImagePrediction:
        """One object's candidates at the image's size: first the best, then by predicted IoU."""
        look, first, mask = answered
        iou = look.decoding.predicted_iou[0].float()
        logits = look.decoding.low_res_logits[0]
        seen = (resize_logits(logits, look.window.size) > 0).cpu().numpy()
        order = [first, *(i for i in iou.argsort(descending=True).tolist() if i != first)]
        logits, seen = logits[order], seen[order]
        if mask is not None:
            seen[0] = mask
        masks = seen
        if look.window != whole(self.image_size):
            masks = np.zeros((len(seen), *self.image_size), dtype=np.bool_)
            rows, columns = look.window.slices
            masks[:, rows, columns] = seen
        logits = logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        if self.closeups:
            self._windows.remember(logits, look.window)
        return ImagePrediction(
            masks=masks,
            predicted_iou=iou[order].cpu().numpy(),
            low_res_logits=logits.cpu().numpy(),
            object_score_logit=float(look.decoding.object_score_logits[0, 0]),
        )

    def _check_logits(self, mask_logits: ArrayLike) -> Tensor:
        array = np.asarray(mask_logits, dtype=np.float32)
        sides = {self.model.image_size // 4}
        if self.closeups:
            sides.add(self._views.closeup_size // 4)
        if array.shape[-2:] not in {(n, n) for n in sides} or array.size != array.shape[-1] ** 2:
            raise ValueError(
                f"mask_logits must be as low_res_logits of an earlier prediction: square, of side "
                f"{' or '.join(map(str, sorted(sides)))}, not of shape {array.shape}"
            )
        return torch.tensor(array.reshape(1, 1, *array.shape[-2:]), device=self.model.device)

    def _window_of(self, logits: Tensor) -> Window | None:
        """The window through which logits (h, w) were predicted; None if they were not, here."""
        side, of_whole = logits.shape[-1], self.model.image_size // 4
        found = self._windows.find(logits)
        if found is None and side != of_whole:
            raise ValueError(
                f"mask_logits of side {side} show a part of an image, and which is not known: they "
                f"must be low_res_logits that this predictor has predicted on an image of this "
                f"size, unchanged, or show the whole image, with side {of_whole}"
            )
        return found
