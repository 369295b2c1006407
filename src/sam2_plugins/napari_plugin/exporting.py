"""Formats that masks can be written in, as a person chooses them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExportFormat:
    """One way to keep masks.

    Attributes:
        title: In words.
        ending: Of the path; it says which format is meant.
        others: Further endings that mean the same.
    """

    title: str
    ending: str
    others: tuple[str, ...] = ()

    @property
    def filter(self) -> str:
        """The entry of a file dialog."""
        return f"{self.title} (*{self.ending})"

    def path(self, chosen: str) -> str:
        """A path with this format's ending.

        Args:
            chosen: By a person, with or without an ending.
        """
        path = Path(chosen)
        endings = [(e, f) for f in FORMATS for e in (f.ending, *f.others) if path.name.endswith(e)]
        ending, meant = max(endings, key=lambda found: len(found[0]))
        # The ending of another format would mean that one, and so would an unknown one of a folder.
        name = path.name if meant is self else path.name.removesuffix(ending) + self.ending
        return str(path.with_name((name if self.ending else name.replace(".", "_")) or "masks"))


TIFF = ExportFormat("TIFF label stack", ".tif", (".tiff",))
FORMATS = (
    TIFF,
    ExportFormat("OME-Zarr labels", ".zarr"),
    ExportFormat("Cell Tracking Challenge folder", "_RES"),
    ExportFormat("SA-V masklets", ".json"),
    ExportFormat("COCO with track ids", ".coco.json"),
    ExportFormat("Folder of PNGs (DAVIS)", ""),
)
FILTER = ";;".join(entry.filter for entry in FORMATS)


def chosen_path(path: str, chosen_filter: str) -> str:
    """What a file dialog's answer means: the format's ending is added where it is missing.

    Args:
        path: As it was typed or picked.
        chosen_filter: The dialog's entry; one that is not ours leaves the path as it is.
    """
    for entry in FORMATS:
        if entry.filter == chosen_filter:
            return entry.path(path)
    return path
