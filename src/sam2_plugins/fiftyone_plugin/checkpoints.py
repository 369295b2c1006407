"""A tracker that is put aside now and then, so that a run that was killed goes on in the middle.

The file belongs to exactly what a run had to do: with other prompts, another model or other frames
it is not found, and it is removed when the video is done. It is a help, never a condition: where it
cannot be written or read, tracking begins anew.
"""

import logging
import re
import shutil
import time
from pathlib import Path
from typing import Any

import fiftyone as fo
from sam2_plugins.core import SAM2, FrameSource, VideoTracker
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.sources import Unit

EVERY_S = 30.0
"""A tracker is put aside so often, but so rarely that it takes a twentieth of the time at most."""
_SHARE = 20

logger = logging.getLogger(__name__)


class Checkpoint:
    """The file of one run over one video.

    Args:
        folder: Of the video; nothing else is in it.
        digest: Of all that the run has to do.
        every_s: How often the tracker is put aside.
    """

    def __init__(self, folder: Path, digest: str, *, every_s: float | None = None) -> None:
        self.path = folder / f"{digest}.session"
        self._every_s = EVERY_S if every_s is None else every_s
        self._due = time.monotonic() + self._every_s

    def load(self, model: SAM2, frames: FrameSource) -> VideoTracker | None:
        """The tracker as it was put aside; None where there is none, or it does not fit."""
        if not self.path.exists():
            return None
        try:
            return VideoTracker.load(self.path, model, frames)
        except (OSError, ValueError, KeyError) as error:
            logger.warning("tracking begins anew: %s", error)
            return None

    def keep(self, tracker: VideoTracker) -> None:
        """Put the tracker aside, if it is time to."""
        if time.monotonic() >= self._due:
            self.save(tracker)

    def save(self, tracker: VideoTracker) -> None:
        """Put the tracker aside."""
        began = time.monotonic()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            tracker.save(self.path)
        except OSError as error:
            logger.warning("the tracker cannot be put aside: %s", error)
        ended = time.monotonic()
        self._due = ended + max(self._every_s, _SHARE * (ended - began))

    def remove(self) -> None:
        """The video is done: neither this file nor those of earlier runs are needed."""
        shutil.rmtree(self.path.parent, ignore_errors=True)


def find_checkpoint(dataset: Any, unit: Unit, options: Options, digest: str) -> Checkpoint:
    """Where the tracker of a run is put aside: always at the same place for the same work."""
    base = Path(options.work_dir or Path(fo.config.default_dataset_dir) / "sam2-work").expanduser()
    name = re.sub(r"\W+", "-", f"{unit.unit_id}-{options.field}")
    return Checkpoint(base / str(dataset._doc.id) / name, digest)  # noqa: SLF001 - the lasting name
