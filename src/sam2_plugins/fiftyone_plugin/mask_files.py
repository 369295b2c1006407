"""Masks as PNG files beside the database: written before the labels that refer to them.

A copy of a label, in another field or in a clone of the dataset, refers to the same file. So a file
is removed only where no label of the database refers to it.
"""

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fiftyone.core.odm as foo
import numpy as np
from bson import ObjectId
from numpy.typing import NDArray
from PIL import Image

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.labels import CHECKSUM
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.sources import Unit
from sam2_plugins.fiftyone_plugin.store import UnitLabels

_OF_DATASETS = {"sample_collection_name": {"$regex": r"^samples\."}}
"""Not of what views of clips, frames and patches are made from."""


class MaskFiles:
    """The files of one run over one video; does nothing where masks are kept in the database.

    Args:
        options: Say where.
        labels: Of the video.
        run_id: Of the run; files of two runs never have the same name.
    """

    def __init__(self, options: Options, labels: UnitLabels, *, run_id: str) -> None:
        self._is_used = options.mask_storage == "path"
        self._field = options.field
        self._labels = labels
        of_dataset = str(labels.dataset._doc.id)  # noqa: SLF001 - the only lasting name
        unit_name = re.sub(r"\W+", "-", labels.unit.unit_id)
        self._folder = mask_folder(options) / of_dataset / self._field / unit_name
        self._run_folder = self._folder / run_id

    def write(self, new: Mapping[int, Sequence[tuple[Any, Any | None]]]) -> None:
        """Move the masks of labels into files.

        Args:
            new: By frame number: whose label, and the label or None.

        Raises:
            OSError: A file cannot be written.
        """
        if not self._is_used:
            return
        for number, labels in new.items():
            for identity, label in labels:
                if label is not None and label.mask is not None:
                    # Not the index: two objects may have the same.
                    folder = self._run_folder / identity.instance_id
                    folder.mkdir(parents=True, exist_ok=True)
                    # A label that is there refers to its file until another takes its place.
                    name = f"{number:06d}-{label[CHECKSUM]}"
                    path, part = folder / f"{name}.png", folder / f".{name}.part"
                    if not path.exists():  # what a person has changed in it stays
                        write_mask_file(label.mask, str(part))
                        part.replace(path)
                    label.mask, label.mask_path = None, str(path)

    def remove_unused(self) -> None:
        """Remove the files of this video that no label refers to any more.

        Those of labels that were replaced, and what a killed run left. Files that versions before
        wrote are not in the folder of a dataset, and stay.
        """
        if not self._folder.is_dir():
            return
        # By another way to the same folder, as by a link, labels may name the same files otherwise.
        own = set(map(os.path.realpath, self._labels.mask_paths(self._field)))
        files = (str(path) for path in self._folder.rglob("*") if path.is_file())
        unused = [path for path in files if os.path.realpath(path) not in own]
        if unused:
            used = set(map(os.path.realpath, _paths_in_use(self._labels.unit)))
            remove_files(
                (path for path in unused if os.path.realpath(path) not in used), self._folder
            )


def mask_folder(options: Options) -> Path:
    """The folder of mask files, of all datasets."""
    chosen = options.mask_dir or Path(fo.config.default_dataset_dir) / "sam2-masks"
    return Path(chosen).expanduser().absolute()


def check_mask_folder(options: Options) -> None:
    """Make the folder of mask files, where there are to be any, before anything is tracked.

    Raises:
        OSError: It cannot be written to.
    """
    if options.mask_storage != "path":
        return
    folder = mask_folder(options)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f"mask_dir: cannot write into {folder}: {error.strerror}") from error


def write_mask_file(mask: NDArray[np.bool_], path: str) -> None:
    """Write a mask as an 8-bit PNG, 255 is object: what FiftyOne reads from a `mask_path`."""
    Image.fromarray(mask.astype(np.uint8) * 255).save(path, format="PNG")


def remove_files(paths: Iterable[str], root: Path) -> None:
    """Remove mask files, only below `root`, and the folders that this leaves empty."""
    for path in map(Path, paths):
        if root in path.parents:
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == root or not folder.is_dir() or any(folder.iterdir()):
                    break
                folder.rmdir()


def _paths_in_use(unit: Unit) -> Iterator[str]:
    """Mask files that labels on the same media refer to, in any field of any dataset.

    The database itself is asked: a field may be newer than what FiftyOne knows of the dataset here.
    """
    database = foo.get_db_conn()
    ids = [ObjectId(sample_id) for sample_id in unit.sample_ids]
    # Clones keep the ids of samples, copies of samples keep their files; both have an index.
    same = {"$or": [{"_id": {"$in": ids}}, {"filepath": {"$in": list(unit.paths)}}]}
    for dataset in list(database.datasets.find(_OF_DATASETS)):
        samples = database[dataset["sample_collection_name"]]
        found = [sample["_id"] for sample in samples.find(same, {"_id": True})]
        if found:
            yield from _mask_paths(samples, {"_id": {"$in": found}})
            frames = dataset.get("frame_collection_name")
            if frames:
                yield from _mask_paths(database[frames], {"_sample_id": {"$in": found}})


def _mask_paths(documents: Any, wanted: Mapping[str, Any]) -> Iterator[str]:
    """The `mask_path` of all labels of some documents, whatever the fields are called."""
    fields = {"value": {"$objectToArray": "$$ROOT"}}
    paths = {"single": "$value.v.mask_path", "listed": "$value.v.detections.mask_path"}
    steps = [{"$match": wanted}, {"$project": fields}, {"$unwind": "$value"}, {"$project": paths}]
    for row in documents.aggregate(steps):
        yield from _texts(row.get("single"))
        yield from _texts(row.get("listed"))


def _texts(value: Any) -> Iterable[str]:
    found = value if isinstance(value, list) else [value]
    return (entry for entry in found if isinstance(entry, str))
