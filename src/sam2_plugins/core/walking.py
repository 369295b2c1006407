"""Walks carried out: what is stale is tracked, what is not costs nothing."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from sam2_plugins.core.frame_results import FrameResult
from sam2_plugins.core.histories import Histories, Progress, progress_before
from sam2_plugins.core.masklets import Masklet, MaskletStore
from sam2_plugins.core.meeting import Meeting
from sam2_plugins.core.propagation import Visit, Walk, walking_order
from sam2_plugins.core.segmenting import Segmenter


class Visited(NamedTuple):
    """A visit of a frame, or of some of the objects that are tracked there.

    Attributes:
        visit: Which.
        news: The frames that got something new by it, so far.
        share: Of the visit's objects that are behind it: 1 at its end.
    """

    visit: Visit
    news: list[int]
    share: float


class Walker:
    """Carries out walks over the masklets of a store.

    Args:
        store: Read and written.
        segmenter: Does the work.
        span: Frames that may be computed; others only pass their memory on.
        stop_after_absent: See `VideoTracker.propagate`.

    Raises:
        ValueError: `stop_after_absent` is less than 1.
    """

    def __init__(
        self,
        store: MaskletStore,
        segmenter: Segmenter,
        *,
        span: range,
        stop_after_absent: int | None = None,
    ) -> None:
        if stop_after_absent is not None and stop_after_absent < 1:
            raise ValueError(f"stop_after_absent must be 1 or more, not {stop_after_absent}")
        self.store = store
        self.segmenter = segmenter
        self.span = span
        self.stop_after_absent = stop_after_absent
        self._histories = Histories(
            span, stop_after_absent, segmenter.rules.memory.max_conditioning_frames
        )

    def run(self, walks: Sequence[Walk], *, planned: Mapping[int, Masklet]) -> Iterator[Visited]:
        """Carry out the walks forward, then those backward.

        Args:
            walks: Of objects.
            planned: The objects when the walks were planned, by object id.

        Yields:
            Every visit, after each of its objects.
        """
        left: set[int] = set()
        for step in (1, -1):
            progress = {walk: Progress() for walk in walks}
            for frame_index, passing in walking_order(walks, step):
                news: set[int] = set()
                for number, walk in enumerate(passing):
                    if number:
                        share = number / len(passing)
                        yield Visited((step, frame_index), sorted(news), share)
                    masklet = self.store.masklets.get(walk.object_id)
                    if masklet is None or not _same_prompts(masklet, planned[walk.object_id]):
                        # For good, even if the edit is undone: the walk has a gap now.
                        left.add(walk.object_id)
                    elif walk.object_id not in left:
                        news.update(self._visit(walk, progress[walk], frame_index, masklet))
                yield Visited((step, frame_index), sorted(news, reverse=step < 0), 1.0)
        brought_up = {
            walk.object_id
            for walk in walks
            if walk.step > 0 and not walk.meets and walk.frames.stop == self.span.stop
        }
        self.store.edited.difference_update(brought_up - left)

    def extend(self, object_ids: Sequence[int], frame_index: int) -> None:
        """Track objects onto a frame that has just arrived at the end of a stream.

        After an edit on an earlier frame, the frames after the last prompts come first.
        """
        for object_id in object_ids:
            masklet = self.store.masklets[object_id]
            begin = frame_index
            if object_id in self.store.edited:
                begin = max(self.span.start, masklet.conditioning_frames[-1] + 1)
                self.store.edited.discard(object_id)
            walk = Walk(object_id, 1, range(masklet.conditioning_frames[0], frame_index + 1))
            progress = progress_before(masklet, begin)
            for frame in range(begin, frame_index + 1):
                self._visit(walk, progress, frame, self.store.masklets[object_id])

    def _visit(
        self,
        walk: Walk,
        progress: Progress,
        frame_index: int,
        masklet: Masklet,
    ) -> Collection[int]:
        """Bring one object up to date on one frame; the frames that got something new."""
        known = masklet.results.get(frame_index)
        if not masklet.is_tracked(frame_index):
            assert known is not None
            progress.pass_conditioning(known)
            if walk.meets:
                self._set_out(walk, progress, masklet)
            is_ours = frame_index in masklet.prompts and frame_index in self.span
            is_news = is_ours and self.store.report(walk.object_id, frame_index)
        elif progress.is_settled:
            is_news = False
        elif progress.meeting is not None:
            return self._walk_back(walk, progress, frame_index, meeting=progress.meeting)
        elif frame_index not in self.span:
            # Not to be computed, but what is there is remembered by the frames after it.
            progress.pass_by(known)
            is_news = False
        else:
            is_news = self._bring_up_to_date(walk, progress, frame_index, masklet)
        return [frame_index] if is_news else []

    def _bring_up_to_date(
        self, walk: Walk, progress: Progress, frame_index: int, masklet: Masklet
    ) -> bool:
        """Track onto a frame, unless that was done before; True if it got something new."""
        known = masklet.results.get(frame_index)
        version = self._histories.version(progress.chain, masklet, frame_index, step=walk.step)
        is_valid = known is not None and known.version == version
        if progress.has_ended:
            progress.pass_by(known if is_valid else None)
            if known is None or is_valid:
                return False
            # Past the end of a walk, masks that no longer follow from the prompts are wrong.
            self.store.drop_result(walk.object_id, frame_index)
            return True
        progress.chain = version
        if known is not None and is_valid:
            self._count_absence(progress, known)
            return False
        result = self._track(walk, progress, frame_index, masklet)
        self.store.add_result(walk.object_id, frame_index, result)
        return True

    def _set_out(self, walk: Walk, progress: Progress, masklet: Masklet) -> None:
        """Begin a walk between two prompts, if it is still to be made."""
        progress.is_settled = self._histories.is_settled(walk, masklet)
        if not progress.is_settled and walk.step < 0:
            progress.meeting = Meeting(masklet, walk, self.span)

    def _walk_back(
        self, walk: Walk, progress: Progress, frame_index: int, *, meeting: Meeting
    ) -> Collection[int]:
        """Go on one frame towards a walk that has been here before.

        What is found is not to be seen before both have met: until then, the frames are as the
        other walk has left them.
        """
        masklet = self.store.masklets[walk.object_id]
        if frame_index in self.span:
            progress.chain = self._histories.version(
                progress.chain, masklet, frame_index, step=walk.step
            )
            meeting.add(frame_index, self._track(walk, progress, frame_index, meeting.masklet))
        else:
            progress.pass_by(masklet.results.get(frame_index))
        changed = {frame_index}
        if meeting.has_met or progress.has_ended or frame_index == walk.frames[-1]:
            progress.is_settled = True
            name = self._histories.meeting(walk, masklet)
            for frame, result in meeting.outcome().items():
                self.store.add_result(walk.object_id, frame, replace(result, meeting=name))
                changed.update([frame] if result.step < 0 else [])
        return [frame for frame in changed if frame in self.span]

    def _track(
        self, walk: Walk, progress: Progress, frame_index: int, masklet: Masklet
    ) -> FrameResult:
        result = self.segmenter.track(
            walk.object_id,
            masklet,
            frame_index,
            step=walk.step,
            window=walk.window,
            version=progress.chain,
        )
        self._count_absence(progress, result)
        return replace(result, walked=masklet.walked_to(frame_index, step=walk.step))

    def _count_absence(self, progress: Progress, result: FrameResult) -> None:
        is_absent = result.object_score_logit <= 0 or result.box == (0, 0, 0, 0)
        progress.num_absent = progress.num_absent + 1 if is_absent else 0
        if self.stop_after_absent is not None:
            progress.has_ended = progress.num_absent >= self.stop_after_absent


def _same_prompts(masklet: Masklet, plan: Masklet) -> bool:
    return masklet.prompts is plan.prompts and masklet.confirmed is plan.confirmed
