"""YouTube-VOS folders: meta.json beside Annotations/<video>/<frame>.png."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from sam2_plugins.core.formats import davis

if TYPE_CHECKING:
    from pathlib import Path

    from sam2_plugins.core.formats.stack import MaskStack, SavedMasks

__all__ = ["is_output", "is_youtube", "read", "write"]


def write(path: Path, stack: MaskStack) -> None:
    """Writes one video, named as the output; meta.json lists the frames of each object."""
    folder = path / "Annotations" / stack.title
    folder.mkdir(parents=True)
    frames_of: dict[int, list[str]] = {}
    for frame_index, labels in enumerate(stack.labels()):
        name = stack.frame_name(frame_index)
        davis.write_png(folder / f"{name}.png", labels)
        for object_id in np.unique(labels[labels > 0]):
            frames_of.setdefault(int(object_id), []).append(name)
    objects = {
        str(object_id): {"category": "object", "frames": names}
        for object_id, names in sorted(frames_of.items())
    }
    meta = {"videos": {stack.title: {"objects": objects}}}
    (path / "meta.json").write_text(json.dumps(meta, indent=2), encoding="utf-8")


def is_youtube(path: Path) -> bool:
    """Whether a folder has the parts of YouTube-VOS."""
    return (path / "meta.json").is_file() and (path / "Annotations").is_dir()


def is_output(path: Path) -> bool:
    """Whether a folder holds videos of ours in this layout and nothing else."""
    return (
        is_youtube(path)
        and len(list(path.iterdir())) == 2
        and all(davis.is_output(video) for video in (path / "Annotations").iterdir())
    )


def read(path: Path) -> SavedMasks:
    """Opens the only video of a YouTube-VOS folder, or one video's folder under Annotations.

    Raises:
        ValueError: There is not exactly one video.
    """
    annotations = path / "Annotations"
    if not annotations.is_dir():
        return davis.read(path)
    videos = sorted(child for child in annotations.iterdir() if child.is_dir())
    if len(videos) != 1:
        names = ", ".join(video.name for video in videos[:5])
        raise ValueError(
            f"{annotations} holds {len(videos)} videos ({names}); give the folder of one"
        )
    return davis.read(videos[0])
