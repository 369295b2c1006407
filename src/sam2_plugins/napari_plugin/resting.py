"""Trackers wait in files while no model is loaded: one in memory would hold the model."""

import itertools
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from sam2_plugins.napari_plugin.frames import ImageStack
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.session import LockedMask, PlaneSession
from sam2_plugins.napari_plugin.trackers import load_tracker

if TYPE_CHECKING:
    from sam2_plugins.core import SAM2


class RestingSessions:
    """Sessions whose trackers were put away, by plane. The files go when this object does."""

    def __init__(self) -> None:
        self._sessions: dict[Plane, tuple[PlaneSession, Path, list[LockedMask]]] = {}
        self._folder: Path | None = None
        self._numbers = itertools.count()

    @property
    def planes(self) -> list[Plane]:
        """Whose sessions are here."""
        return list(self._sessions)

    def put(self, session: PlaneSession) -> None:
        """Write a session's tracker to a file, and let go of it.

        Raises:
            OSError: It cannot be written; the session stays as it is.
        """
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="sam2-resting-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        path = self._folder / f"{next(self._numbers)}.session"
        session.tracker.save(path)
        self._sessions[session.plane] = session, path, session.locked()
        del session.tracker

    def wake(self, plane: Plane, model: "SAM2", stack: ImageStack) -> PlaneSession | None:
        """Open the session of a plane again; None if it is not here."""
        if plane not in self._sessions:
            return None
        session, path, _ = self._sessions[plane]
        session.tracker = load_tracker(path, model, stack, plane)
        del self._sessions[plane]
        return session

    def forget(self) -> dict[Plane, list[LockedMask]]:
        """Drop all sessions; returns their locked masks."""
        locked = {plane: masks for plane, (_, _, masks) in self._sessions.items()}
        self._sessions.clear()
        return locked
