"""Output that appears complete or not at all: written aside, then moved into place.

What is read is never written over, and of folders only those that this package has written.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sam2_plugins.core.frames.images import PICTURE_SUFFIXES, TIFF_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "SOFTWARE",
    "check_apart",
    "check_replaceable",
    "explain_write_errors",
    "move_into_place",
    "staging_folder",
]

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


def move_into_place(
    source: Path, target: Path, *, is_output: Callable[[Path], bool] | None = None
) -> None:
    """Renames a finished file or folder; what stood at `target` is replaced.

    A folder is swapped: at no moment is there a mixture of old and new files.

    Args:
        source: On the same disk.
        target: Where it goes.
        is_output: Whether a folder there is an earlier output of its kind; None for none is.

    Raises:
        ValueError: A folder would take the place of something else.
    """
    if source.is_file():
        source.replace(target)
        return
    check_replaceable(target, is_output)
    if target.exists():
        target.rename(source.with_name("replaced"))
    try:
        source.rename(target)
    except OSError:
        if source.with_name("replaced").exists():
            source.with_name("replaced").rename(target)
        raise


def check_replaceable(target: Path, is_output: Callable[[Path], bool] | None = None) -> None:
    """Refuse to put a folder where there is something else.

    Args:
        target: Of `move_into_place`.
        is_output: Likewise.

    Raises:
        ValueError: There is a file, or a folder that holds something else.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not target.is_dir():
        raise ValueError(f"{target} exists and is a file; choose another output")
    if is_output is None or not is_output(target):
        raise ValueError(
            f"{target} exists and is a folder that holds something else; choose another output"
        )


def check_apart(target: Path, sources: Iterable[Path]) -> None:
    """Refuse to write over what is read, or among it.

    Args:
        target: File or folder that is going to be written.
        sources: Files and folders that are read. Beside the images of a folder anything may be
            written that is no image; of a Zarr store everything is part.

    Raises:
        ValueError: The target is one of them, or would be taken for a part of one.
    """
    written = target.resolve()
    is_image = written.suffix.lower() in (*PICTURE_SUFFIXES, *TIFF_SUFFIXES)
    for source in sources:
        read = source.resolve()
        if written == read or (target.exists() and source.exists() and target.samefile(source)):
            raise ValueError(f"{target} is what is read; choose another output")
        if not read.is_dir():
            continue
        is_frame = read == written.parent and is_image
        if is_frame or (read in written.parents and read.suffix == ".zarr"):
            raise ValueError(f"{target} lies in {source}, which is read; choose another output")


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
