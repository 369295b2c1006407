"""Walks carried out: what is stale is tracked, what is not costs nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sam2_plugins.core.masklets import FrameResult, Masklet, MaskletStore
from sam2_plugins.core.memory import select_conditioning
from sam2_plugins.core.propagation import Direction, Walk, link, plan_walks, walking_order
from sam2_plugins.core.segmenting import Segmenter


@dataclass(slots=True)
class _Progress:
    """How far a walk has come."""

    chain: str = ""
    num_absent: int = 0
    has_ended: bool = False
    has_changed: bool = False


class Walker:
    """Carries out walks over the masklets of a store.

    Args:
        store: Read and written.
        segmenter: Does the work.
        span: Frames that may be computed; others only pass their memory on.
        stop_after_absent: See `VideoTracker.propagate`.
    """

    def __init__(
        self,
        store: MaskletStore,
        segmenter: Segmenter,
        *,
        span: range,
        stop_after_absent: int | None = None,
    ) -> None:
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
        planned = {object_id: self._masklet(object_id) for object_id in object_ids}
        walks = [
            walk
            for object_id, masklet in planned.items()
            if masklet is not None
            for walk in plan_walks(
                object_id,
                masklet.conditioning_frames,
                num_frames=num_frames,
                direction=direction,
                exact=exact,
            )
        ]
        for step in (1, -1):
            progress = {walk: _Progress() for walk in walks}
            for frame_index, passing in walking_order(walks, step):
                is_new = False
                for walk in passing:
                    masklet, plan = self._masklet(walk.object_id), planned[walk.object_id]
                    if masklet is None or plan is None or not _same_prompts(masklet, plan):
                        continue
                    is_new |= self._visit(walk, progress[walk], frame_index, masklet)
                if is_new:
                    self.segmenter.trim(len(planned))
                    yield frame_index

    def extend(self, object_ids: Sequence[int], frame_index: int) -> None:
        """Track objects onto a frame that has just arrived at the end of a stream."""
        for object_id in object_ids:
            masklet = self._masklet(object_id)
            if masklet is None or not masklet.conditioning_frames:
                continue
            first = masklet.conditioning_frames[0]
            walk = Walk(object_id, 1, range(first, frame_index + 1))
            progress = _Progress(chain=_chain_before(masklet, frame_index))
            self._visit(walk, progress, frame_index, masklet)
        self.segmenter.trim(len(object_ids))

    def _masklet(self, object_id: int) -> Masklet | None:
        return self.store.masklets.get(object_id)

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
            progress.chain = link(progress.chain, known.version)
            progress.num_absent = 0
            is_ours = frame_index in masklet.prompts and frame_index in self.span
            return is_ours and self.store.report(walk.object_id, frame_index)
        if frame_index not in self.span:
            # Not to be computed, but what is there is remembered by the frames after it.
            progress.chain = known.version if known else link(progress.chain, "skipped")
            return False
        if progress.has_ended:
            return self._drop_stale(walk, progress, frame_index, known)
        limit = self.segmenter.rules.memory.max_conditioning_frames
        version = _version(progress.chain, masklet, frame_index, step=walk.step, limit=limit)
        progress.chain = version
        if known is not None and known.version == version:
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
        self.store.add_result(walk.object_id, frame_index, result)
        progress.has_changed = True
        self._count_absence(progress, result)
        return True

    def _count_absence(self, progress: _Progress, result: FrameResult) -> None:
        is_absent = result.object_score_logit <= 0 or result.box == (0, 0, 0, 0)
        progress.num_absent = progress.num_absent + 1 if is_absent else 0
        if self.stop_after_absent is not None:
            progress.has_ended = progress.num_absent >= self.stop_after_absent

    def _drop_stale(
        self, walk: Walk, progress: _Progress, frame_index: int, known: FrameResult | None
    ) -> bool:
        """Past the end of a walk that changed, masks of an earlier run are wrong: drop them."""
        if known is None or not progress.has_changed:
            return False
        self.store.drop_result(walk.object_id, frame_index)
        return True


def _version(
    chain: str, masklet: Masklet, frame_index: int, *, step: int, limit: int | None
) -> str:
    """Names all that a tracked result depends on: what it attends to, and what came before."""
    selected = select_conditioning(frame_index, masklet.conditioning_frames, limit)
    versions = [(frame, masklet.results[frame].version) for frame in selected]
    return link(chain, step, versions)


def _chain_before(masklet: Masklet, frame_index: int) -> str:
    """The chain as a walk forward has it when it comes to a frame."""
    passed = []
    for frame in range(frame_index - 1, -1, -1):
        result = masklet.results.get(frame)
        is_conditioning = frame in masklet.prompts or frame in masklet.confirmed
        if result is not None and not is_conditioning:
            chain = result.version
            break
        if is_conditioning and result is not None:
            passed.append(result.version)
        if frame <= masklet.conditioning_frames[0]:
            chain = ""
            break
    else:
        chain = ""
    for version in reversed(passed):
        chain = link(chain, version)
    return chain


def _same_prompts(masklet: Masklet, plan: Masklet) -> bool:
    return masklet.prompts is plan.prompts and masklet.confirmed is plan.confirmed
