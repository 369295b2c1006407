"""Output that appears complete or not at all: written aside, then moved into place."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SOFTWARE", "explain_write_errors", "move_into_place", "staging_folder"]

SOFTWARE = "sam2-plugins"  # noted in what is written, so that only our own folders are replaced


@contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """A scratch folder beside `target`, on the same disk, gone afterwards whatever happens.

    Args:
        target: File or folder that is going to be written; its parent must exist.

    Raises:
        OSError: The parent is missing, no folder, or cannot be written to.
    """
    parent = target.parent
    if not parent.is_dir():
        raise FileNotFoundError(f"cannot write {target}: there is no folder {parent}")
    with explain_write_errors(target):
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def move_into_place(source: Path, target: Path) -> None:
    """Renames a finished file or folder; what stood at `target` is replaced.

    A folder is swapped: at no moment is there a mixture of old and new files.
    """
    if source.is_file():
        source.replace(target)
        return
    if target.exists():
        target.rename(source.with_name("replaced"))
    try:
        source.rename(target)
    except OSError:
        if source.with_name("replaced").exists():
            source.with_name("replaced").rename(target)
        raise


@contextmanager
def explain_write_errors(target: Path) -> Iterator[None]:
    """Turns an OSError inside into one of the same kind that names the output and the reason."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        explained = type(error)(f"cannot write {target}: {reason}")
        explained.errno = error.errno
        raise explained from error
