"""Names for all that masks follow from: where they are as before, nothing has to be computed."""

from collections.abc import Iterable
from dataclasses import dataclass

from sam2_plugins.core.frame_results import FrameResult
from sam2_plugins.core.masklets import Masklet
from sam2_plugins.core.meeting import Meeting
from sam2_plugins.core.memory import select_conditioning
from sam2_plugins.core.propagation import Walk, link


@dataclass(slots=True)
class Progress:
    """How far a walk has come.

    Attributes:
        chain: Names all that was passed.
        num_absent: For so many frames in a row the object was away.
        has_ended: It was away for too long.
        is_settled: Between two prompts: nothing is left to be done.
        meeting: Of a walk back between two prompts.
    """

    chain: str = ""
    num_absent: int = 0
    has_ended: bool = False
    is_settled: bool = False
    meeting: Meeting | None = None

    def pass_by(self, known: FrameResult | None) -> None:
        """Go past a tracked frame that is left as it is: later frames remember it, if it is."""
        self.chain = known.version if known else link(self.chain, "skipped")

    def pass_conditioning(self, result: FrameResult) -> None:
        """Go past a conditioning frame: from there an object that was lost is followed again."""
        self.chain = link(self.chain, result.version)
        self.num_absent = 0
        self.has_ended = False


@dataclass(frozen=True, slots=True)
class Histories:
    """The names of what a run would find.

    Attributes:
        span: Frames that may be computed.
        stop_after_absent: See `VideoTracker.propagate`.
        max_conditioning_frames: See `MemoryRule`.
    """

    span: range
    stop_after_absent: int | None
    max_conditioning_frames: int | None

    def version(self, chain: str, masklet: Masklet, frame_index: int, *, step: int) -> str:
        """Names all that a tracked result depends on: what it attends to, and what came before."""
        limit = self.max_conditioning_frames
        selected = select_conditioning(frame_index, masklet.conditioning_frames, limit)
        versions = [(frame, masklet.results[frame].version) for frame in selected]
        return link(chain, step, versions)

    def meeting(self, walk: Walk, masklet: Masklet) -> str:
        """Names both walks between two prompts, and with them what is found there.

        Args:
            walk: One of both.
            masklet: The object.
        """
        left, right = walk.window[0] - (walk.step < 0), walk.window[-1] + (walk.step > 0)
        forward = self._chain(range(left, right), masklet, 1)
        backward = self._chain(range(right, left, -1), masklet, -1)
        return link(forward, backward, self.stop_after_absent)

    def is_settled(self, walk: Walk, masklet: Masklet) -> bool:
        """Whether the frames between two prompts are as walks have left them that met there."""
        everywhere = range(walk.window[0], walk.window[-1] + 1)
        whole = Histories(everywhere, None, self.max_conditioning_frames)
        return any(_have_met(walk, masklet, histories) for histories in (whole, self))

    def _chain(self, frames: Iterable[int], masklet: Masklet, step: int) -> str:
        """The name of all that a walk passes."""
        progress = Progress()
        for frame in frames:
            if not masklet.is_tracked(frame):
                progress.pass_conditioning(masklet.results[frame])
            elif frame in self.span:
                progress.chain = self.version(progress.chain, masklet, frame, step=step)
            else:
                progress.pass_by(masklet.results.get(frame))
        return progress.chain


def _have_met(walk: Walk, masklet: Masklet, histories: Histories) -> bool:
    """Whether what is known between two prompts is what a run would find."""
    found = [masklet.results.get(frame) for frame in walk.frames[1:] if frame in histories.span]
    names = {None if result is None else result.meeting for result in found}
    if histories.stop_after_absent is not None and len(names) > 1:
        # Where it was given up on, an object has no mask.
        names.discard(None)
    return not names or names == {histories.meeting(walk, masklet)}


def progress_before(masklet: Masklet, frame_index: int) -> Progress:
    """The progress of a walk forward that has passed by all frames before one."""
    conditioning = masklet.conditioning_frames
    begin = conditioning[0]
    for frame in range(frame_index - 1, begin, -1):
        # The version of a tracked frame names everything before it.
        if frame in masklet.results and frame not in conditioning:
            begin = frame
            break
    progress = Progress()
    for frame in range(begin, frame_index):
        result = masklet.results.get(frame)
        if result is not None and frame in conditioning:
            progress.pass_conditioning(result)
        else:
            progress.pass_by(result)
    return progress
