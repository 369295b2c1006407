"""What is known of each object: its prompts, its results, and how both were before.

Everything that hangs from a `Masklet` is immutable and shared, so that a step of undo costs a copy
of a dictionary of references, whatever the number of frames.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from sam2_plugins.core.frame_results import FramePrompts, FrameResult
from sam2_plugins.core.masks import FrameMasks
from sam2_plugins.core.nesting import Nesting


@dataclass(frozen=True, slots=True, eq=False)
class Masklet:
    """One object: prompts and results by frame index, and the frames that are locked."""

    prompts: Mapping[int, FramePrompts] = field(default_factory=dict)
    results: Mapping[int, FrameResult] = field(default_factory=dict)
    confirmed: frozenset[int] = frozenset()

    @property
    def conditioning_frames(self) -> list[int]:
        """Frames with prompts or locked masks, ascending."""
        return sorted({*self.prompts, *self.confirmed})

    def is_tracked(self, frame_index: int) -> bool:
        """Whether a frame has neither prompts nor a lock."""
        return frame_index not in self.prompts and frame_index not in self.confirmed

    def is_vouched_for(self, frame_index: int) -> bool:
        """Whether a person has seen the object on a frame, by prompts or a lock."""
        result = self.results.get(frame_index)
        return result is not None and any(result.box) and not self.is_tracked(frame_index)

    def is_drawn(self, frame_index: int) -> bool:
        """Whether the mask of a frame is one that was given, and not changed by clicks since."""
        said = self.prompts.get(frame_index)
        return said is not None and said.mask is not None and not said.strokes

    def prompt_distance(self, frame_index: int) -> int:
        """See `FrameMasks.prompt_distance`: from where tracking set out, whatever came since."""
        return max(self.results[frame_index].walked, 1) if self.is_tracked(frame_index) else 0

    def walked_to(self, frame_index: int, *, step: int) -> int:
        """Frames from what was said to a frame that is tracked next."""
        near = frame_index - step
        known = self.results.get(near)
        if not self.is_tracked(near):
            return 1
        if known is not None and known.step == step:
            return known.walked + 1
        return min((abs(said - frame_index) for said in self.conditioning_frames), default=1)

    def vouched_start(self, frame_index: int, *, step: int) -> int | None:
        """Where tracking set out to a frame; None unless a person has seen the object there."""
        start = frame_index - step * self.walked_to(frame_index, step=step)
        return start if self.is_vouched_for(start) else None

    def found_on_the_way(self, frame_index: int, *, step: int, window: range) -> FrameResult | None:
        """What a walk has found on a frame, or a person has said of it; see `Segmenter.track`."""
        result = self.results.get(frame_index)
        if result is None or frame_index not in window:
            return None
        return result if result.step == step or not self.is_tracked(frame_index) else None

    def with_prompts(
        self, frame_index: int, prompts: FramePrompts, result: FrameResult
    ) -> "Masklet":
        """The masklet after prompts on a frame."""
        return replace(
            self,
            prompts={**self.prompts, frame_index: prompts},
            results={**self.results, frame_index: result},
        )

    def without_prompts(self, frame_index: int) -> "Masklet":
        """The masklet without a frame's prompts; what tracking had found there comes back."""
        prompts, results = dict(self.prompts), dict(self.results)
        base = prompts.pop(frame_index).base
        results.pop(frame_index, None)
        if base is not None:
            results[frame_index] = base
        return replace(self, prompts=prompts, results=results)


_Edit = tuple[int, Masklet | None]


