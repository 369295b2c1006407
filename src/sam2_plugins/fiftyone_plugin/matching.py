"""Which video, group or image of a dataset a video in files is, and what it is called there."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sam2_plugins.fiftyone_plugin.masklet_video import MaskletVideo
    from sam2_plugins.fiftyone_plugin.sources import Unit

__all__ = ["common_folder", "match_videos", "media_names"]


def common_folder(paths: Sequence[str]) -> Path | None:
    """The folder that all files lie in or below; None where there is none."""
    try:
        return Path(os.path.commonpath([str(Path(path).parent) for path in paths]))
    except ValueError:  # on different drives
        return None


def media_names(units: Sequence[Unit]) -> list[str]:
    """What to call each: a group by the folder it has for itself, others by the (first) file."""
    folders = [_group_folder(unit) for unit in units]
    counts = Counter(folders)
    return [
        folder.name
        if folder is not None and folder.name and counts[folder] == 1
        else Path(unit.paths[0]).stem
        for unit, folder in zip(units, folders, strict=True)
    ]


def _group_folder(unit: Unit) -> Path | None:
    return None if unit.is_video or len(unit.paths) == 1 else common_folder(unit.paths)


def match_videos(
    videos: Sequence[MaskletVideo], units: Sequence[Unit]
) -> list[tuple[MaskletVideo, Unit]]:
    """Which of the dataset's videos each exported one is of: by file, else by its name.

    Several parts of one video may be of the same.

    Raises:
        ValueError: None fits, or a name fits several, or several of one name fit one.
    """
    index = _Index(units)
    pairs = []
    for video in videos:
        found = index.find(video)
        if len(found) > 1:
            raise ValueError(
                f"{video.name!r} may be of {len(found)} samples, such as {found[0].name}; import "
                "into a view or a selection with one of them"
            )
        pairs += [(video, unit) for unit in found]
    if not pairs:
        raise ValueError(
            f"no sample is of {', '.join(repr(video.name) for video in videos[:3])}; file names "
            "without ending, or folders of images in order, must be those of the export, such as "
            f"{media_names(units)[0]!r}"
        )
    (((name, _), count),) = Counter((video.name, unit) for video, unit in pairs).most_common(1)
    if count > 1:
        raise ValueError(f"{count} files have masks of {name!r}; import them apart")
    return pairs


class _Index:
    """Units by what files may call them."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self._by_path: dict[str, list[Unit]] = defaultdict(list)
        self._by_tail: dict[tuple[str, ...], list[Unit]] = defaultdict(list)
        self._by_folder: dict[str, list[Unit]] = defaultdict(list)
        self._by_stem: dict[str, list[Unit]] = defaultdict(list)
        for unit in units:
            path, folder = Path(unit.paths[0]), _group_folder(unit)
            self._by_path[unit.paths[0]].append(unit)
            self._by_tail[path.parts[-2:]].append(unit)
            self._by_stem[path.stem].append(unit)
            if folder is not None:
                self._by_folder[folder.name].append(unit)

    def find(self, video: MaskletVideo) -> list[Unit]:
        """Those that a video in files may be of, by the surest of the signs there are."""
        if video.source in self._by_path:
            return self._by_path[video.source]
        parts = Path(video.source).parts
        found = [
            unit
            for unit in self._by_tail.get(parts[-2:], ())
            if Path(unit.paths[0]).parts[-len(parts) :] == parts
        ]
        return (
            found
            or self._by_folder.get(video.name, [])
            or self._by_stem.get(video.name, [])
            or self._by_stem.get(Path(video.source).stem, [])
        )
