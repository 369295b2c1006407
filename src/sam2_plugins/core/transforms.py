"""From the original image's pixels to the model's square input."""

from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from sam2_plugins.core.prompts import Box, Points

Resizer = Literal["tensor", "pillow"]
"""How images are squashed to the input: the published image predictor resizes float tensors
(bilinear, antialiased), the published video predictor uint8 pictures with Pillow (bicubic)."""

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_LUMA = (0.299, 0.587, 0.114)
_COLOUR_SCALES = 20.0, 12.0, 12.0
"""What colours differ by that differ clearly: lightness, a and b of CIELAB."""


def image_to_tensor(rgb: NDArray[np.generic], size: int, *, resizer: Resizer = "tensor") -> Tensor:
    """Squash an image to the model's square input and normalise it.

    The aspect ratio is not kept: the model was trained so.

    Args:
        rgb: (H, W, 3) uint8, or float in [0, 1].
        size: Side of the input, S.
        resizer: "pillow" falls back on "tensor" where the image is not uint8.

    Returns:
        (3, S, S) float32.
    """
    if resizer == "pillow" and rgb.dtype == np.uint8:
        rgb = np.asarray(Image.fromarray(rgb).resize((size, size)))
    # A copy where it cannot be written to, as torch wants it.
    pixels = torch.from_numpy(np.require(rgb, requirements=["C", "W"])).permute(2, 0, 1).float()
    if rgb.dtype == np.uint8:
        pixels = pixels / 255
    if pixels.shape[-2:] != (size, size):
        pixels = functional.interpolate(
            pixels[None], size=(size, size), mode="bilinear", antialias=True
        )[0]
    mean, std = torch.tensor(_MEAN), torch.tensor(_STD)
    return (pixels - mean[:, None, None]) / std[:, None, None]


def tensor_to_grey(image: Tensor) -> NDArray[np.uint8]:
    """A model's input (3, S, S) as a grey picture (S, S), by the luma of ITU-R BT.601."""
    mean, std = torch.tensor(_MEAN), torch.tensor(_STD)
    luma = torch.tensor(_LUMA)
    grey = torch.einsum("chw,c->hw", image, luma * std) + (luma * mean).sum()
    return (grey * 255).round().clamp(0, 255).byte().numpy()


def tensor_to_rgb(image: Tensor, *, side: int) -> NDArray[np.uint8]:
    """A model's input (3, S, S) as a picture (side, side, 3), shrunk by means."""
    mean, std = torch.tensor(_MEAN), torch.tensor(_STD)
    small = image.float().cpu()
    if small.shape[-1] != side:
        small = functional.interpolate(small[None], size=(side, side), mode="area")[0]
    pixels = small.permute(1, 2, 0) * std + mean
    return (pixels * 255).round().clamp(0, 255).byte().numpy()


def tensor_to_lab(image: Tensor, *, side: int) -> NDArray[np.float32]:
    """A model's input (3, S, S) in CIELAB, (side, side, 3); 1 is a clear difference."""
    rgb = tensor_to_rgb(image, side=side).astype(np.float32) / 255
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB) / np.array(_COLOUR_SCALES), np.float32)


def points_to_model(points: NDArray[np.floating], image_size: tuple[int, int], size: int) -> Tensor:
    """Scale points (..., 2), (x, y) in pixels of an image (H, W), to an input of side `size`."""
    height, width = image_size
    scale = torch.tensor([size / width, size / height], dtype=torch.float32)
    return torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32)) * scale


def prompts_to_model(
    points: Points, box: Box | None, *, image_size: tuple[int, int], size: int
) -> tuple[Tensor, Tensor]:
    """Corners of a box, then clicks, as the decoder wants them.

    Args:
        points: In pixels of an image.
        box: Likewise; None without.
        image_size: (H, W) of the image.
        size: Side of the model's input.

    Returns:
        (1, N, 2) in pixels of the input, and labels (1, N).
    """
    xy, labels = list(points.xy), list(points.labels)
    if box is not None:
        xy, labels = [*box.corners, *xy], [2, 3, *labels]
    scaled = points_to_model(np.array(xy, dtype=np.float32).reshape(-1, 2), image_size, size)
    return scaled[None], torch.tensor([labels])


def mask_to_model(mask: NDArray[np.bool_], size: int) -> Tensor:
    """Squash a mask (H, W) to (1, S, S) float32 of 0 and 1, antialiased before the threshold."""
    pixels = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None, None]
    if pixels.shape[-2:] != (size, size):
        pixels = functional.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
    return (pixels[0] >= 0.5).float()
