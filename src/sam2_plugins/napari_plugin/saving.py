"""Autosave: where the work on an image is saved, and what happens where it cannot be.

Beside an image `stack.tif`, work is saved in `stack.tif.sam2`; otherwise in a folder of the user's.
Either holds one folder per session, named for the image's pixels: the image is known again whatever
its layer is called and wherever its file was moved. All of this is the worker's.
"""

import logging
import shutil
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.napari_plugin.document import Document
from sam2_plugins.napari_plugin.frame_labels import FrameLabels
from sam2_plugins.napari_plugin.frames import ImageStack
from sam2_plugins.napari_plugin.journal import PROMPTS, Journal, Saved
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.messages import Failure, Restorable, Saving
from sam2_plugins.napari_plugin.session import PlaneSession
from sam2_plugins.napari_plugin.session_folders import (
    SavedSession,
    beside_image,
    hidden_files,
    is_taken,
    make_folder,
    take,
)

if TYPE_CHECKING:
    from filelock import FileLock

_LOGGER = logging.getLogger(__name__)
_ADVICE = "choose another autosave folder in Preferences ▸ SAM 2"


@dataclass(frozen=True, slots=True)
class Places:
    """Where work may be saved.

    Attributes:
        folder: The user's; None to save nothing.
        is_beside: Beside the image instead, if that is a file or folder on this computer.
    """

    folder: Path | None = None
    is_beside: bool = False


