"""What was measured before a run, kept beside it: a run that goes on need not measure it again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sam2_plugins.core.training.measuring import Score
from sam2_plugins.core.training.own_data import OwnData


def keep_scores(
    path: Path, scores: Sequence[Score], *, data: OwnData, about: Mapping[str, Any]
) -> None:
    """Write scores.

    Args:
        path: File to write.
        scores: Of `measure`.
        data: What was measured on.
        about: What was measured, in plain values.
    """
    content = {
        "about": dict(about),
        "data": signature(data),
        "scores": [asdict(score) for score in scores],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".partial")
    aside.write_text(json.dumps(content, indent=1), encoding="utf-8")
    aside.replace(path)


def kept_scores(path: Path, *, data: OwnData, about: Mapping[str, Any]) -> list[Score] | None:
    """Read what `keep_scores` wrote; None where that is missing, damaged, or of something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (content["about"], content["data"]) != (dict(about), signature(data)):
            return None
        return [Score(**score) for score in content["scores"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def signature(data: OwnData) -> str:
    """A checksum of all pictures and labels."""
    digest = hashlib.sha256()
    images = [(image.name, image.image, image.labels) for image in data.images]
    stacks = [(stack.name, stack.frames, stack.labels) for stack in data.stacks]
    for name, pictures, labels in [*images, *stacks]:
        digest.update(f"{name} {pictures.shape}".encode())
        digest.update(np.ascontiguousarray(pictures).data)
        digest.update(np.ascontiguousarray(labels).data)
    return digest.hexdigest()