class MaskletStore:
    """The masklets of all objects, with undo and redo of edits.

    An edit is undone for its object alone: what happened to other objects since stays.

    Args:
        undo_levels: How many edits can be undone.

    Attributes:
        masklets: By object id.
        edited: Objects whose results may not follow from their prompts: who brings them up to date
            takes them out.
    """

    def __init__(self, undo_levels: int) -> None:
        if undo_levels < 0:
            raise ValueError(f"undo_levels must be 0 or more, not {undo_levels}")
        self.undo_levels = undo_levels
        self.masklets: dict[int, Masklet] = {}
        self.edited: set[int] = set()
        self._nesting = Nesting()
        self._reported: dict[tuple[int, int], str] = {}
        self._done: list[_Edit] = []
        self._undone: list[_Edit] = []

    @property
    def object_ids(self) -> list[int]:
        """Ascending."""
        return sorted(self.masklets)

    @property
    def shown_within(self) -> dict[int, int]:
        """See `FrameMasks.shown_within`; only of objects that are in another."""
        return self._nesting.find(self.masklets)

    def frame_masks(self, frame_index: int, size: tuple[int, int]) -> FrameMasks:
        """All masks known of a frame of `size` (H, W), ascending by object id."""
        found = [
            (object_id, masklet.results[frame_index])
            for object_id, masklet in sorted(self.masklets.items())
            if frame_index in masklet.results
        ]
        masks = np.zeros((len(found), *size), dtype=bool)
        for row, (_, result) in enumerate(found):
            masks[row] = result.mask.unpack()
        within = self.shown_within
        return FrameMasks(
            frame_index=frame_index,
            object_ids=np.array([object_id for object_id, _ in found], dtype=np.int64),
            masks=masks,
            predicted_iou=np.array([r.predicted_iou for _, r in found], dtype=np.float32),
            object_score_logits=np.array(
                [r.object_score_logit for _, r in found], dtype=np.float32
            ),
            prompt_distance=np.array(
                [self.masklets[object_id].prompt_distance(frame_index) for object_id, _ in found],
                dtype=np.int64,
            ),
            shown_within=np.array([within.get(key, 0) for key, _ in found], dtype=np.int64),
        )

    def edit(self, object_id: int, masklet: Masklet | None) -> None:
        """Replace a masklet (None removes the object) by an edit that can be undone."""
        self._done.append((object_id, self.masklets.get(object_id)))
        del self._done[: -self.undo_levels or None]
        self._undone.clear()
        self._set(object_id, masklet)

    def add_result(self, object_id: int, frame_index: int, result: FrameResult) -> None:
        """Add what tracking found on a frame; not an edit.

        The results are a dictionary that only this store changes, and only until the next edit
        takes a copy of it: adding a frame to a long masklet must not copy it.
        """
        self._own_results(object_id)[frame_index] = result

    def report(self, object_id: int, frame_index: int) -> bool:
        """Whether a prompted result is news: True the first time it is asked of a version."""
        version = self.masklets[object_id].results[frame_index].version
        is_news = self._reported.get((object_id, frame_index)) != version
        self._reported[object_id, frame_index] = version
        return is_news

    def reported_frames(self, object_id: int) -> list[int]:
        """Frames with prompts whose present result was reported, ascending."""
        results = self.masklets[object_id].results
        return sorted(
            frame
            for (of, frame), version in self._reported.items()
            if of == object_id and frame in results and results[frame].version == version
        )

    def drop_result(self, object_id: int, frame_index: int) -> None:
        """Remove what tracking found on a frame; not an edit."""
        del self._own_results(object_id)[frame_index]

    def _own_results(self, object_id: int) -> dict[int, FrameResult]:
        masklet = self.masklets[object_id]
        if self._is_shared(object_id, masklet):
            masklet = replace(masklet, results=dict(masklet.results))
            self.masklets[object_id] = masklet
        assert isinstance(masklet.results, dict)
        return masklet.results

    def undo(self) -> bool:
        """Take the last edit back; False where there is none."""
        return self._swap(self._done, self._undone)

    def redo(self) -> bool:
        """Do the last undone edit again; False where there is none."""
        return self._swap(self._undone, self._done)

    def _swap(self, source: list[_Edit], target: list[_Edit]) -> bool:
        if not source:
            return False
        object_id, masklet = source.pop()
        target.append((object_id, self.masklets.get(object_id)))
        self._set(object_id, masklet)
        return True

    def _set(self, object_id: int, masklet: Masklet | None) -> None:
        if masklet is None:
            self.masklets.pop(object_id, None)
            self.edited.discard(object_id)
            self._reported = {k: v for k, v in self._reported.items() if k[0] != object_id}
        else:
            self.masklets[object_id] = masklet
            self.edited.add(object_id)

    def _is_shared(self, object_id: int, masklet: Masklet) -> bool:
        return any(
            kept is not None and kept.results is masklet.results
            for of, kept in (*self._done, *self._undone)
            if of == object_id
        )
