"""Checkpoints written whole or not at all, and the export of trained weights."""

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from sam2_plugins.core.checkpoints import blank_model, infer_config, make_config
from sam2_plugins.core.model.sam2 import SAM2


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        stage: Index of the stage.
        stage_step: Steps done in it.
        stage_seconds: Seconds spent in it.
        step: Steps done in all.
    """

    stage: int = 0
    stage_step: int = 0
    stage_seconds: float = 0.0
    step: int = 0


def save_whole(content: Mapping[str, Any], path: Path) -> None:
    """Write tensors and plain values aside, then move the file into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".partial")
    with aside.open("wb") as file:
        torch.save(dict(content), file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def is_run_checkpoint(path: Path) -> bool:
    """Whether a file is of the kind that a run writes; its contents may differ."""
    if not zipfile.is_zipfile(path):
        return False
    # Only a run's checkpoint has a second set of weights beside the model's.
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return isinstance(content, dict) and "average" in content


def averaged_model(path: Path, *, image_size: int | None = None) -> SAM2:
    """Return the network with the averaged weights of a run's checkpoint.

    Args:
        path: Written by a run.
        image_size: Side of its input in pixels; its own if None.
    """
    content = load_checkpoint(path)
    average = content["average"]
    known = content.get("config")
    config = make_config(known) if known else infer_config(average)
    model = blank_model(config, image_size=image_size)
    model.load_state_dict(average)
    return model


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read the checkpoint of a run; tensors and plain values only.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file is something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}; start without resume")
    content = torch.load(path, map_location="cpu", weights_only=True)
    missing = {"model", "average", "optimizer", "progress"} - set(content)
    if missing:
        raise ValueError(f"{path} is not a training checkpoint: it lacks {sorted(missing)}")
    return dict(content)


_OBJECT_SCORE_BIAS = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"


def export_weights(
    checkpoint: Path,
    target: Path,
    *,
    metadata: Mapping[str, str],
    object_score_shift: float = 0.0,
) -> Path:
    """Write the averaged weights of a checkpoint as float16 safetensors.

    Args:
        checkpoint: Written by a run.
        target: File to write, moved into place when whole.
        metadata: Text kept in the file's header (configuration, recipe, data).
        object_score_shift: Added to every object score. Objects are absent on few frames of the
            training clips, and a score of 0 is passed too seldom where they end.

    Returns:
        `target`.
    """
    content = load_checkpoint(checkpoint)
    if object_score_shift:
        content["average"][_OBJECT_SCORE_BIAS] += object_score_shift
    tensors = {
        name: tensor.to(torch.float16).contiguous() if tensor.is_floating_point() else tensor
        for name, tensor in content["average"].items()
    }
    about = {**metadata, "steps": str(content["progress"]["step"])}
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_suffix(".partial")
    save_file(tensors, aside, metadata=about)
    aside.replace(target)
    return target
