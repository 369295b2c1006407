"""What the worker's thread tells the window's thread."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.napari_plugin.document import Document, Step
from sam2_plugins.napari_plugin.frame_labels import FrameLabels
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.models import Download
from sam2_plugins.napari_plugin.prompts import PromptKey, SlicePrompts
from sam2_plugins.napari_plugin.session import Knowledge
from sam2_plugins.napari_plugin.session_folders import SavedSession

if TYPE_CHECKING:
    from sam2_plugins.napari_plugin.runs import Run

_LOGGER = logging.getLogger(__name__)
Letter = tuple[Document | None, Any]


@dataclass(frozen=True)
class Status:
    """What is being done, in words; `is_working` while it lasts."""

    text: str
    is_working: bool = False


READY = Status("ready")


@dataclass(frozen=True)
class Progress:
    """How much of a run is done, 0 to 1."""

    share: float


@dataclass(frozen=True)
class Failure:
    """Something did not work: why, and which prompts of a step are therefore not in force."""

    message: str
    refused: tuple[PromptKey, ...] = ()
    step: Step | None = None

    @classmethod
    def of(cls, error: Exception, *refused: PromptKey, step: Step | None = None) -> "Failure":
        """An error in words; one that nobody expects is logged whole."""
        # Full disks, folders without rights, names that are too long: they say what is wrong.
        known = ValueError | KeyError | OSError | RuntimeError
        if not isinstance(error, known) and type(error).__name__ != "DownloadCancelled":
            _LOGGER.exception("unexpected error")
        message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        return cls(message or type(error).__name__, refused, step)


@dataclass(frozen=True)
class Made:
    """All that there was to be done for a step was done, or has failed."""

    step: Step


@dataclass(frozen=True)
class Known:
    """A session's prompts and locks changed."""

    plane: Plane
    knowledge: Knowledge


@dataclass(frozen=True)
class RunEnded:
    """A run is over, was cancelled, or has failed; `num_frames` got something new."""

    step: Step
    num_frames: int
    was_cancelled: bool
    has_failed: bool = False


@dataclass(frozen=True)
class Suggestion:
    """The frame most worth checking; None where nothing was tracked."""

    plane: Plane
    frame_index: int | None


@dataclass(frozen=True)
class Restorable:
    """Earlier work on this image that was saved, and can be restored.

    Attributes:
        sessions: The newest first.
        is_open_elsewhere: Another window, or another layer of the same image, is worked on too.
    """

    sessions: tuple[SavedSession, ...] = ()
    is_open_elsewhere: bool = False


@dataclass(frozen=True)
class Saving:
    """Where the work on an image is saved (None for nowhere), and what is wrong with that."""

    folder: Path | None
    problem: str = ""


@dataclass(eq=False)
class Wish:
    """A run wants edits to be made, and waits.

    The window records them and has them made as it does with those of a person: so steps are in
    the order of the edits, whatever was said while the run waited.

    Attributes:
        run: Whose wish it is.
        choose: Gives what is to be said of an image as it is now, in the window's thread.
        make: Makes the edits of a step, in the worker's thread; False where nothing came of it.
        is_taken: The edits come before the run's next step.
        is_granted: What `make` returned.
    """

    run: "Run"
    choose: Callable[[Document], dict[PromptKey, SlicePrompts]]
    make: Callable[[Step, dict[PromptKey, SlicePrompts]], bool]
    is_taken: threading.Event = field(default_factory=threading.Event)
    is_granted: bool = False

    def work(self, step: Step, said: dict[PromptKey, SlicePrompts]) -> list[Plane]:
        """Make the edits; returns the planes to be redrawn, which are none: the run draws."""
        self.is_granted = self.make(step, said)
        return []


@dataclass(frozen=True)
class RunRequest:
    """What to propagate.

    Attributes:
        planes: Whose frames.
        object_ids: Of these objects.
        direction: "both", "forward" or "backward".
        start: First frame; the first of all if not given.
        stop: Frame after the last; the end if not given.
        stop_after_absent: Give up on an object after so many frames without it.
        min_iou: End a way at the first mask with a predicted IoU below.
        time_axis: Carry the volume along this axis, forward or backward in time.
    """

    planes: tuple[Plane, ...]
    object_ids: tuple[int, ...]
    direction: str = "both"
    start: int | None = None
    stop: int | None = None
    stop_after_absent: int | None = None
    min_iou: float = 0.0
    time_axis: int | None = None


_A_MOMENT_S = 0.12
"""What takes less is not said to be going on."""


class Outbox:
    """Messages to the window's thread, each with the document it is about.

    Of the labels of one frame only the latest count, and of a download only how far it is now. Of
    what is being done only the latest is said, too, and nothing of what is over in a moment: to
    draw it would keep the answer waiting.

    Args:
        wake: Called from the worker's thread when there is something new.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self._messages: deque[Letter] = deque()
        self._labels: dict[tuple[Document | None, Plane, int], Letter] = {}
        self._download: Letter | None = None
        self._status: Letter | None = None
        self._working_since: float | None = None
        self._num_wishes = 0
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        with self._lock:
            return bool(self._messages or self._labels or self._download or self._status)

    @property
    def has_wish(self) -> bool:
        """Whether a run waits for an answer."""
        return self._num_wishes > 0

    def post(self, message: Any, document: Document | None = None) -> None:
        """Leave a message."""
        with self._lock:
            if isinstance(message, FrameLabels):
                key = (document, message.plane, message.frame_index)
                self._labels[key] = (document, message)
            elif isinstance(message, Download):
                self._download = (document, message)
            elif isinstance(message, Status):
                self._status = (document, message)
                if not message.is_working:
                    self._working_since = None
                elif self._working_since is None:
                    self._working_since = time.monotonic()
            else:
                self._num_wishes += isinstance(message, Wish)
                self._messages.append((document, message))
        self.wake()

    def take(self) -> "Letter | None":
        """The next message; the end of a run comes after its masks, that of a load after bytes.

        None where there is none, or none to be said yet.
        """
        with self._lock:
            if self._labels:
                return self._labels.pop(next(iter(self._labels)))
            if self._download is not None:
                download, self._download = self._download, None
                return download
            if self._messages:
                letter = self._messages.popleft()
                self._num_wishes -= isinstance(letter[1], Wish)
                return letter
            since = self._working_since
            if since is not None and time.monotonic() - since < _A_MOMENT_S:
                return None
            status, self._status = self._status, None
            return status
