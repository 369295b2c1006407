"""Edits of masklets: prompts, confirmations, removals. Each is one step of undo."""

from collections.abc import Callable
from dataclasses import replace

from sam2_plugins.core.frame_results import FramePrompts
from sam2_plugins.core.frames import FrameSource
from sam2_plugins.core.masklets import Masklet, MaskletStore
from sam2_plugins.core.prompts import check_frame_index, check_object_id, no_such_object
from sam2_plugins.core.segmenting import Segmenter
from sam2_plugins.core.streaming import StreamFrames


class Editor:
    """Makes edits in a store.

    Args:
        store: Written.
        frames: That prompts are for.
        segmenter: Segments a frame as soon as it has new prompts; called when first needed,
            because a stream has no frame size before its first frame.
    """

    def __init__(
        self, store: MaskletStore, frames: FrameSource, segmenter: Callable[[], Segmenter]
    ) -> None:
        self.store = store
        self.frames = frames
        self._segmenter = segmenter

    def masklet(self, object_id: int) -> Masklet:
        """The masklet of an object.

        Raises:
            KeyError: There is no such object.
        """
        masklet = self.store.masklets.get(object_id)
        if masklet is None:
            raise no_such_object(object_id, self.store.object_ids)
        return masklet

    def prompt(
        self, frame_index: int, object_id: int, change: Callable[[FramePrompts], FramePrompts]
    ) -> None:
        """Change a frame's prompts, and segment it at once; saying the same again is no edit.

        Args:
            frame_index: The frame.
            object_id: The object; a new one is made.
            change: Gets what was said, and returns what is said now.

        Raises:
            ValueError: There is no such frame or object id, or the mask of that frame is confirmed.
        """
        frame_index = check_frame_index(frame_index, self.frames.num_frames)
        object_id = check_object_id(object_id)
        if isinstance(self.frames, StreamFrames):
            self.frames.check_kept(frame_index)
        masklet = self.store.masklets.get(object_id, Masklet())
        _refuse_confirmed(masklet, object_id, frame_index)
        before = masklet.prompts.get(frame_index)
        prompts = change(before or FramePrompts(base=masklet.results.get(frame_index)))
        if before is not None and prompts.says(before):
            return
        if before is not None and not prompts.extend(before):
            # An answer must not depend on another that it takes the place of.
            masklet = masklet.without_prompts(frame_index)
        segmenter = self._segmenter()
        result = segmenter.from_prompts(object_id, masklet, frame_index, prompts)
        segmenter.maps.remember(object_id, frame_index, result)
        self.store.edit(object_id, masklet.with_prompts(frame_index, prompts, result))

    def clear_prompts(self, frame_index: int, object_id: int) -> None:
        """Remove a frame's prompts; the object goes with its last ones.

        Raises:
            KeyError: There is no such object, or it has no prompts on that frame.
            ValueError: The mask of that frame is confirmed.
        """
        masklet = self.masklet(object_id)
        if frame_index not in masklet.prompts:
            raise KeyError(
                f"object {object_id} has no prompts on frame {frame_index}; "
                f"it has on {sorted(masklet.prompts)}"
            )
        _refuse_confirmed(masklet, object_id, frame_index)
        self._keep_if_prompted(object_id, masklet.without_prompts(frame_index))

    def remove(self, object_id: int) -> None:
        """Remove an object.

        Raises:
            KeyError: There is no such object.
        """
        self.masklet(object_id)
        self.store.edit(object_id, None)
        segmenter = self._segmenter()
        segmenter.maps.forget(object_id)
        segmenter.carrier.forget(object_id)

    def confirm(self, object_id: int, frame_index: int) -> None:
        """Lock a mask.

        Raises:
            KeyError: There is no such object, or it has no mask on that frame.
        """
        masklet = self.masklet(object_id)
        if frame_index not in masklet.results:
            raise KeyError(
                f"object {object_id} has no mask on frame {frame_index} to confirm: "
                f"prompt it there, or propagate first"
            )
        if frame_index not in masklet.confirmed:
            maps = self._segmenter().maps
            maps.remember(object_id, frame_index, masklet.results[frame_index])
            confirmed = masklet.confirmed | {frame_index}
            self.store.edit(object_id, replace(masklet, confirmed=confirmed))

    def unconfirm(self, object_id: int, frame_index: int) -> None:
        """Unlock a mask.

        Raises:
            KeyError: There is no such object, or its mask on that frame is not confirmed.
        """
        masklet = self.masklet(object_id)
        if frame_index not in masklet.confirmed:
            raise KeyError(
                f"object {object_id} is not confirmed on frame {frame_index}; "
                f"it is on {sorted(masklet.confirmed)}"
            )
        rest = replace(masklet, confirmed=masklet.confirmed - {frame_index})
        self._keep_if_prompted(object_id, rest)

    def _keep_if_prompted(self, object_id: int, masklet: Masklet) -> None:
        self.store.edit(object_id, masklet if masklet.conditioning_frames else None)


def _refuse_confirmed(masklet: Masklet, object_id: int, frame_index: int) -> None:
    if frame_index in masklet.confirmed:
        raise ValueError(
            f"the mask of object {object_id} on frame {frame_index} is confirmed: "
            f"unconfirm it before changing it"
        )
