"""Signs of life: a thread that renews a document's time, and how to tell that it stopped."""

import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pymongo.errors import PyMongoError

LEASE_S, BEAT_S = 60.0, 10.0
"""How long a worker that says nothing counts as alive, and how often it says something."""


class Heartbeat:
    """Renews the field `heartbeat` of a document until it is closed.

    Args:
        documents: The collection.
        mine: Which document; where it is no longer there, nothing is written.
    """

    def __init__(self, documents: Any, mine: Mapping[str, Any]) -> None:
        self._documents = documents
        self._mine = mine
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="sam2-heartbeat")
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._ended.set()
        self._thread.join(timeout=1)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self._documents.update_one(self._mine, {"$currentDate": {"heartbeat": True}})
            except PyMongoError:
                continue  # the worker itself waits for the database, and says so


def is_silent() -> dict[str, Any]:
    """A filter: nothing was heard for so long that the worker counts as dead.

    By the server's clock, since those of workers differ.
    """
    limit = {"$subtract": ["$$NOW", int(LEASE_S * 1000)]}
    return {"$expr": {"$lt": ["$heartbeat", limit]}}


def process_name() -> dict[str, Any]:
    """This process, as documents name it."""
    return {"host": host_name(), "pid": os.getpid()}


def is_known_dead(document: Mapping[str, Any]) -> bool:
    """Whether a document names a process of this machine that is gone: no need to wait for it."""
    return bool(document["host"] == host_name() and not is_process_alive(document["pid"]))


def host_name() -> str:
    """This machine; within it, the space in which process ids mean something."""
    try:
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        space = ""
    return f"{socket.gethostname()}/{space}"


def is_process_alive(pid: int) -> bool:
    """Whether a process of this machine exists and has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return True
    return status[:1] != ["Z"]
