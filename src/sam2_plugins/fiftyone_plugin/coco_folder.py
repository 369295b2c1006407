"""COCO JSON of many videos and images: run lengths, `track_id`, `videos` beside `images`.

A video's images have `video_id` and `frame_index`, as in COCO's extensions for video. Added to
COCO's keys of an annotation: `score` (predicted IoU) and `object_score_logit`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2_plugins.core import FrameMasks, decode_rle, encode_rle
from sam2_plugins.fiftyone_plugin.masklet_video import Masklet, MaskletVideo
from sam2_plugins.fiftyone_plugin.matching import common_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["CocoWriter", "is_coco", "read_coco"]

_FILE = "annotations.json"
_CERTAIN = 10.0
"""The object score of annotations that come without."""


class CocoWriter:
    """`annotations.json` with everything; annotations go to a scratch file as they come."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._scratch = folder / "annotations.part"
        self._scratch.touch()
        self._videos: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []
        self._files: list[tuple[dict[str, Any], str]] = []
        self._folders: set[Path | None] = set()
        self._categories: dict[str, int] = {}
        self._num_annotations = 0

    def add(self, video: MaskletVideo) -> None:
        """Writes one video."""
        height, width = video.frame_size
        video_id, first_image = len(self._videos) + 1, len(self._images) + 1
        self._videos.append(
            {"id": video_id, "name": video.name, "width": width, "height": height}
            | {"length": video.num_frames, "file_name": Path(video.source).name}
        )
        for index in range(video.num_frames):
            name = f"{video.name}/{index:05d}.jpg"
            self._images.append(
                {"id": first_image + index, "file_name": name, "width": width, "height": height}
                | {"video_id": video_id, "frame_index": index}
            )
        if video.paths:
            folder = common_folder(video.paths)
            is_group = len(video.paths) > 1
            self._folders.add(folder.parent if folder is not None and is_group else folder)
            self._files += zip(self._images[first_image - 1 :], video.paths, strict=True)
        labels = {masklet.object_id: masklet.label or "object" for masklet in video.masklets}
        with self._scratch.open("a", encoding="utf-8") as file:
            for frame in video.read():
                for row in np.flatnonzero(frame.masks.any(axis=(1, 2))).tolist():
                    object_id = int(frame.object_ids[row])
                    category = labels.get(object_id, "object")
                    category_id = self._categories.setdefault(category, len(self._categories) + 1)
                    ids = {"image_id": first_image + frame.frame_index, "video_id": video_id}
                    ids |= {"category_id": category_id, "track_id": object_id}
                    file.write(json.dumps(self._annotation(frame, row, ids)) + "\n")

    def _annotation(self, frame: FrameMasks, row: int, ids: dict[str, int]) -> dict[str, Any]:
        mask = frame.masks[row]
        x0, y0, x1, y1 = _box(mask)
        self._num_annotations += 1
        annotation: dict[str, Any] = {
            "id": self._num_annotations,
            **ids,
            "segmentation": encode_rle(mask),
            "area": int(mask.sum()),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "iscrowd": 0,
        }
        scores = (frame.predicted_iou[row], frame.object_score_logits[row])
        for key, score in zip(("score", "object_score_logit"), scores, strict=True):
            if np.isfinite(score):
                annotation[key] = round(float(score), 6)
        return annotation

    def close(self) -> None:
        """Brings images, categories and annotations together in one file."""
        root = None if None in self._folders else common_folder([f"{f}/_" for f in self._folders])
        for image, path in self._files:
            name = Path(path) if root is None else Path(path).relative_to(root)
            image["file_name"] = name.as_posix()
        categories = [{"id": number, "name": name} for name, number in self._categories.items()]
        with (
            (self.folder / _FILE).open("w", encoding="utf-8") as file,
            self._scratch.open(encoding="utf-8") as annotations,
        ):
            for key, rows in (
                ("videos", self._videos),
                ("images", self._images),
                ("categories", categories),
            ):
                file.write(f'{"{" if key == "videos" else ","}\n "{key}": {json.dumps(rows)}')
            file.write(',\n "annotations": [')
            for number, line in enumerate(annotations):
                file.write(f"{',' if number else ''}\n  {line.rstrip()}")
            file.write("\n ]\n}\n")
        self._scratch.unlink()


def is_coco(path: Path) -> bool:
    """Whether a JSON file has COCO's keys."""
    return {"images", "annotations"} <= _read(path).keys()


def read_coco(path: Path) -> list[MaskletVideo]:
    """Opens the videos of a COCO file; masks are made when asked for.

    Without `videos`, images in one folder are a video, and others stand for themselves.

    Raises:
        ValueError: Not COCO, or an annotation has no run lengths.
    """
    content = _read(path)
    try:
        names = {row["id"]: row["name"] for row in content.get("categories", ())}
        annotations: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for row in content["annotations"]:
            if not isinstance(row["segmentation"], dict):
                raise ValueError(
                    f"{path}: annotation {row['id']} has polygons; only run lengths are read"
                )
            annotations[row["image_id"]].append(row)
        videos = {row["id"]: row["name"] for row in content.get("videos", ())}
        images: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for image in content["images"]:
            images[_video_name(image, videos)].append(image)
        return [_open(name, rows, annotations, labels=names) for name, rows in images.items()]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not COCO: {error} is missing or wrong") from error


def _video_name(image: dict[str, Any], videos: dict[Any, str]) -> str:
    if "video_id" in image and image["video_id"] in videos:
        return videos[image["video_id"]]
    name = PurePosixPath(image["file_name"])
    return name.parent.name or name.stem


def _open(
    name: str,
    images: list[dict[str, Any]],
    annotations: dict[Any, list[dict[str, Any]]],
    *,
    labels: dict[Any, str],
) -> MaskletVideo:
    images = sorted(images, key=lambda image: image.get("frame_index", 0))
    rows = [row for image in images for row in annotations.get(image["id"], ())]
    masklets = {
        _object_id(row): Masklet(_object_id(row), labels.get(row.get("category_id")))
        for row in rows
    }

    def read() -> Iterator[FrameMasks]:
        for position, image in enumerate(images):
            found = annotations.get(image["id"], [])
            yield _frame(image.get("frame_index", position), found, size)

    last = max(image.get("frame_index", position) for position, image in enumerate(images))
    size = (int(images[0]["height"]), int(images[0]["width"]))
    source = "" if len(images) > 1 else images[0]["file_name"]
    return MaskletVideo(name, source, last + 1, size, tuple(masklets.values()), read)


def _frame(frame_index: int, rows: list[dict[str, Any]], size: tuple[int, int]) -> FrameMasks:
    masks = [decode_rle(row["segmentation"]) for row in rows]
    return FrameMasks(
        frame_index,
        np.array([_object_id(row) for row in rows], np.int64),
        np.stack(masks) if masks else np.zeros((0, *size), np.bool_),
        np.array([row.get("score", 1) for row in rows], np.float32),
        np.array([row.get("object_score_logit", _CERTAIN) for row in rows], np.float32),
    )


def _object_id(row: dict[str, Any]) -> int:
    return int(row.get("track_id", row["id"]))


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    return content if isinstance(content, dict) else {}
