"""Walks carried out: what is stale is tracked, what is not costs nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sam2_plugins.core.frame_results import FrameResult
from sam2_plugins.core.masklets import Masklet, MaskletStore
from sam2_plugins.core.memory import select_conditioning
from sam2_plugins.core.propagation import Direction, Walk, link, plan_walks, walking_order
from sam2_plugins.core.segmenting import Segmenter


@dataclass(slots=True)
class _Progress:
    """How far a walk has come."""

    chain: str = ""
    num_absent: int = 0
    has_ended: bool = False

    def pass_by(self, known: FrameResult | None) -> None:
        """Go past a tracked frame that is left as it is: later frames remember it, if it is."""
        self.chain = known.version if known else link(self.chain, "skipped")

    def pass_conditioning(self, result: FrameResult) -> None:
        """Go past a conditioning frame: from there an object that was lost is followed again."""
        self.chain = link(self.chain, result.version)
        self.num_absent = 0
        self.has_ended = False


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

    def run(
        self,
        object_ids: Sequence[int],
        *,
        num_frames: int,
        direction: Direction,
        exact: bool,
    ) -> Iterator[int]:
        """Walk every object, forward, then backward.

        Args:
            object_ids: Which.
            num_frames: Of the stack.
            direction: Which ways.
            exact: See `plan_walks`.

        Yields:
            Indices of frames that got something new.
        """
        masklets = self.store.masklets
        # One may have been removed since the caller asked for it.
        planned = {key: masklets[key] for key in object_ids if key in masklets}
        walks = [
            walk
            for object_id, masklet in planned.items()
            for walk in plan_walks(
                object_id,
                masklet.conditioning_frames,
                num_frames=num_frames,
                direction=direction,
                exact=exact,
            )
        ]
        left: set[int] = set()
        for step in (1, -1):
            progress = {walk: _Progress() for walk in walks}
            for frame_index, passing in walking_order(walks, step):
                is_new = False
                for walk in passing:
                    masklet = self.store.masklets.get(walk.object_id)
                    if masklet is None or not _same_prompts(masklet, planned[walk.object_id]):
                        # For good, even if the edit is undone: the walk has a gap now.
                        left.add(walk.object_id)
                    elif walk.object_id not in left:
                        is_new |= self._visit(walk, progress[walk], frame_index, masklet)
                if is_new:
                    yield frame_index
        if direction != "backward" and self.span.stop == num_frames:
            self.store.edited.difference_update(planned.keys() - left)

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
            progress = _progress_before(masklet, begin)
            for frame in range(begin, frame_index + 1):
                self._visit(walk, progress, frame, self.store.masklets[object_id])

    def _visit(
        self,
        walk: Walk,
        progress: _Progress,
        frame_index: int,
        masklet: Masklet,
    ) -> bool:
        """Bring one object up to date on one frame; True if that made something new."""
        known = masklet.results.get(frame_index)
        if frame_index in masklet.prompts or frame_index in masklet.confirmed:
            assert known is not None
            progress.pass_conditioning(known)
            is_ours = frame_index in masklet.prompts and frame_index in self.span
            return is_ours and self.store.report(walk.object_id, frame_index)
        if frame_index not in self.span:
            # Not to be computed, but what is there is remembered by the frames after it.
            progress.pass_by(known)
            return False
        limit = self.segmenter.rules.memory.max_conditioning_frames
        version = _version(progress.chain, masklet, frame_index, step=walk.step, limit=limit)
        is_valid = known is not None and known.version == version
        if progress.has_ended:
            progress.pass_by(known if is_valid else None)
            return known is not None and not is_valid and self._drop(walk.object_id, frame_index)
        progress.chain = version
        if known is not None and is_valid:
            self._count_absence(progress, known)
            return False
        result = self.segmenter.track(
            walk.object_id,
            masklet,
            frame_index,
            step=walk.step,
            window=walk.window,
            version=version,
        )
        walked = masklet.walked_to(frame_index, step=walk.step)
        self.store.add_result(walk.object_id, frame_index, replace(result, walked=walked))
        self._count_absence(progress, result)
        return True

    def _count_absence(self, progress: _Progress, result: FrameResult) -> None:
        is_absent = result.object_score_logit <= 0 or result.box == (0, 0, 0, 0)
        progress.num_absent = progress.num_absent + 1 if is_absent else 0
        if self.stop_after_absent is not None:
            progress.has_ended = progress.num_absent >= self.stop_after_absent

    def _drop(self, object_id: int, frame_index: int) -> bool:
        """Past the end of a walk, masks that no longer follow from the prompts are wrong."""
        self.store.drop_result(object_id, frame_index)
        return True


def _version(
    chain: str, masklet: Masklet, frame_index: int, *, step: int, limit: int | None
) -> str:
    """Names all that a tracked result depends on: what it attends to, and what came before."""
    selected = select_conditioning(frame_index, masklet.conditioning_frames, limit)
    versions = [(frame, masklet.results[frame].version) for frame in selected]
    return link(chain, step, versions)


def _progress_before(masklet: Masklet, frame_index: int) -> _Progress:
    """The progress of a walk forward that has passed by all frames before one."""
    conditioning = masklet.conditioning_frames
    begin = conditioning[0]
    for frame in range(frame_index - 1, begin, -1):
        # The version of a tracked frame names everything before it.
        if frame in masklet.results and frame not in conditioning:
            begin = frame
            break
    progress = _Progress()
    for frame in range(begin, frame_index):
        result = masklet.results.get(frame)
        if result is not None and frame in conditioning:
            progress.pass_conditioning(result)
        else:
            progress.pass_by(result)
    return progress


def _same_prompts(masklet: Masklet, plan: Masklet) -> bool:
    return masklet.prompts is plan.prompts and masklet.confirmed is plan.confirmed
