"""Masks on disk: label stacks, OME-Zarr, DAVIS and YouTube-VOS folders, SA-V, CTC and COCO.

`save_masks` takes frames as the tracker yields them, in any order, and `load_masks` reads one
frame at a time. The JSON formats keep overlapping objects and scores; a label image has one object
per pixel, see `FrameMasks.to_labels`.
"""

from sam2_plugins.core.formats.davis import davis_palette
from sam2_plugins.core.formats.registry import (
    FORMATS,
    MaskFormat,
    check_output,
    load_masks,
    save_labels,
    save_masks,
)
from sam2_plugins.core.formats.stack import MaskStack, SavedMasks
from sam2_plugins.core.formats.volumes import LabelArray

__all__ = [
    "FORMATS",
    "LabelArray",
    "MaskFormat",
    "MaskStack",
    "SavedMasks",
    "check_output",
    "davis_palette",
    "load_masks",
    "save_labels",
    "save_masks",
]
