"""What the commands that track have in common: how far they are, what they write and keep."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from sam2_plugins.commands.console import progress, say, stop_request
from sam2_plugins.commands.overlay import draw, mark, write_overlay
from sam2_plugins.core.formats import save_masks

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from sam2_plugins.commands.frame_request import FrameRequest
    from sam2_plugins.core.masks import FrameMasks
    from sam2_plugins.core.tracked_frames import TrackedFrames
    from sam2_plugins.core.tracker import VideoTracker


def follow(shown: Generator[FrameMasks, None, None]) -> bool:
    """Track until the end, or until the user asks to stop; whether the end was reached.

    Args:
        shown: From `with_progress` or `with_count`.
    """
    with stop_request() as request, closing(shown):
        for _ in shown:
            if request.is_set:
                return False
    return True


def with_progress(found: TrackedFrames) -> Generator[FrameMasks, None, None]:
    """The masks of a run, as they are found, while it is shown how far it is."""
    return progress(
        found,
        total=found.num_visits,
        label="tracking",
        unit="steps",
        position=lambda: found.num_visited,
    )


def with_count(found: Iterable[FrameMasks]) -> Generator[FrameMasks, None, None]:
    """Masks, as they are found, while it is shown how many there are: the end is not known."""
    counts: dict[int, int] = {}
    total = 0

    def counted() -> Iterator[FrameMasks]:
        nonlocal total
        for frame in found:
            total += len(frame.object_ids) - counts.get(frame.frame_index, 0)
            counts[frame.frame_index] = len(frame.object_ids)
            yield frame

    return progress(
        counted(),
        total=None,
        label="tracking",
        unit="masks",
        position=lambda: total,
    )


def keep(tracker: VideoTracker, partial: Path, *, request: FrameRequest | None = None) -> None:
    """Save what was found for `--resume`, and say so; or say why it could not be saved.

    Args:
        tracker: With what it has found.
        partial: Where that is kept.
        request: What it was begun for.
    """
    scratch = partial.with_name(f".{partial.name}.new")
    try:
        tracker.save(scratch)
        if request:
            request.add_to(scratch)
        scratch.replace(partial)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        say(f"finished frames could not be kept in {partial}: {why}")
    else:
        say(f"finished frames are in {partial}: --resume continues")
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def kept_on_failure(
    tracker: VideoTracker,
    partial: Path,
    *,
    failures: type[BaseException],
    request: FrameRequest | None = None,
) -> Iterator[None]:
    """Inside, whatever fails, what was found is kept.

    Args:
        tracker: With what it has found.
        partial: Where that is kept.
        failures: From what on it is.
        request: What it was begun for.
    """
    tracker.note_frames()
    try:
        yield
    except failures:
        if tracker.object_ids:
            keep(tracker, partial, request=request)
        raise


def write_tracked(
    tracker: VideoTracker, output: Path, overlay: Path | None, *, shown: Iterable[int] = ()
) -> None:
    """Write all masks of a tracker, and pictures of them.

    Args:
        tracker: With what it has found.
        output: Its ending chooses the format.
        overlay: Where the pictures go, if anywhere.
        shown: Frames that a contact sheet must show.
    """
    save_masks(
        output,
        map(tracker.masks, range(tracker.num_frames)),
        frame_size=tracker.frame_size,
        num_frames=tracker.num_frames,
    )
    if overlay is None:
        return

    prompts = tracker.prompts.values()

    def drawing(frame_index: int) -> NDArray[np.uint8]:
        picture = draw(tracker.read_rgb(frame_index), tracker.masks(frame_index))
        return mark(picture, [entry[frame_index] for entry in prompts if frame_index in entry])

    write_overlay(overlay, drawing, tracker.num_frames, always=shown)
    say(f"wrote {overlay}")
