"""The published sam2 package, where it is installed, as something to compare with."""

import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sam2_plugins.core.config import ModelConfig
from sam2_plugins.core.model.sam2 import SAM2

Box = tuple[int, int, int, int]


def published_version() -> str | None:
    """The version of the sam2 package; None where it is not installed."""
    return version("sam2") if find_spec("sam2") else None


class PublishedTracker:
    """sam2's video predictor with the weights of one of our networks.

    It is set up as its own builder does, except that corrected frames become conditioning frames,
    as they were in training, and that holes are not filled where its CUDA extension is missing.

    Args:
        model: One of the eight published sizes.
        frames: (T, H, W, 3) uint8, which it reads from JPEG files.
    """

    def __init__(self, model: SAM2, frames: NDArray[np.uint8]) -> None:
        self._predictor = _build(model)
        self._device = model.device
        with tempfile.TemporaryDirectory() as folder, _quiet():
            for index, frame in enumerate(frames):
                Image.fromarray(frame).save(Path(folder) / f"{index:05d}.jpg", quality=95)
            # All frames are read and kept from here on.
            self._state = self._predictor.init_state(folder)

    def restart(self) -> None:
        """Forget prompts and results; the frames stay."""
        with torch.inference_mode():
            self._predictor.reset_state(self._state)

    def add_boxes(self, boxes: Sequence[Box]) -> None:
        """One object for each box, on the first frame."""
        with torch.inference_mode(), _quiet():
            for object_id, box in enumerate(boxes, start=1):
                self._predictor.add_new_points_or_box(self._state, 0, object_id, box=list(box))

    def click(self, object_id: int, point: tuple[float, float]) -> None:
        """A further click on the first frame, up to the mask in memory."""
        with torch.inference_mode(), _quiet():
            _, _, logits = self._predictor.add_new_points_or_box(
                *(self._state, 0, object_id),
                points=[list(point)],
                labels=[1],
                clear_old_points=False,
            )
            (logits > 0).cpu()

    def propagate(self) -> Iterator[NDArray[np.bool_]]:
        """The masks (B, H, W) of frame after frame."""
        with torch.inference_mode():
            found = self._predictor.propagate_in_video(self._state)
        while True:
            # Between frames, whoever iterates can be heard.
            with torch.inference_mode(), _quiet():
                step = next(found, None)
            if step is None:
                return
            yield (step[2][:, 0] > 0).cpu().numpy()


def _build(model: SAM2) -> Any:
    build = import_module("sam2.build_sam").build_sam2_video_predictor
    cells = [model.image_size // 16] * 2
    attention = "++model.memory_attention.layer"
    with _quiet():
        predictor = build(
            _configuration(model.config),
            device=str(model.device),
            hydra_overrides_extra=[
                f"++model.image_size={model.image_size}",
                f"{attention}.self_attention.feat_sizes={cells}",
                f"{attention}.cross_attention.feat_sizes={cells}",
                "++model.add_all_frames_to_correct_as_cond=true",
            ],
        )
    if not find_spec("sam2._C"):
        predictor.fill_hole_area = 0
    predictor.load_state_dict(model.state_dict(), strict=True)
    return predictor


def _configuration(config: ModelConfig) -> str:
    """The package's name for a model."""
    family, _, size = config.name.partition("-")
    letter = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}[size]
    return f"configs/{family}/{family}_hiera_{letter}.yaml"


@contextmanager
def _quiet() -> Iterator[None]:
    """The package draws progress bars of its own."""
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        yield
