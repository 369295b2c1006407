"""Folders of sessions: where they lie, and which of them another window has open."""

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

_LOGGER = logging.getLogger(__name__)
ENDING = ".sam2"
_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class SavedSession:
    """Earlier work on an image.

    Attributes:
        folder: Where it is.
        saved_s: When something was said last, in seconds since 1970.
        num_objects: How many objects it has.
    """

    folder: Path
    saved_s: float
    num_objects: int

    @property
    def title(self) -> str:
        """In words."""
        when = datetime.fromtimestamp(self.saved_s).strftime("%Y-%m-%d %H:%M")
        return f"{when} · {self.num_objects} object{'s' * (self.num_objects != 1)}"


def beside_image(path: str | None) -> Path | None:
    """The folder for the work on an image that was read from a path; None if it is not here."""
    image = None if not path else Path(path)
    if image is None or not image.exists() or not image.name:
        return None
    image = image.absolute()
    return image.with_name(image.name + ENDING)


def make_folder(root: Path, name: str) -> tuple[Path, FileLock | None]:
    """Make a folder that was not there, named so or with a number, and lock it.

    Raises:
        OSError: The root cannot be written.
    """
    root.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        folder = root / (f"{name}-{number}" if number else name)
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder, take(folder)


def is_taken(folder: Path) -> bool:
    """Whether another window works on a session."""
    try:
        lock = take(folder)
    except OSError:
        return False  # read-only: nobody can
    if lock is not None:
        lock.release()
    return lock is None


def take(folder: Path) -> FileLock | None:
    """Lock a session's folder until released or this process ends; None if another has it.

    Raises:
        OSError: It cannot be written.
    """
    # Not of one thread: the worker locks, and whoever drops the saver lets go.
    lock = FileLock(folder / _LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    except NotImplementedError:
        # A file system without locks: two windows on one image are rarer than those.
        _LOGGER.info("%s cannot be locked", folder)
    return lock


def hidden_files(folder: str, names: list[str]) -> list[str]:
    """What is not copied with a session: its lock, and files that were never finished."""
    return [name for name in names if name.startswith(".")]
