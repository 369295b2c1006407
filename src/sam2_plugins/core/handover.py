"""Annotations on their way from one program to another and back: a folder with two files.

`handover.json` says which frames they are of, which objects there are and what was said of them;
`masks.json` holds their masks as SA-V does. The folder is there whole, or not at all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.core.formats import load_masks, save_masks
from sam2_plugins.core.formats.staging import (
    explain_write_errors,
    move_into_place,
    staging_folder,
)
from sam2_plugins.core.run_lengths import decode_rle, encode_rle

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from sam2_plugins.core.formats import SavedMasks
    from sam2_plugins.core.masks import FrameMasks

FORMAT, VERSION = "sam2-plugins handover", 1
_HEADER, _MASKS = "handover.json", "masks.json"

FrameObject = tuple[int, int]
"""Frame index and object id."""


@dataclass(frozen=True, slots=True, eq=False)
class HandedPrompt:
    """All that is said of one object on one frame.

    Attributes:
        points: (x, y) in pixels.
        point_labels: For each, 1 on the object or 0 on the background.
        box: (x0, y0, x1, y1) in pixels.
        mask: (H, W) bool, instead of a box.
    """

    points: tuple[tuple[float, float], ...] = ()
    point_labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Handover:
    """Annotations of one video or stack.

    Attributes:
        media: Path of the video, or of its images in order.
        num_frames: How many frames can be read.
        frame_size: (H, W) in pixels.
        names: Object id -> class or name, "" where it has none.
        prompts: What was said; on the way back, only what was said anew.
        cleared: On the way back, where all that was said was taken back.
        model: Name of the model, or path of its checkpoint.
        image_size: Side of the network's input; None for the model's own.
        title: What to call it.
    """

    media: tuple[str, ...]
    num_frames: int
    frame_size: tuple[int, int]
    names: Mapping[int, str]
    prompts: Mapping[FrameObject, HandedPrompt]
    cleared: frozenset[FrameObject] = frozenset()
    model: str = "nano"
    image_size: int | None = None
    title: str = field(default="")


def write_handover(
    folder: str | Path, handover: Handover, masks: Iterable[FrameMasks] | str | Path
) -> None:
    """Write a handover; one that is there already is replaced.

    Args:
        folder: Its parent must exist.
        handover: What is said.
        masks: What is known of each frame; or a file that `save_masks` has written as SA-V, which
            is moved.

    Raises:
        OSError: It cannot be written; the message names the folder.
    """
    target = Path(folder).absolute()
    with staging_folder(target) as staging, explain_write_errors(target):
        made = staging / "made"
        made.mkdir()
        if isinstance(masks, str | Path):
            Path(masks).replace(made / _MASKS)
        else:
            save_masks(
                made / _MASKS,
                masks,
                frame_size=handover.frame_size,
                num_frames=handover.num_frames,
            )
        (made / _HEADER).write_text(json.dumps(_describe(handover)), encoding="utf-8")
        move_into_place(made, target, is_output=_is_handover)


def _is_handover(folder: Path) -> bool:
    """Whether a folder holds a handover and nothing else."""
    return {child.name for child in folder.iterdir()} <= {_HEADER, _MASKS}


def read_handover(folder: str | Path) -> tuple[Handover, SavedMasks]:
    """Read a handover.

    Returns:
        What is said, and the masks, a frame at a time.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is none, is damaged, or was written by a later version.
    """
    path = Path(folder) / _HEADER
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no handover: it has no {_HEADER}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT or content["version"] > VERSION:
            raise ValueError("its format is not known")
        handover = _make(content)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no handover of this version, or is damaged") from error
    return handover, load_masks(Path(folder) / _MASKS, format="sa-v")


def _describe(handover: Handover) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": handover.title,
        "media": list(handover.media),
        "num_frames": handover.num_frames,
        "frame_size": list(handover.frame_size),
        "model": handover.model,
        "image_size": handover.image_size,
        "objects": [{"id": key, "name": name} for key, name in handover.names.items()],
        "prompts": [
            {"frame": frame, "object": object_id, **_describe_prompt(said)}
            for (frame, object_id), said in handover.prompts.items()
        ],
        "cleared": [{"frame": frame, "object": key} for frame, key in sorted(handover.cleared)],
    }


def _describe_prompt(said: HandedPrompt) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if said.points:
        entry |= {"points": said.points, "labels": said.point_labels}
    if said.box is not None:
        entry["box"] = said.box
    if said.mask is not None:
        entry["mask"] = encode_rle(said.mask)
    return entry


def _make(content: Mapping[str, Any]) -> Handover:
    height, width = content["frame_size"]
    return Handover(
        media=tuple(content["media"]),
        num_frames=content["num_frames"],
        frame_size=(height, width),
        names={entry["id"]: entry["name"] for entry in content["objects"]},
        prompts={
            (entry["frame"], entry["object"]): _make_prompt(entry) for entry in content["prompts"]
        },
        cleared=frozenset((entry["frame"], entry["object"]) for entry in content["cleared"]),
        model=content["model"],
        image_size=content["image_size"],
        title=content["title"],
    )


def _make_prompt(entry: Mapping[str, Any]) -> HandedPrompt:
    box = entry.get("box")
    return HandedPrompt(
        points=tuple((float(x), float(y)) for x, y in entry.get("points", ())),
        point_labels=tuple(entry.get("labels", ())),
        box=None if box is None else (box[0], box[1], box[2], box[3]),
        mask=decode_rle(entry["mask"]) if "mask" in entry else None,
    )
