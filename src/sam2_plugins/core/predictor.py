"""ImagePredictor: masks of one image from points, boxes and masks."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sam2_plugins.core.frames import open_frames
from sam2_plugins.core.masks import resize_logits
from sam2_plugins.core.model.mask_decoder import Decoding
from sam2_plugins.core.model.sam2 import SAM2, ImageFeatures
from sam2_plugins.core.pixels import PixelPolicy
from sam2_plugins.core.prompts import make_box, make_points
from sam2_plugins.core.transforms import image_to_tensor, points_to_model

_LOGIT_LIMIT = 32.0
_BOX_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class ImagePrediction:
    """Candidate masks of one object, best first.

    Attributes:
        masks: (M, H, W) bool.
        predicted_iou: (M,) float32 in [0, 1].
        low_res_logits: (M, h, w) float32, a quarter of the model's input; hand one back as
            `mask_logits` to refine it.
        object_score_logit: > 0 means the model sees an object.
    """

    masks: NDArray[np.bool_]
    predicted_iou: NDArray[np.float32]
    low_res_logits: NDArray[np.float32]
    object_score_logit: float

    @property
    def best(self) -> NDArray[np.bool_]:
        """(H, W) bool: the mask with the highest predicted IoU."""
        mask: NDArray[np.bool_] = self.masks[int(self.predicted_iou.argmax())]
        return mask


class ImagePredictor:
    """Segments objects of one image, encoded once.

    Args:
        model: From `load_model`.
    """

    def __init__(self, model: SAM2) -> None:
        self.model = model.eval()
        self._features: ImageFeatures | None = None
        self._conditioned: Tensor | None = None
        self._size = (0, 0)

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the image, as it was given."""
        self._need_image()
        return self._size

    @torch.inference_mode()
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
        array = np.asarray(image)
        if array.ndim not in (2, 3) or 0 in array.shape:
            raise ValueError(f"an image is (H, W) or (H, W, C), not of shape {array.shape}")
        if rgb is None:
            rgb = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
        axes = "tyx" if array.ndim == 2 else "tyxs" if rgb else "tyxc"
        frames = open_frames(array[None], axes=axes, rgb=rgb)
        policy = PixelPolicy.fit(frames, limits=limits)
        self.set_rgb(policy.to_rgb(frames.read(0)))

    @torch.inference_mode()
    def set_rgb(self, image: NDArray[Any]) -> None:
        """Encode an image that is RGB already: (H, W, 3) uint8, or float in [0, 1]."""
        tensor = image_to_tensor(image, self.model.image_size)[None].to(self.model.device)
        self._features = self.model.encode_image(tensor)
        self._conditioned = self.model.without_memory(self._features)
        self._size = (image.shape[0], image.shape[1])

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
            mask_logits: (h, w) or (1, h, w) logits of an earlier prediction, to refine.
            multimask: Three candidates, for prompts that may mean several things; else one.

        Returns:
            M = 3 or 1 candidates, best first.

        Raises:
            RuntimeError: There is no image yet.
            ValueError: There is no prompt, or one is malformed or outside the image.
        """
        self._need_image()
        if points is None and box is None and mask_logits is None:
            raise ValueError("predict needs a prompt: points, box or mask_logits")
        xy: list[tuple[float, float]] = []
        labels: list[int] = []
        if box is not None:
            xy += make_box(box, size=self._size).corners
            labels += [2, 3]
        if points is not None:
            clicks = make_points(
                points, [] if point_labels is None else point_labels, size=self._size
            )
            xy += clicks.xy
            labels += clicks.labels
        coordinates = np.array(xy, dtype=np.float32).reshape(1, -1, 2)
        mask = None
        if mask_logits is not None:
            mask = self._check_logits(mask_logits)
        decoding = self.decode(
            coordinates, np.array([labels], dtype=np.int64), mask_logits=mask, multimask=multimask
        )
        return self._prediction(decoding, 0)

    def predict_boxes(self, boxes: ArrayLike, *, multimask: bool = False) -> list[ImagePrediction]:
        """Segment many objects, one for each box, in batches.

        Args:
            boxes: (B, 4), (x0, y0, x1, y1).
            multimask: As in `predict`; a box is seldom ambiguous.

        Raises:
            RuntimeError: There is no image yet.
            ValueError: A box is empty or outside the image.
        """
        self._need_image()
        array = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        corners = np.array(
            [make_box(box, size=self._size).corners for box in array], dtype=np.float32
        )
        predictions = []
        for first in range(0, len(corners), _BOX_BATCH):
            part = corners[first : first + _BOX_BATCH]
            labels = np.tile(np.array([2, 3], dtype=np.int64), (len(part), 1))
            decoding = self.decode(part, labels, multimask=multimask)
            predictions += [self._prediction(decoding, row) for row in range(len(part))]
        return predictions

    @torch.inference_mode()
    def decode(
        self,
        points: NDArray[np.float32],
        point_labels: NDArray[np.int64],
        *,
        mask_logits: Tensor | None = None,
        multimask: bool = True,
    ) -> Decoding:
        """Decode a batch of objects of the image, unchecked.

        Args:
            points: (B, N, 2) pixels of the image.
            point_labels: (B, N), box corners as 2 and 3.
            mask_logits: (B, 1, h, w).
            multimask: As in `predict`.

        Returns:
            Low-res masks, scores and presence, on the model's device.
        """
        features, conditioned = self._need_image()
        device = self.model.device
        scaled = points_to_model(points, self._size, self.model.image_size)
        has_points = points.shape[1] > 0
        decoding = self.model.decode(
            features,
            conditioned.expand(len(points), -1, -1, -1),
            points=scaled.to(device) if has_points else None,
            point_labels=torch.from_numpy(point_labels).to(device) if has_points else None,
            mask_logits=mask_logits,
            multimask=multimask,
            stable=True,
        )
        return decoding._replace(low_res_logits=decoding.low_res_logits.float())

    def _prediction(self, decoding: Decoding, row: int) -> ImagePrediction:
        """One object's candidates, best first, at the image's size."""
        iou = decoding.predicted_iou[row].float()
        order = iou.argsort(descending=True)
        logits = decoding.low_res_logits[row][order]
        masks = resize_logits(logits, self._size) > 0
        return ImagePrediction(
            masks=masks.cpu().numpy(),
            predicted_iou=iou[order].cpu().numpy(),
            low_res_logits=logits.clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT).cpu().numpy(),
            object_score_logit=float(decoding.object_score_logits[row, 0]),
        )

    def _check_logits(self, mask_logits: ArrayLike) -> Tensor:
        array = np.asarray(mask_logits, dtype=np.float32)
        side = self.model.image_size // 4
        if array.shape not in ((side, side), (1, side, side)):
            raise ValueError(
                f"mask_logits must be ({side}, {side}), as in low_res_logits of an earlier "
                f"prediction, not {array.shape}"
            )
        return torch.from_numpy(array.reshape(1, 1, side, side).copy()).to(self.model.device)

    def _need_image(self) -> tuple[ImageFeatures, Tensor]:
        if self._features is None or self._conditioned is None:
            raise RuntimeError("there is no image yet: call set_image first")
        return self._features, self._conditioned