class Saver:
    """Saves the work on one image; where that fails it says so, once, and work goes on.

    Args:
        stack: The image; its signature tells it from others.
        post: Leaves a message for the window's thread.
        path: Where the image was read from, if known.
    """

    def __init__(
        self, stack: ImageStack, post: Callable[[Any], None], *, path: str | None = None
    ) -> None:
        self._stack = stack
        self._post = post
        self._path = path
        self._places = Places()
        self._journal: Journal | None = None
        self._lock: FileLock | None = None
        self._is_failing = False
        self._said: Document | None = None

    @property
    def folder(self) -> Path | None:
        """Of this session; None before anything was saved."""
        return None if self._journal is None else self._journal.folder

    def open(self, places: Places) -> None:
        """Save in these places from now on; tells of the place, and of earlier work if any is."""
        self._places = places
        if places.folder is None:
            self._post(Saving(None))
            return
        with self._telling():
            self._post(Saving(self._roots()[0]))
            self._post(self._find_earlier())

    def move(self, places: Places) -> None:
        """Save in other places from now on; what this session has saved goes there too."""
        journal = self._journal
        if journal is None:
            self.open(places)
            return
        self._places = places
        if places.folder is None or journal.folder.parent == self._roots()[0]:
            return
        old, old_lock = journal.folder, self._lock
        with self._telling(f"work is still saved in {old.parent}"):
            found = self._new_folder()
            if found is None:
                return
            shutil.copytree(old, found[0], dirs_exist_ok=True, ignore=hidden_files)
            journal.folder, self._lock = found
            if old_lock is not None:
                old_lock.release()
            shutil.rmtree(old, ignore_errors=True)

    def say(self, document: Document) -> None:
        """Save what was said: prompts, objects and locks."""
        self._said = document
        with self._telling():
            journal = self._begin()
            if journal is not None:
                journal.write_prompts(journal.describe(document))
                self._is_failing = False

    def add(self, found: FrameLabels) -> None:
        """Save a finished slice."""
        with self._telling():
            journal = self._begin()
            if journal is not None and journal.add(found):
                self._is_failing = False

    def add_trackers(
        self, sessions: Mapping[Plane, PlaneSession], *, behind: Container[Plane] = ()
    ) -> None:
        """Save what trackers know, so that they go on there.

        Args:
            sessions: With the trackers.
            behind: Planes on which more was drawn than the tracker knows.
        """
        with self._telling():
            journal = self._begin()
            if journal is None:
                return
            for plane, session in sessions.items():
                session.tracker.save(journal.session_file(plane))
                journal.saved_tracker(plane, knows_all=plane not in behind)
            if self._said is not None:
                # It names the trackers' files.
                journal.write_prompts(journal.describe(self._said))

    def read(self, folder: Path | None = None) -> Saved:
        """Read earlier work, and go on with it where it is, or in a copy where that is read-only.

        Args:
            folder: Of the session; the newest that no other window has if not given.

        Raises:
            FileNotFoundError: Nothing was saved.
            OSError: It cannot be read.
            ValueError: It is of another image, or of a later version; or what is on show is not
                saved, and would be lost.
        """
        if folder is None:
            found = self._find_earlier().sessions
            folder = found[0].folder if found else None
        if folder is None:
            raise FileNotFoundError("nothing was saved of this image")
        if self._said is not None and self._said.prompts and (not self.folder or self._is_failing):
            raise ValueError("the work on show is not saved, and would be lost: export it first")
        earlier = folder
        try:
            lock = take(folder)
        except OSError:
            made = self._new_folder()
            if made is None:
                raise
            earlier, lock = made
            shutil.copytree(folder, earlier, dirs_exist_ok=True, ignore=hidden_files)
        if lock is None:
            raise ValueError("this work is open in another window: close the image there first")
        journal = Journal(earlier, self._stack.signature, path=self._path)
        try:
            saved = journal.read()
        except (OSError, ValueError, KeyError):
            lock.release()
            raise
        self._let_go()
        self._journal, self._lock, self._said = journal, lock, None
        self._post(Saving(earlier.parent))
        self._post(self._find_earlier())
        return saved

    def say_last(self, document: Document) -> None:
        """Save what was said, if anything was."""
        if document.prompts or self.folder is not None:
            self.say(document)

    def close(self) -> None:
        """Save nothing more; another window may go on with the session."""
        self._places = Places()
        self._let_go()

    # Inside

    def _let_go(self) -> None:
        if self._lock is not None:
            self._lock.release()
        self._journal = self._lock = None

    def _roots(self) -> list[Path]:
        """Folders for sessions, the one that is wanted first."""
        folder, beside = self._places.folder, beside_image(self._path)
        assert folder is not None
        if beside is None or not self._places.is_beside:
            return [folder]
        return [beside, folder]

    def _find_earlier(self) -> Restorable:
        """Other sessions of this image, in either place."""
        signature = self._stack.signature
        roots = {self._places.folder, beside_image(self._path)}
        found = [
            SavedSession(path, (path / PROMPTS).stat().st_mtime, num_objects)
            for root in roots
            if root is not None and root.is_dir()
            for path in root.glob(f"{signature}*")
            if path != self.folder and (num_objects := Journal(path, signature).num_objects)
        ]
        free = [session for session in found if not is_taken(session.folder)]
        free.sort(key=lambda session: session.saved_s, reverse=True)
        return Restorable(tuple(free), is_open_elsewhere=len(free) < len(found))

    def _begin(self) -> Journal | None:
        """The journal, begun when it is first needed: an image that is only seen leaves nothing."""
        if self._journal is None and self._places.folder is not None:
            found = self._new_folder()
            if found is None:
                # Said; it would be no better at the next slice.
                self._places = Places()
                return None
            folder, self._lock = found
            self._journal = Journal(folder, self._stack.signature, path=self._path)
        return self._journal

    def _new_folder(self) -> "tuple[Path, FileLock | None] | None":
        """An empty folder in the first place that can be written; None, and why, if none can."""
        roots = self._roots()
        reason = ""
        for number, root in enumerate(roots):
            try:
                found = make_folder(root, self._stack.signature)
            except OSError as error:
                reason = _reason(error)
                continue
            if number:
                where = f"it is saved in {root} instead"
                self._complain(root, f"work cannot be saved beside the image ({reason}): {where}")
            else:
                self._post(Saving(root))
            return found
        self._complain(None, f"work is not saved ({reason}): {_ADVICE}")
        return None

    def _complain(self, folder: Path | None, problem: str) -> None:
        self._post(Failure(problem))
        self._post(Saving(folder, problem))

    @contextmanager
    def _telling(self, what: str = "work is not saved") -> Iterator[None]:
        """Autosave is no reason to stop work: say once what fails, and go on."""
        try:
            yield
        except Exception as error:
            if not isinstance(error, OSError):
                _LOGGER.exception(what)
            if not self._is_failing:
                self._is_failing = True
                self._complain(self.folder, f"{what} ({_reason(error)})")


def _reason(error: Exception) -> str:
    """What went wrong, and with which file, without the system's number for it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}"
    return str(error) or type(error).__name__
