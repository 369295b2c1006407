"""Datasets of FiftyOne as training data: their masks are written to a folder, then learnt from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from sam2_plugins.fiftyone_plugin.masklet_video import MaskletVideo
    from sam2_plugins.fiftyone_plugin.sources import Unit

PREFIX = "fiftyone:"


def add_dataset_options(parser: argparse.ArgumentParser) -> None:
    """Add which part of a dataset is meant."""
    group = parser.add_argument_group(f"data from FiftyOne, as {PREFIX}DATASET")
    group.add_argument("--field", default="masks", help="field of detections with masks (masks)")
    group.add_argument("--view", help="a saved view of the dataset")


def data_folder(arguments: argparse.Namespace, run_folder: Path) -> Path:
    """The folder of data that is meant; a dataset of FiftyOne is written to one first.

    Args:
        arguments: With `data`, `field`, `view` and `resume`.
        run_folder: Gets the masks of a dataset, in `data`. A run that goes on uses those that it
            began with.

    Raises:
        ValueError: There is no such dataset, view or field, or no mask in it.
    """
    name = str(arguments.data)
    if not name.startswith(PREFIX):
        return Path(name)
    folder = run_folder / "data"
    if arguments.resume and folder.is_dir():
        return folder
    run_folder.mkdir(parents=True, exist_ok=True)
    count = _export(name.removeprefix(PREFIX), folder, field=arguments.field, view=arguments.view)
    say(f"wrote the masks of {count} videos and images to {folder}")
    return folder


def _export(name: str, folder: Path, *, field: str, view: str | None) -> int:
    """Write the masks that nobody rejected; returns of how many videos and images."""
    from sam2_plugins.fiftyone_plugin.importing import import_fiftyone

    fiftyone = import_fiftyone()
    from sam2_plugins.fiftyone_plugin.exporting import MANIFEST, write_folder
    from sam2_plugins.fiftyone_plugin.masklet_video import unique_names
    from sam2_plugins.fiftyone_plugin.tracks import check_masks_field, list_media

    if not fiftyone.dataset_exists(name):
        raise ValueError(f"FiftyOne has no dataset {name!r}")
    dataset = fiftyone.load_dataset(name)
    if view is not None and not dataset.has_saved_view(view):
        raise ValueError(f"dataset {name!r} has no saved view {view!r}")
    units = list_media(dataset.load_saved_view(view) if view else dataset)
    check_masks_field(dataset, field, is_video=units[0].is_video if units else None)
    names = unique_names(Path(unit.paths[0]).stem for unit in units)

    def videos() -> Iterator[MaskletVideo]:
        for unit, title in zip(units, names, strict=True):
            video = _masks_of(dataset, unit, field, name=title)
            if video is not None:
                yield video

    count = write_folder(folder, videos(), name="sa-v", replace=True)
    _add_paths(folder / MANIFEST, dict(zip(names, units, strict=True)))
    return count


def _masks_of(dataset: Any, unit: Unit, field: str, *, name: str) -> MaskletVideo | None:
    from sam2_plugins.fiftyone_plugin.masklet_reading import read_video
    from sam2_plugins.fiftyone_plugin.reviewing import current_verdicts
    from sam2_plugins.fiftyone_plugin.tracks import read_tracks

    tracks = read_tracks(dataset, unit, field)
    verdicts = current_verdicts(dataset[unit.sample_ids[0]], tracks.values(), field)
    rejected = {key for key, verdict in verdicts.items() if verdict == "reject"}
    return read_video(dataset, unit, field, name=name, left_out=rejected)


def _add_paths(manifest: Path, units: dict[str, Unit]) -> None:
    """Note all images of ordered groups: the export itself names the first."""
    content = json.loads(manifest.read_text(encoding="utf-8"))
    for entry in content["videos"]:
        if len(units[entry["name"]].paths) > 1:
            entry["paths"] = list(units[entry["name"]].paths)
    manifest.write_text(json.dumps(content, indent=1), encoding="utf-8")
