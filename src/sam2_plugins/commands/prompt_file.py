"""The prompts of `track`: read from JSON and checked against the frames, with the place of errors.

    {"version": 1, "prompts": [
      {"frame": 0, "object": 1, "points": [[x, y], [x, y]], "labels": [1, 0]},
      {"frame": 3, "object": 2, "box": [x0, y0, x1, y1]},
      {"frame": 5, "object": 3, "mask": "m.png"}]}

An entry has points, a box, or both, or a mask; a mask's path is relative to the JSON file.
"""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2_plugins.commands.weak_prompts import warn_of_weak_prompts
from sam2_plugins.core.formats.davis import read_png
from sam2_plugins.core.formats.registry import check_highest_id
from sam2_plugins.core.prompts import (
    Box,
    MaskPrompt,
    Points,
    check_frame_index,
    check_object_id,
    make_box,
    make_mask,
    make_points,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from sam2_plugins.core.formats.registry import MaskFormat
    from sam2_plugins.core.frame_results import FramePrompts
    from sam2_plugins.core.frames import FrameSource
    from sam2_plugins.core.tracker import VideoTracker

VERSION = 1
KEYS = {"frame", "object", "points", "labels", "box", "mask"}


@dataclass(frozen=True, slots=True)
class Entry:
    """What the file says of one object on one frame.

    `where` is its place in the file, and `mask_file` what its mask was read from.
    """

    where: str
    frame_index: int
    object_id: int
    points: Points | None = None
    box: Box | None = None
    mask: MaskPrompt | None = None
    mask_file: Path | None = None


def read_prompts(path: Path, frames: FrameSource) -> list[Entry]:
    """Read and check a file of prompts; warn of what will hardly find anything.

    Args:
        path: The JSON file.
        frames: What the prompts are about.

    Raises:
        FileNotFoundError: There is no such file, or a mask is missing.
        ValueError: Something in it is wrong; the message tells the file and the place.
    """
    document = _read_json(path)
    with _located(str(path)):
        if not isinstance(document, dict) or not isinstance(document.get("prompts"), list):
            raise ValueError(f'expected {{"version": {VERSION}, "prompts": […]}}')
        if document.get("version") != VERSION:
            raise ValueError(f"version: expected {VERSION}, found {document.get('version')!r}")
        if not document["prompts"]:
            raise ValueError("prompts: there is none")
    entries = []
    for index, raw in enumerate(document["prompts"]):
        with _located(f"{path}: prompts[{index}]"):
            entries.append(_entry(raw, f"{path}: prompts[{index}]", path.parent, frames))
    _refuse_twice(entries)
    warn_of_weak_prompts(entries, frames)
    return entries


def check_ids(entries: list[Entry], output: MaskFormat) -> None:
    """Refuse ids that the output cannot hold, before they are tracked.

    Raises:
        ValueError: There is one; the message tells its place.
    """
    for entry in entries:
        with _located(entry.where):
            check_highest_id(entry.object_id, output)


def give_prompts(tracker: VideoTracker, entries: list[Entry]) -> None:
    """Hand the prompts to the tracker, in the order of the file."""
    for entry in entries:
        key = (entry.frame_index, entry.object_id)
        with _located(entry.where):
            if entry.mask:
                tracker.set_mask(*key, entry.mask.mask)
            if entry.box:
                tracker.set_box(*key, [*entry.box.corners[0], *entry.box.corners[1]])
            if entry.points:
                tracker.add_points(*key, entry.points.xy, entry.points.labels)


def check_same_prompts(tracker: VideoTracker, entries: list[Entry], session: Path) -> None:
    """Refuse to continue a session with other prompts than it was begun with.

    Raises:
        ValueError: They differ; the message tells on which object and frame.
    """
    wanted: dict[tuple[int, int], list[Entry]] = {}
    for entry in entries:
        wanted.setdefault((entry.object_id, entry.frame_index), []).append(entry)
    kept = {
        (object_id, frame_index): prompts
        for object_id, by_frame in tracker.prompts.items()
        for frame_index, prompts in by_frame.items()
    }
    for key in sorted(wanted.keys() | kept.keys()):
        if key not in kept or not _describes(wanted.get(key, []), kept[key]):
            raise ValueError(
                f"the prompts of object {key[0]} on frame {key[1]} are not those that {session} "
                "was begun with: run without --resume"
            )


def _describes(entries: list[Entry], prompts: FramePrompts) -> bool:
    boxes = [entry.box for entry in entries if entry.box]
    masks = [entry.mask.mask for entry in entries if entry.mask]
    clicks = [
        click
        for entry in entries
        if entry.points
        for click in zip(entry.points.xy, entry.points.labels, strict=True)
    ]
    points = prompts.points
    kept = list(zip(points.xy, points.labels, strict=True)) if points else []
    if prompts.mask is not None:
        return len(masks) == 1 and np.array_equal(masks[0], prompts.mask.mask)
    return not masks and clicks == kept and boxes == ([prompts.box] if prompts.box else [])


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file of prompts {path}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{path}: {place}: not JSON: {error.msg}") from None
    except ValueError as error:  # such as a number of too many digits
        raise ValueError(f"{path}: cannot be read: {error}") from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply") from None


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Put the place in front of what is wrong."""
    try:
        yield
    except (ValueError, TypeError, LookupError) as error:
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise ValueError(f"{where}: {message}") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{where}: {error}") from error


def _entry(raw: Any, where: str, folder: Path, frames: FrameSource) -> Entry:
    if not isinstance(raw, dict):
        raise ValueError(f'expected {{"frame": …, "object": …, …}}, found {_short(raw)}')
    for key in raw.keys() - KEYS:
        raise ValueError(f"unknown key {key!r}; known are {', '.join(sorted(KEYS))}")
    for key in ("frame", "object"):
        if key not in raw:
            raise ValueError(f"{key!r} is missing")
    kinds = sorted(raw.keys() & {"points", "box", "mask"})
    if not kinds or ("mask" in kinds and len(kinds) > 1):
        found = " and ".join(kinds) or "none"
        raise ValueError(f"needs points, a box, or both, or a mask, found {found}")
    if "labels" in raw and "points" not in raw:
        raise ValueError("has labels but no points")
    size = frames.frame_size
    with _located("frame"):
        if isinstance(raw["frame"], bool):
            raise ValueError(f"expected a number from 0, found {_short(raw['frame'])}")
        frame_index = check_frame_index(raw["frame"], frames.num_frames)
    with _located("object"):
        object_id = check_object_id(raw["object"])
    return Entry(
        where,
        frame_index,
        object_id,
        points=_points(raw, size) if "points" in raw else None,
        box=_box(raw["box"], size) if "box" in raw else None,
        mask=_mask(raw["mask"], folder, size) if "mask" in raw else None,
        mask_file=folder / raw["mask"] if "mask" in raw else None,
    )


def _points(raw: dict[str, Any], size: tuple[int, int]) -> Points:
    points = raw["points"]
    if not isinstance(points, list) or not points:
        raise ValueError(f"points: expected [[x, y], …], found {_short(points)}")
    labels = raw.get("labels", [1] * len(points))
    if not isinstance(labels, list) or len(labels) != len(points):
        raise ValueError(f"labels: expected {len(points)} labels, 1 or 0, found {_short(labels)}")
    for index, (point, label) in enumerate(zip(points, labels, strict=True)):
        if not _are_numbers(point, 2):
            raise ValueError(f"points[{index}]: expected [x, y] in pixels, found {_short(point)}")
        if isinstance(label, bool) or label not in (0, 1):
            raise ValueError(
                f"labels[{index}]: expected 1 (object) or 0 (background), found {_short(label)}"
            )
        with _located(f"points[{index}]"):
            make_points([point], [label], size=size)
    return make_points(points, labels, size=size)


def _box(box: Any, size: tuple[int, int]) -> Box:
    with _located("box"):
        if not _are_numbers(box, 4):
            raise ValueError(f"expected [x0, y0, x1, y1] in pixels, found {_short(box)}")
        return make_box(box, size=size)


def _mask(name: Any, folder: Path, size: tuple[int, int]) -> MaskPrompt:
    with _located("mask"):
        if not isinstance(name, str) or not name:
            raise ValueError(f"expected the path of an image, found {_short(name)}")
        return make_mask(_read_mask(folder / name), size=size)


def _read_mask(path: Path) -> NDArray[np.generic]:
    """(H, W) values as stored: palette indices stay indices."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix.lower() != ".npy":
        return read_png(path)
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} is not a readable array: {error}") from None


def _refuse_twice(entries: list[Entry]) -> None:
    """A second box would take the first one's place, and a mask that of everything before it."""
    earlier: dict[tuple[int, int], list[Entry]] = {}
    for entry in entries:
        others = earlier.setdefault((entry.frame_index, entry.object_id), [])
        for other in others:
            if entry.mask or other.mask or (entry.box and other.box):
                place = other.where.rpartition(": ")[2]
                raise ValueError(
                    f"{entry.where}: object {entry.object_id} on frame {entry.frame_index} has "
                    f"prompts in {place} that exclude these: a mask stands alone, a box comes once"
                )
        others.append(entry)


def _are_numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(value) in (int, float) and _is_finite(value) for value in values)
    )


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "…"
