"""Masks as PNG files beside the database: written before the labels that refer to them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.sources import Unit
from sam2_plugins.fiftyone_plugin.store import UnitLabels, remove_files


class MaskFiles:
    """The files of one run over one video; does nothing where masks are kept in the database.

    Args:
        options: Say where.
        unit: The video.
        run_id: Of the run; files of two runs never have the same name.
    """

    def __init__(self, options: Options, unit: Unit, run_id: str) -> None:
        self._is_used = options.mask_storage == "path"
        self._field = options.field
        chosen = options.mask_dir or Path(fo.config.default_dataset_dir) / "sam2-masks"
        unit_name = re.sub(r"\W+", "-", unit.unit_id)
        self._folder = Path(chosen).expanduser().absolute() / self._field / unit_name
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
                    folder = self._run_folder / str(identity.index)
                    folder.mkdir(parents=True, exist_ok=True)
                    path, part = folder / f"{number:06d}.png", folder / f".{number:06d}.part"
                    write_mask_file(label.mask, str(part))
                    part.replace(path)
                    label.mask, label.mask_path = None, str(path)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files of this video that labels no longer refer to; no others."""
        written = self._run_folder
        remove_files((path for path in paths if written not in Path(path).parents), self._folder)

    def remove_strays(self, labels: UnitLabels) -> None:
        """Remove what a killed run wrote and no label refers to."""
        if not self._folder.is_dir():
            return
        used = labels.mask_paths(self._field)
        files = (str(path) for path in self._folder.rglob("*") if path.is_file())
        remove_files((path for path in files if path not in used), self._folder)


def write_mask_file(mask: NDArray[np.bool_], path: str) -> None:
    """Write a mask as an 8-bit PNG, 255 is object: what FiftyOne reads from a `mask_path`."""
    Image.fromarray(mask.astype(np.uint8) * 255).save(path, format="PNG")
