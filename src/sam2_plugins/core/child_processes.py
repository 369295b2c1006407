"""How other processes of this program are started, and end."""

import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from threading import Thread


def child_method(*modules: str) -> str:
    """The start method of processes that share work with this one.

    Where it is safe they are forked from a process that has imported what they need and does
    nothing else: PyTorch takes seconds to import, and so only the first one waits for it. They
    are never forked from this process, whose threads, and the locks these hold, they would inherit
    as they stand.

    Args:
        modules: That every such process needs, by name. What the first call names counts.

    Returns:
        "forkserver" or "spawn".
    """
    if sys.platform != "linux":  # the libraries of others may not be forked after their import
        return "spawn"
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(modules))
    return "forkserver"


def child_context(*modules: str) -> BaseContext:
    """The context of `child_method`."""
    return multiprocessing.get_context(child_method(*modules))


def interrupt_with_parent() -> None:
    """In a process that was started: when the one that started it has died, SIGINT comes."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=watch, name="parent", daemon=True).start()


def is_parent_alive() -> bool:
    """Whether the process that started this one is there."""
    parent = multiprocessing.parent_process()
    return parent is None or parent.is_alive()
