"""Loading a model in a thread of its own, so that giving it up takes no time."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from sam2_plugins.napari_plugin.models import Loading, ModelChoice

if TYPE_CHECKING:
    from sam2_plugins.core import SAM2

GRACE_S = 0.5
"""So long a load that was cancelled may take to say where it ended."""


class ModelLoad:
    """One load, from `start` until it is over: done, failed or given up.

    A server that says nothing keeps its thread waiting; who has cancelled does not wait for it.

    Args:
        choice: The model.
        load: Loads it, in the thread.
        progress: Of a download; see `Loading`.
        on_over: Called once, from whichever thread ends it.
    """

    def __init__(
        self,
        choice: ModelChoice,
        *,
        load: Callable[[Loading], "SAM2"],
        progress: Callable[[int, int], None],
        on_over: Callable[["ModelLoad"], None] = lambda over: None,
    ) -> None:
        self.choice = choice
        self._on_over = on_over
        self._is_cancelled = threading.Event()
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._model: SAM2 | None = None
        self._error: Exception | None = None
        self._progress = progress
        loading = Loading(choice, self._tell, self._is_cancelled.is_set)
        self._thread = threading.Thread(
            target=self._run, args=(load, loading), name="sam2-model", daemon=True
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def result(self) -> "SAM2":
        """The model, as soon as it is there; raises what `load` has raised."""
        self._is_over.wait()
        if self._error is not None:
            raise self._error
        assert self._model is not None
        return self._model

    def cancel(self) -> None:
        """Give it up; it is over in a moment."""
        self._is_cancelled.set()
        cancelled = RuntimeError(f"the loading of {self.choice.name} was cancelled")
        timer = threading.Timer(GRACE_S, self._end, (None, cancelled))
        timer.daemon = True
        timer.start()

    def _tell(self, done_bytes: int, total_bytes: int) -> None:
        if not self._is_cancelled.is_set():
            self._progress(done_bytes, total_bytes)

    def _run(self, load: Callable[[Loading], "SAM2"], loading: Loading) -> None:
        try:
            self._end(load(loading), None)
        except Exception as error:
            self._end(None, error)

    def _end(self, model: "SAM2 | None", error: Exception | None) -> None:
        with self._lock:
            if self._is_over.is_set():
                return
            self._model, self._error = model, error
            self._is_over.set()
        self._on_over(self)
