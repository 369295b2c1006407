"""Frames, what a person says of the objects on them, and the masks that answer."""

from dataclasses import replace
from functools import cached_property
from typing import Any

from numpy.typing import ArrayLike, NDArray

from sam2_plugins.core.editing import Editor
from sam2_plugins.core.frame_results import FramePrompts
from sam2_plugins.core.frames import shows_time
from sam2_plugins.core.masklets import MaskletStore
from sam2_plugins.core.masks import FrameMasks
from sam2_plugins.core.pixels import PixelPolicy
from sam2_plugins.core.prompts import (
    Points,
    check_frame_index,
    make_box,
    make_mask,
    make_points,
)
from sam2_plugins.core.rgb_frames import RGBFrames
from sam2_plugins.core.rules import Rules
from sam2_plugins.core.segmenting import Segmenter
from sam2_plugins.core.sights import Sight
from sam2_plugins.core.streaming import StreamFrames


class PromptedFrames:
    """Prompts on any frame, answered at once, with undo; `VideoTracker` adds time.

    Args:
        rgb: The frames.
        sight: How they are seen.
        rules: How prompts are answered.
        undo_levels: How many edits can be undone.
    """

    def __init__(
        self,
        rgb: RGBFrames,
        *,
        sight: Sight,
        rules: Rules,
        undo_levels: int,
    ) -> None:
        self.model = sight.model
        self._rgb = rgb
        self._frames = rgb.source
        self._sight = sight
        self._features = sight.features
        self._rules = rules
        self._store = MaskletStore(undo_levels)
        self._edit = Editor(self._store, self._frames, lambda: self._segmenter)

    # Frames

    @property
    def num_frames(self) -> int:
        """Frames of the stack, or frames pushed so far."""
        return self._frames.num_frames

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W) of the original frames."""
        return self._frames.frame_size

    @property
    def pixel_policy(self) -> PixelPolicy:
        """How raw pixels become RGB, the same for the whole stack."""
        return self._rgb.policy

    def read_rgb(self, frame_index: int) -> NDArray[Any]:
        """A frame as the model sees it: (H, W, 3) uint8 or float32 in [0, 1]."""
        return self._rgb.read(check_frame_index(frame_index, self.num_frames))

    def encode(self, frame_index: int) -> None:
        """Encode a frame now, so that its first click answers at once."""
        self._sight.encode(check_frame_index(frame_index, self.num_frames), self._store)

    # Prompts

    @property
    def object_ids(self) -> list[int]:
        """Objects with prompts, ascending."""
        return self._store.object_ids

    @property
    def prompts(self) -> dict[int, dict[int, FramePrompts]]:
        """Prompts by object id and frame index: a copy, to read."""
        return {key: dict(m.prompts) for key, m in sorted(self._store.masklets.items())}

    @property
    def confirmed(self) -> dict[int, list[int]]:
        """Locked frames by object id."""
        return {key: sorted(m.confirmed) for key, m in sorted(self._store.masklets.items())}

    def add_points(
        self, frame_index: int, object_id: int, points: ArrayLike, point_labels: ArrayLike
    ) -> FrameMasks:
        """Add clicks to those that the frame already has for this object.

        Args:
            frame_index: 0-based.
            object_id: 1 or more; a new one makes a new object.
            points: (N, 2), (x, y) in pixels of the original image.
            point_labels: (N,), 1 on the object, 0 on the background.

        Returns:
            All masks of that frame.

        Raises:
            ValueError: A prompt is off the frame or malformed, or the mask is confirmed.
        """
        strokes = self._strokes(points, point_labels)
        self._edit.prompt(frame_index, object_id, lambda said: said.with_strokes(strokes))
        return self.masks(frame_index)

    def set_box(self, frame_index: int, object_id: int, box: ArrayLike) -> FrameMasks:
        """Set the box (x0, y0, x1, y1) of an object on a frame; clicks stay, a mask is replaced.

        Returns:
            All masks of that frame.

        Raises:
            ValueError: The box is empty or off the frame, or the mask is confirmed.
        """
        prompt = make_box(box, size=self._size_for_prompts())
        self._edit.prompt(frame_index, object_id, lambda said: said.with_box(prompt))
        return self.masks(frame_index)

    def set_mask(self, frame_index: int, object_id: int, mask: ArrayLike) -> FrameMasks:
        """Set the mask (H, W) of an object on a frame; it replaces box and clicks.

        An empty mask says that the object is not there.

        Returns:
            All masks of that frame.

        Raises:
            ValueError: The mask has another size than the frame, or the mask is confirmed.
        """
        prompt = make_mask(mask, size=self._size_for_prompts())
        self._edit.prompt(frame_index, object_id, lambda said: said.with_mask(prompt))
        return self.masks(frame_index)

    def set_prompts(
        self,
        frame_index: int,
        object_id: int,
        *,
        points: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> FrameMasks:
        """Say everything of an object on a frame at once, in place of what was said before.

        One step of `undo`, or none where nothing changes.

        Args:
            frame_index: 0-based.
            object_id: 1 or more; a new one makes a new object.
            points: (N, 2), (x, y) in pixels; they come after the box or mask. None for no clicks.
            point_labels: (N,), 1 on the object, 0 on the background.
            box: (x0, y0, x1, y1).
            mask: (H, W), instead of a box.

        Returns:
            All masks of that frame.

        Raises:
            ValueError: Nothing is said, or a box and a mask are; a prompt is off the frame or
                malformed; or the mask is confirmed.
        """
        if box is not None and mask is not None:
            raise ValueError("a frame takes a box or a mask of an object, not both")
        if points is None and box is None and mask is None:
            raise ValueError("set_prompts needs points, a box or a mask; clear_prompts takes none")
        size = self._size_for_prompts()
        prompts = FramePrompts(
            box=None if box is None else make_box(box, size=size),
            mask=None if mask is None else make_mask(mask, size=size),
            strokes=() if points is None else self._strokes(points, point_labels),
        )
        self._edit.prompt(frame_index, object_id, lambda said: replace(prompts, base=said.base))
        return self.masks(frame_index)

    def clear_prompts(self, frame_index: int, object_id: int) -> FrameMasks:
        """Take back what was said of an object on a frame; what tracking found there returns.

        Returns:
            All masks of that frame.

        Raises:
            KeyError: There is no such object, or it has no prompts on that frame.
        """
        self._edit.clear_prompts(frame_index, object_id)
        return self.masks(frame_index)

    def remove_object(self, object_id: int) -> None:
        """Remove an object with all that is known of it; `undo` brings it back.

        Raises:
            KeyError: There is no such object.
        """
        self._edit.remove(object_id)

    def undo(self) -> bool:
        """Take back the last edit: prompts, confirmations and removals. False if there is none."""
        return self._store.undo()

    def redo(self) -> bool:
        """Make the last undone edit again. False if there is none."""
        return self._store.redo()

    def confirm(self, object_id: int, frame_index: int) -> None:
        """Lock the mask of a frame: it is not changed again, and the other frames follow it.

        Raises:
            KeyError: There is no such object, or it has no mask on that frame.
        """
        self._edit.confirm(object_id, frame_index)

    def unconfirm(self, object_id: int, frame_index: int) -> None:
        """Unlock a mask again.

        Raises:
            KeyError: There is no such object, or its mask on that frame is not confirmed.
        """
        self._edit.unconfirm(object_id, frame_index)

    # Results

    def masks(self, frame_index: int) -> FrameMasks:
        """What is known of a frame now: the objects that have a mask there, ascending by id."""
        frame_index = check_frame_index(frame_index, self.num_frames)
        return self._sight.masks(frame_index, self._store, self.frame_size)

    def known_frames(self, object_id: int | None = None) -> list[int]:
        """Frames on which an object (or any) has a mask, ascending."""
        ids = self.object_ids if object_id is None else [object_id]
        return sorted({frame for key in ids for frame in self._edit.masklet(key).results})

    # Inside

    @cached_property
    def _segmenter(self) -> Segmenter:
        is_stream = self._stream is not None
        rules = self._rules
        if rules.keeps_alike is None:
            # Known only now: a stream has no colours before its first frame.
            rules = replace(rules, keeps_alike=shows_time(self._frames))
        return self._sight.make_segmenter(rules, self.frame_size, is_stream=is_stream)

    @property
    def _stream(self) -> StreamFrames | None:
        return self._frames if isinstance(self._frames, StreamFrames) else None

    def _size_for_prompts(self) -> tuple[int, int]:
        check_frame_index(0, self.num_frames)
        return self.frame_size

    def _strokes(self, points: ArrayLike, point_labels: ArrayLike | None) -> tuple[Points, ...]:
        """Clicks in the groups in which they are decoded."""
        labels = () if point_labels is None else point_labels
        clicks = make_points(points, labels, size=self._size_for_prompts())
        return (clicks,) if self._rules.exact else clicks.one_by_one()
