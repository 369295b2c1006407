"""The public names of the core.

Shapes are written with one set of letters everywhere: B objects (or images) in a batch, T frames,
N points, M candidate masks, C channels, L tokens, K attention heads, H x W pixels of the original
image, S the side of the model's square input, h x w cells of a feature map.

Points are (x, y) in pixels of the original image, boxes (x0, y0, x1, y1), frames count from 0,
object ids are integers of 1 or more that the caller chooses.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam2_plugins.core.automatic import MaskGenerator, auto_masklets
    from sam2_plugins.core.config import ModelConfig
    from sam2_plugins.core.download import DownloadCancelled
    from sam2_plugins.core.evaluation.metrics import FrameScore, score_frame, summarise
    from sam2_plugins.core.formats import LabelArray, load_masks, save_labels, save_masks
    from sam2_plugins.core.frames import FrameSource, open_frames
    from sam2_plugins.core.handover import HandedPrompt, Handover, read_handover, write_handover
    from sam2_plugins.core.masks import FrameMasks
    from sam2_plugins.core.model.sam2 import SAM2
    from sam2_plugins.core.pixels import PixelPolicy
    from sam2_plugins.core.placed_masks import PlacedMasks
    from sam2_plugins.core.predictor import ImagePrediction, ImagePredictor
    from sam2_plugins.core.prompts import Box, MaskPrompt, Points
    from sam2_plugins.core.run_lengths import decode_rle, encode_rle
    from sam2_plugins.core.samples import SampleStack, nuclei_stack
    from sam2_plugins.core.tracked_frames import TrackedFrames
    from sam2_plugins.core.tracker import VideoTracker
    from sam2_plugins.core.weights import ModelInfo, list_models, load_model
    from sam2_plugins.core.window_tracker import WindowTracker
    from sam2_plugins.core.windows import Window

_HOMES = {
    "MaskGenerator": "automatic",
    "auto_masklets": "automatic",
    "ModelConfig": "config",
    "DownloadCancelled": "download",
    "FrameScore": "evaluation.metrics",
    "score_frame": "evaluation.metrics",
    "summarise": "evaluation.metrics",
    "LabelArray": "formats",
    "load_masks": "formats",
    "save_labels": "formats",
    "save_masks": "formats",
    "FrameSource": "frames",
    "open_frames": "frames",
    "HandedPrompt": "handover",
    "Handover": "handover",
    "read_handover": "handover",
    "write_handover": "handover",
    "FrameMasks": "masks",
    "SAM2": "model.sam2",
    "PixelPolicy": "pixels",
    "ImagePrediction": "predictor",
    "ImagePredictor": "predictor",
    "Box": "prompts",
    "MaskPrompt": "prompts",
    "Points": "prompts",
    "decode_rle": "run_lengths",
    "encode_rle": "run_lengths",
    "SampleStack": "samples",
    "nuclei_stack": "samples",
    "TrackedFrames": "tracked_frames",
    "VideoTracker": "tracker",
    "ModelInfo": "weights",
    "list_models": "weights",
    "load_model": "weights",
    "PlacedMasks": "placed_masks",
    "Window": "windows",
    "WindowTracker": "window_tracker",
}

__all__ = [
    "SAM2",
    "Box",
    "DownloadCancelled",
    "FrameMasks",
    "FrameScore",
    "FrameSource",
    "HandedPrompt",
    "Handover",
    "ImagePrediction",
    "ImagePredictor",
    "LabelArray",
    "MaskGenerator",
    "MaskPrompt",
    "ModelConfig",
    "ModelInfo",
    "PixelPolicy",
    "PlacedMasks",
    "Points",
    "SampleStack",
    "TrackedFrames",
    "VideoTracker",
    "Window",
    "WindowTracker",
    "auto_masklets",
    "decode_rle",
    "encode_rle",
    "list_models",
    "load_masks",
    "load_model",
    "nuclei_stack",
    "open_frames",
    "read_handover",
    "save_labels",
    "save_masks",
    "score_frame",
    "summarise",
    "write_handover",
]


def __getattr__(name: str) -> Any:
    # Torch is imported when a name that needs it is, not when a front end looks for its manifest.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
