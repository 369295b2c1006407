"""One image: IoU of each object after a box or after clicks at the centre of the error."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import tifffile

from sam2_plugins.core.evaluation.clicks import next_click
from sam2_plugins.core.evaluation.left_out import LeftOut, warn_left_out
from sam2_plugins.core.evaluation.metrics import dice, jaccard
from sam2_plugins.core.evaluation.png_truth import check_same_size, pictures
from sam2_plugins.core.evaluation.rows import Outcome, ScoreRow
from sam2_plugins.core.evaluation.sequences import size_bucket
from sam2_plugins.core.evaluation.starts import pick_evenly
from sam2_plugins.core.evaluation.vos import check_choice
from sam2_plugins.core.formats.davis import read_png
from sam2_plugins.core.frames import open_frames
from sam2_plugins.core.frames.images import PICTURE_SUFFIXES, TIFF_SUFFIXES
from sam2_plugins.core.frames.source import hash_sample
from sam2_plugins.core.masks import labels_to_masks, mask_to_box

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sam2_plugins.core.predictor import ImagePrediction

__all__ = ["IMAGE_PROMPTS", "ImageProtocol", "Predictor", "image_pairs", "read_pair", "run_image"]

_LABEL_SUFFIXES = (".png", ".tif", ".tiff")
IMAGE_PROMPTS = ("1-click", "3-click", "5-click", "box")


class Predictor(Protocol):
    """What is evaluated: `ImagePredictor`, or anything that takes the same prompts."""

    def set_image(self, image: Any, *, rgb: bool | None = None) -> None:
        """Takes the image that the next prompts are on."""

    def predict(
        self,
        *,
        points: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_logits: Any = None,
        multimask: bool = True,
    ) -> ImagePrediction:
        """Segments one object; the best candidate is first."""


def image_pairs(folder: str | Path) -> list[tuple[Path, Path]]:
    """Images of a folder with their labels, in natural order of the names.

    Warns of images without labels, and of labels without an image.

    Raises:
        FileNotFoundError: `images` or `labels` is missing.
        ValueError: No image has labels, or one differs from its labels in size.
    """
    images, labels = Path(folder) / "images", Path(folder) / "labels"
    for part in (images, labels):
        if not part.is_dir():
            raise FileNotFoundError(f"no folder {part}; expected images/NAME.* and labels/NAME.png")
    files = pictures(images, (*PICTURE_SUFFIXES, *TIFF_SUFFIXES))
    label_of = {file.stem: file for file in pictures(labels, _LABEL_SUFFIXES)}
    found = [(file, label_of[file.stem]) for file in files if file.stem in label_of]
    if not found:
        raise ValueError(f"no image in {images} has labels of its name in {labels}")
    stems = {file.stem for file in files}
    alone = [LeftOut(file.name, "without labels") for file in files if file.stem not in label_of]
    unused = [
        LeftOut(file.name, "without an image")
        for stem, file in label_of.items()
        if stem not in stems
    ]
    for left_out, kind in ((alone, "images"), (unused, "files of labels")):
        warn_left_out(left_out, root=Path(folder), kind=kind, num_kept=len(found))
    for pair in found:
        check_same_size(*pair)
    return found


@dataclass(frozen=True, slots=True)
class ImageProtocol:
    """How the objects of images are prompted.

    Attributes:
        prompts: Any of `1-click`, `3-click`, `5-click` and `box`.
        max_images: At most so many images, evenly spaced; None for all.
        max_objects: At most so many objects of one image, evenly spaced by id; None for all.

    Raises:
        ValueError: A prompt is unknown, or there is none.
    """

    prompts: Sequence[str] = IMAGE_PROMPTS
    max_images: int | None = None
    max_objects: int | None = None

    def __post_init__(self) -> None:
        if not self.prompts:
            raise ValueError(f"there are no prompts; prompts are {', '.join(IMAGE_PROMPTS)}")
        for prompt in self.prompts:
            check_choice("prompt", prompt, IMAGE_PROMPTS)


def run_image(pair: tuple[Path, Path], *, predictor: Predictor, protocol: ImageProtocol) -> Outcome:
    """Segments each labelled object of an image by itself.

    Args:
        pair: Image file, and PNG or TIFF of the same size, pixel value = object id.
        predictor: Gets the image, then the prompts.
        protocol: Which prompts and objects.

    Returns:
        One row per object and prompt: IoU, Dice, and the object's area in pixels.

    Raises:
        ValueError: Image and labels differ in size, or cannot be read.
    """
    image, _ = pair
    started = time.perf_counter()
    object_ids, masks, pixels, is_rgb = read_pair(pair)
    predictor.set_image(pixels, rgb=is_rgb)
    rows = []
    for index in pick_evenly(range(len(masks)), protocol.max_objects):
        for prompt, mask in _segment(predictor, masks[index], protocol.prompts).items():
            area = int(np.count_nonzero(masks[index]))
            metrics = {
                "iou": jaccard(mask, masks[index]),
                "dice": dice(mask, masks[index]),
                "area": area,
            }
            attributes = {"size": size_bucket(area)}
            rows.append(ScoreRow(image.stem, int(object_ids[index]), prompt, metrics, attributes))
    seconds = {"all prompts": time.perf_counter() - started}
    return Outcome(tuple(rows), seconds, hash_sample("", (pixels, masks))[:16])


def read_pair(
    pair: tuple[Path, Path],
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[Any], bool]:
    """Reads an image and its labels.

    Returns:
        The ids (N,) of the objects, their masks (N, H, W), the image, and whether that is RGB.

    Raises:
        ValueError: Image and labels differ in size, or cannot be read.
    """
    image, path = pair
    labels = read_png(path) if path.suffix.lower() == ".png" else tifffile.imread(path)
    object_ids, masks = labels_to_masks(labels)
    with closing(open_frames([image])) as frames:
        if tuple(frames.frame_size) != masks.shape[1:]:
            raise ValueError(
                f"{image} has size {tuple(frames.frame_size)}, its labels {masks.shape[1:]}"
            )
        return object_ids, masks, frames.read(0), frames.is_rgb


def _segment(
    predictor: Predictor, truth: NDArray[np.bool_], prompts: Sequence[str]
) -> Mapping[str, NDArray[np.bool_]]:
    found: dict[str, NDArray[np.bool_]] = {}
    counts = [int(prompt.partition("-")[0]) for prompt in prompts if prompt != "box"]
    clicks: list[tuple[int, int]] = []
    click_labels: list[int] = []
    mask: NDArray[np.bool_] | None = None
    logits: NDArray[np.float32] | None = None
    for number in range(1, max(counts, default=0) + 1):
        click = next_click(truth, mask)
        if click is not None:
            clicks.append((click.x, click.y))
            click_labels.append(click.point_label)
            prediction = predictor.predict(
                points=clicks, point_labels=click_labels, mask_logits=logits, multimask=number == 1
            )
            mask, logits = prediction.masks[0], prediction.low_res_logits[0]
        if number in counts and mask is not None:
            found[f"{number}-click"] = mask
    if "box" in prompts:
        box = mask_to_box(truth).astype(np.float64)
        found["box"] = predictor.predict(box=box, multimask=False).masks[0]
    return found
