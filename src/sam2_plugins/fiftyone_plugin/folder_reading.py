"""Opens folders of masklets in the formats of `exporting`, written here or by another tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.core import load_masks
from sam2_plugins.fiftyone_plugin.coco_folder import is_coco, read_coco
from sam2_plugins.fiftyone_plugin.exporting import FORMATS, MANIFEST
from sam2_plugins.fiftyone_plugin.masklet_video import Masklet, MaskletVideo

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from sam2_plugins.core import FrameMasks

__all__ = ["read_folder"]

_RESOLUTIONS = ("480p", "1080p", "Full-Resolution")


def read_folder(folder: str | Path, *, name: str | None = None) -> list[MaskletVideo]:
    """Opens every video of a folder; masks are read when they are asked for.

    Args:
        folder: The folder.
        name: One of `FORMATS`; None to tell from what is inside.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: Unknown format, or nothing of that format is inside.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    if name is None:
        name = _format_inside(folder)
    if name not in FORMATS:
        raise ValueError(f"unknown format {name!r}; formats are {', '.join(FORMATS)}")
    known = _described(folder)
    if name == "coco":
        videos = [video for path in _json_files(folder) for video in read_coco(path)]
    elif name == "sa-v":
        videos = [_open_sav(path, known) for path in _json_files(folder)]
    else:
        videos = [_open_pictures(path) for path in _picture_folders(folder)]
    if not videos:
        raise ValueError(f"no masks in the format {name} in {folder}")
    return [_describe(video, known.get(video.name, {})) for video in videos]


def _format_inside(folder: Path) -> str:
    if (folder / "Annotations").is_dir():
        return "youtube-vos" if (folder / "meta.json").is_file() else "davis"
    files = _json_files(folder)
    if files:
        return "coco" if is_coco(files[0]) else "sa-v"
    raise ValueError(
        f"{folder} holds no masks: expected Annotations/<video>/00000.png (DAVIS, YouTube-VOS) or "
        ".json files (SA-V, COCO)"
    )


def _json_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.glob("*.json")
        if path.name != MANIFEST and not path.name.startswith(".")
    )


def _picture_folders(folder: Path) -> list[Path]:
    root = folder / "Annotations"
    for resolution in _RESOLUTIONS:
        if (root / resolution).is_dir():
            root = root / resolution
            break
    return sorted(child for child in root.glob("*") if child.is_dir() and any(child.glob("*.png")))


def _open_sav(path: Path, known: Container[str]) -> MaskletVideo:
    saved = load_masks(path, format="sa-v")
    # SA-V's own files end so; a video of ours may be called so.
    own = path.stem.removesuffix("_manual").removesuffix("_auto")
    name = path.stem if path.stem in known else own
    return MaskletVideo(name, "", saved.num_frames, saved.frame_size, (), lambda: iter(saved))


def _open_pictures(folder: Path) -> MaskletVideo:
    saved = load_masks(folder, format="davis")
    indices = _frame_indices(folder, saved.frame_names or ())

    def read() -> Iterator[FrameMasks]:
        for position, frame_index in enumerate(indices):
            frame = saved[position]
            yield type(frame)(
                *(frame_index, frame.object_ids, frame.masks),
                *(frame.predicted_iou, frame.object_score_logits),
            )

    return MaskletVideo(folder.name, "", max(indices) + 1, saved.frame_size, (), read)


def _frame_indices(folder: Path, names: tuple[str, ...]) -> list[int]:
    """Which frames pictures are of: those data sets do not annotate every frame.

    The frames' own pictures tell, where they lie beside the masks; else the number in the name.
    """
    pictures = Path(*("JPEGImages" if part == "Annotations" else part for part in folder.parts))
    if pictures != folder and pictures.is_dir():
        frames = sorted(path for path in pictures.iterdir() if not path.name.startswith("."))
        stems = {path.stem: index for index, path in enumerate(frames)}
        if all(name in stems for name in names):
            return [stems[name] for name in names]
    if all(name.isdecimal() for name in names):
        return [int(name) for name in names]
    return list(range(len(names)))


def _described(folder: Path) -> dict[str, dict[str, Any]]:
    """What is known of each video beside its masks: `source`, and `objects` by id."""
    known: dict[str, dict[str, Any]] = {}
    meta = _read_json(folder / "meta.json").get("videos", {})
    for name, video in meta.items():
        objects = {
            int(object_id): Masklet(int(object_id), entry.get("category"))
            for object_id, entry in video.get("objects", {}).items()
        }
        known[name] = {"objects": objects}
    for video in _read_json(folder / MANIFEST).get("videos", []):
        objects = {entry["object_id"]: Masklet(**entry) for entry in video["objects"]}
        known[video["name"]] = {"source": video["source"], "objects": objects}
    return known


def _describe(video: MaskletVideo, known: dict[str, Any]) -> MaskletVideo:
    objects = {masklet.object_id: masklet for masklet in video.masklets} | known.get("objects", {})
    return MaskletVideo(
        video.name,
        known.get("source") or video.source,
        video.num_frames,
        video.frame_size,
        tuple(objects[object_id] for object_id in sorted(objects)),
        video.read,
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    return content if isinstance(content, dict) else {}
