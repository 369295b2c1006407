"""Folders of masklets: videos with SA-V files beside them, and exports that name their videos."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam2_plugins.core.formats import load_masks
from sam2_plugins.core.formats.sav import read_json
from sam2_plugins.core.formats.stack import SavedMasks
from sam2_plugins.core.frames import open_frames
from sam2_plugins.core.training.labelled import LabelledStack
from sam2_plugins.core.training.labelled_stacks import LabelsWhenRead, read_stack

EXPORT = "sam2-export.json"
"""What an export of the FiftyOne plugin says of itself."""
VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm")
_KINDS = ("", "_manual", "_auto")
"""Endings of the names of SA-V's files, the best first."""


@dataclass(frozen=True, slots=True)
class MaskletFile:
    """The masks of one video.

    Attributes:
        name: What it is called.
        source: The video, or the images in order.
        masks: What `load_masks` takes.
    """

    name: str
    source: Path | Sequence[Path]
    masks: Path

    def read(self, *, max_side: int) -> LabelledStack:
        """Read the labelled frames, shrunk to a long side.

        A frame of which the file says nothing, not even that objects are absent, is not labelled.

        Raises:
            FileNotFoundError: The video is not there.
            ValueError: Masks and video do not fit, or no frame is labelled.
        """
        paths = [self.source] if isinstance(self.source, Path) else list(self.source)
        for path in paths:
            if not path.is_file():
                raise FileNotFoundError(f"{self.masks} holds masks of {path}, which is not there")
        saved = load_masks(self.masks)
        with closing(open_frames(self.source if len(paths) == 1 else paths)) as source:
            step = _step(saved, source.num_frames, self.masks)
            told = [index * step for index in range(len(saved)) if len(saved[index].object_ids)]
            if not told:
                raise ValueError(f"{self.masks} has no masks")
            labels = LabelsWhenRead(told, lambda frame: saved[frame // step].to_labels())
            return read_stack(self.name, source, labels, max_side=max_side, is_volume=False)


def find_masklets(root: Path) -> list[MaskletFile]:
    """The masklets below a folder: of an export, else the JSON files that lie beside videos.

    Of one video in SA-V's folders what people corrected is taken (`NAME_manual.json`), and only
    where there is none what was made without them (`NAME_auto.json`).

    Raises:
        ValueError: It is an export in a format that cannot be learnt from.
    """
    if (root / EXPORT).is_file():
        return list(_exported(root))
    found: dict[Path, Path] = {}
    for file in sorted(root.rglob("*.json")):
        video, rank = _video_of(file)
        if video is not None and (video not in found or rank < _video_of(found[video])[1]):
            found[video] = file
    return [MaskletFile(video.stem, video, file) for video, file in sorted(found.items())]


def _step(saved: SavedMasks, num_frames: int, path: Path) -> int:
    """Every how manyth frame of the video is annotated: in SA-V every fourth."""
    step = max(round(num_frames / len(saved)), 1)
    if (len(saved) - 1) * step >= num_frames:
        raise ValueError(f"{path} has masks of {len(saved)} frames, its video {num_frames}")
    return step


def _video_of(masklets: Path) -> tuple[Path | None, int]:
    """The video that a file of masklets lies beside, and how little people had to do with it."""
    for rank, kind in enumerate(_KINDS):
        stem = masklets.stem.removesuffix(kind)
        if kind and stem == masklets.stem:
            continue
        for ending in VIDEOS:
            if stem and (video := masklets.with_name(stem + ending)).is_file():
                return video, rank
    return None, len(_KINDS)


def _exported(root: Path) -> Iterator[MaskletFile]:
    content = read_json(root / EXPORT)
    kind, entries = content.get("format"), content.get("videos")
    if kind not in ("sa-v", "davis", "youtube-vos") or not isinstance(entries, list):
        raise ValueError(f"{root} is an export as {kind}; export sa-v, davis or youtube-vos")
    for entry in entries:
        name = str(entry["name"])
        masks = root / f"{name}.json" if kind == "sa-v" else root / "Annotations" / name
        yield MaskletFile(name, _source(entry), masks)


def _source(entry: dict[str, Any]) -> Path | list[Path]:
    paths = entry.get("paths")
    return [Path(path) for path in paths] if paths else Path(entry["source"])
