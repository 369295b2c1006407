"""Writes folders of masklets: many videos in one of four published formats.

Beside what the format itself asks for lies `sam2-export.json`, which keeps what the format has no
place for: labels, tracks, and which file each video was. Nothing needs it to read a folder.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sam2_plugins.core import save_masks
from sam2_plugins.fiftyone_plugin.coco_folder import CocoWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from sam2_plugins.core import FrameMasks
    from sam2_plugins.fiftyone_plugin.masklet_video import MaskletVideo

__all__ = ["FORMATS", "MANIFEST", "write_folder"]

MANIFEST = "sam2-export.json"
_MAX_PNG_ID = 255
_WRITTEN = {"": (MANIFEST, "meta.json", "annotations.json"), "ImageSets": ("all.txt",)}
_OF_DESKTOPS = (".DS_Store", "Thumbs.db", "desktop.ini")
"""What file managers leave where somebody has looked."""


class Writer(Protocol):
    """Writes the videos of one folder, one after the other."""

    def add(self, video: MaskletVideo) -> None:
        """Writes one video."""

    def close(self) -> None:
        """Writes what is known only in the end."""


def write_folder(
    target: str | Path,
    videos: Iterable[MaskletVideo],
    *,
    name: str,
    replace: bool = False,
) -> int:
    """Writes videos aside and moves the folder into place when all are there.

    Args:
        target: The folder; its parent must exist.
        videos: Consumed one by one.
        name: One of `FORMATS`.
        replace: Whether an earlier export there may be replaced.

    Returns:
        Number of videos.

    Raises:
        ValueError: Unknown format, something else is at `target` or in it, no videos, or an object
            id that the format cannot hold.
        OSError: The folder cannot be written.
    """
    target = Path(target).expanduser().absolute()
    check_target(target, name, replace=replace)
    entries: list[dict[str, Any]] = []
    with _staging(target) as staging:
        writer = _WRITERS[name](staging)
        for video in videos:
            _check_ids(video, name)
            writer.add(video)
            entries.append(
                {
                    "name": video.name,
                    "source": video.source,
                    "num_frames": video.num_frames,
                    "objects": [asdict(masklet) for masklet in video.masklets],
                }
            )
        if not entries:
            raise ValueError("nothing to export: no video has masks in that field")
        writer.close()
        manifest = {"software": "sam2-plugins", "version": 1, "format": name, "videos": entries}
        (staging / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return len(entries)


def check_target(target: Path, name: str, *, replace: bool) -> None:
    """Refuse a folder that cannot be written, or must not be.

    Raises:
        ValueError: Unknown format, no parent folder, or something else is there.
    """
    if name not in FORMATS:
        raise ValueError(f"unknown format {name!r}; formats are {', '.join(FORMATS)}")
    if not target.parent.is_dir():
        raise ValueError(f"cannot write {target}: there is no folder {target.parent}")
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / MANIFEST).is_file():
        raise ValueError(f"{target} holds something else; choose another folder")
    if not replace:
        raise ValueError(f"{target} holds an earlier export; choose overwrite to replace it")


def _check_ids(video: MaskletVideo, name: str) -> None:
    highest = max((masklet.object_id for masklet in video.masklets), default=0)
    if name in ("davis", "youtube-vos") and highest > _MAX_PNG_ID:
        raise ValueError(
            f"{video.name} has object {highest}: {name} holds ids up to {_MAX_PNG_ID}; "
            "export sa-v or coco"
        )


def _refuse_others(target: Path) -> None:
    """Refuse to replace an earlier export among whose files somebody has put others."""
    if not (target / MANIFEST).is_file():
        return
    try:
        videos = json.loads((target / MANIFEST).read_text(encoding="utf-8"))["videos"]
        names = {video["name"] for video in videos}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{target / MANIFEST} is damaged; choose another folder") from error
    for path in target.rglob("*"):
        place = path.relative_to(target)
        is_file = path.is_symlink() or not path.is_dir()
        if is_file and path.name not in _OF_DESKTOPS and not _is_written(place, names):
            raise ValueError(
                f"{target} holds {place.as_posix()}, which is not of the earlier export; "
                "move it away, or choose another folder"
            )


def _is_written(place: Path, names: Container[str]) -> bool:
    """Whether an export of videos with these names has a file at a place in its folder."""
    *folders, name = place.parts
    if folders[:1] == ["Annotations"]:
        is_frame = place.suffix == ".png" and place.stem.isdecimal()
        return is_frame and len(folders) == 2 and folders[1] in names
    is_video = not folders and place.suffix == ".json" and place.stem in names
    return is_video or name in _WRITTEN.get("/".join(folders), ())


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its place in the end; gone when something goes wrong."""
    _refuse_others(target)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        (staging / "new").mkdir()
        yield staging / "new"
        _refuse_others(target)  # again: it may have taken hours
        if target.exists():
            target.rename(staging / "old")
        (staging / "new").rename(target)
    except BaseException:
        if (staging / "old").exists() and not target.exists():
            (staging / "old").rename(target)
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class _SavWriter:
    """`<video>.json` for each video."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, video: MaskletVideo) -> None:
        """Writes one video."""
        save_masks(
            self.folder / f"{video.name}.json",
            video.read(),
            frame_size=video.frame_size,
            num_frames=video.num_frames,
            format="sa-v",
        )

    def close(self) -> None:
        """Nothing is left to write."""


class _PngWriter:
    """`Annotations/<video>/00000.png`, and the list of videos that DAVIS has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []
        (folder / "Annotations").mkdir()

    def add(self, video: MaskletVideo) -> None:
        """Writes one video."""
        save_masks(
            self.folder / "Annotations" / video.name,
            self.frames(video),
            frame_size=video.frame_size,
            num_frames=video.num_frames,
            format="davis",
        )
        self.names.append(video.name)

    def frames(self, video: MaskletVideo) -> Iterator[FrameMasks]:
        """The video's masks."""
        return video.read()

    def close(self) -> None:
        """Writes the list of videos."""
        (self.folder / "ImageSets").mkdir()
        (self.folder / "ImageSets" / "all.txt").write_text("\n".join([*self.names, ""]))


class _YoutubeWriter(_PngWriter):
    """The same pictures, and `meta.json` with each object's class and frames."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.meta: dict[str, Any] = {}

    def frames(self, video: MaskletVideo) -> Iterator[FrameMasks]:
        """The video's masks; on the way it is noted which object is on which frame."""
        objects: dict[str, dict[str, Any]] = {
            str(masklet.object_id): {"category": masklet.label or "object", "frames": []}
            for masklet in video.masklets
        }
        for frame in video.read():
            for object_id, mask in zip(frame.object_ids.tolist(), frame.masks, strict=True):
                if mask.any():
                    objects[str(object_id)]["frames"].append(f"{frame.frame_index:05d}")
            yield frame
        self.meta[video.name] = {"objects": objects}

    def close(self) -> None:
        """Writes `meta.json`."""
        content = json.dumps({"videos": self.meta}, indent=1)
        (self.folder / "meta.json").write_text(content, encoding="utf-8")


_WRITERS: dict[str, Callable[[Path], Writer]] = {
    "sa-v": _SavWriter,
    "davis": _PngWriter,
    "youtube-vos": _YoutubeWriter,
    "coco": CocoWriter,
}

FORMATS = tuple(_WRITERS)
"""Names of the formats."""
