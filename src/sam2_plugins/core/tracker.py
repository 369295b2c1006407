"""VideoTracker: prompts in, masks out, on any frame, in any order, as often as wanted."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam2_plugins.core.editing import Editor
from sam2_plugins.core.features import DEFAULT_CAPACITY, FeatureStore
from sam2_plugins.core.frames import FrameSource, open_frames
from sam2_plugins.core.masklets import FramePrompts, MaskletStore
from sam2_plugins.core.masks import FrameMasks
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.pixels import PixelPolicy
from sam2_plugins.core.prompts import (
    check_frame_index,
    check_object_id,
    make_box,
    make_mask,
    make_points,
)
from sam2_plugins.core.propagation import Direction, check_direction, check_span
from sam2_plugins.core.review import most_doubtful_frame
from sam2_plugins.core.rgb_frames import RGBFrames, are_colours
from sam2_plugins.core.rules import FILL_HOLE_AREA, make_rules
from sam2_plugins.core.segmenting import Segmenter
from sam2_plugins.core.session import check_same, describe_origin, read_session, write_session
from sam2_plugins.core.streaming import StreamFrames
from sam2_plugins.core.walking import Walker
from sam2_plugins.core.weights import model_hash


class VideoTracker:
    """Tracks objects through a stack or video.

    Where the defaults depart from the published implementation, which `exact=True` follows:
    a frame attends to the 4 nearest frames with prompts, not to all (time per frame stays the same
    however many corrections there are); every frame is reached from its nearest prompts (see
    `propagation`); clicks are decoded one by one, however they were handed over (so that the
    order of calls does not matter); a mask prompt is kept to the pixel and remembered at the
    input's full resolution; pointers reach back 15 frames whatever the length (so that streaming
    equals offline); low-res logits are kept as float16.

    Args:
        model: From `load_model`.
        frames: (T, H, W) or (T, H, W, C) numpy, dask or zarr; a `FrameSource`; a path; or None to
            stream with `push`.
        rgb: Whether three channels last are colours; by default those of uint8 arrays
            (T, H, W, 3) are, and files say so themselves.
        exact: Follow the published implementation, with corrected frames as conditioning frames, as
            it was trained.
        max_conditioning_frames: How many frames with prompts a frame attends to; None for all.
        memory_frames: How many of the last frames it attends to; the model's own if not given.
        memory_stride: Every how manyth of them.
        fill_hole_area: Holes of at most this many low-res cells are filled; 0 for none.
        limits: (low, high) pixel values that become 0 and 1; by default from the whole stack.
        cache_frames: How many encoded frames stay in memory.
        cache_dir: Keeps encoded frames on disk too.
        undo_levels: How many edits can be undone.

    Raises:
        ValueError: Something is wrong with an argument or with the frames.
    """

    def __init__(
        self,
        model: SAM2,
        frames: Any = None,
        *,
        rgb: bool | None = None,
        exact: bool = False,
        max_conditioning_frames: int | Literal["default"] | None = "default",
        memory_frames: int | None = None,
        memory_stride: int = 1,
        fill_hole_area: int = FILL_HOLE_AREA,
        limits: tuple[float, float] | None = None,
        cache_frames: int = DEFAULT_CAPACITY,
        cache_dir: str | Path | None = None,
        undo_levels: int = 100,
    ) -> None:
        if frames is None and cache_dir is not None:
            raise ValueError("cache_dir needs frames: those of a stream cannot be found again")
        self.model = model.eval()
        self.exact = exact
        self._frames: FrameSource = (
            StreamFrames(cache_frames, margin=model.config.num_memories * memory_stride)
            if frames is None
            else open_frames(frames, rgb=are_colours(frames) if rgb is None else rgb)
        )
        self._rules = make_rules(
            model,
            exact=exact,
            max_conditioning_frames=max_conditioning_frames,
            memory_frames=memory_frames,
            memory_stride=memory_stride,
            fill_hole_area=fill_hole_area,
            num_frames=None if frames is None else self._frames.num_frames,
        )
        self._rgb = RGBFrames(self._frames, limits=limits)
        self._features = FeatureStore(
            model,
            self._rgb.read,
            capacity=cache_frames,
            directory=None if cache_dir is None else Path(cache_dir),
            key="" if cache_dir is None else f"{model_hash(model)}-{self._rgb.signature}",
            resizer="pillow" if exact else "tensor",
        )
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
        self._features.get(check_frame_index(frame_index, self.num_frames))

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
        clicks = make_points(points, point_labels, size=self._size_for_prompts())
        strokes = (clicks,) if self.exact else clicks.one_by_one()
        self._edit.prompt(frame_index, object_id, strokes=strokes)
        return self.masks(frame_index)

    def set_box(self, frame_index: int, object_id: int, box: ArrayLike) -> FrameMasks:
        """Set the box (x0, y0, x1, y1) of an object on a frame; clicks stay, a mask is replaced.

        Returns:
            All masks of that frame.

        Raises:
            ValueError: The box is empty or off the frame, or the mask is confirmed.
        """
        prompt = make_box(box, size=self._size_for_prompts())
        self._edit.prompt(frame_index, object_id, box=prompt)
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
        self._edit.prompt(frame_index, object_id, mask=prompt)
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
        return self._store.frame_masks(frame_index, self.frame_size)

    def known_frames(self, object_id: int | None = None) -> list[int]:
        """Frames on which an object (or any) has a mask, ascending."""
        ids = self.object_ids if object_id is None else [object_id]
        return sorted({frame for key in ids for frame in self._edit.masklet(key).results})

    def propagate(
        self,
        *,
        start: int | None = None,
        stop: int | None = None,
        direction: Direction = "both",
        object_ids: Sequence[int] | None = None,
        stop_after_absent: int | None = None,
    ) -> Iterator[FrameMasks]:
        """Track objects away from their prompts.

        Only what prompts changed since can change is computed. Closing the generator keeps every
        finished frame; calling again continues. An object that is edited meanwhile is left as it
        is until the next call. In a stream, frames that are no longer kept stay as they are.

        Args:
            start: First frame that may be computed; the first of all if not given.
            stop: Frame after the last that may be computed; the end if not given.
            direction: "forward", "backward" or "both".
            object_ids: Which objects; all if not given.
            stop_after_absent: Give up on an object, in one direction, after it was absent on so
                many frames in a row.

        Yields:
            All masks of a frame that got something new, in the order they are computed. A frame
            that one object reaches forward and another backward comes twice.

        Raises:
            ValueError: An argument is out of range.
            KeyError: There is no such object.
            RuntimeError: There are no prompts yet.
        """
        check_direction(direction)
        span = check_span(start, stop, self.num_frames)
        if self._stream is not None:
            span = range(max(span.start, self._stream.kept.start), span.stop)
        if not self._store.masklets:
            raise RuntimeError("there are no prompts: call add_points, set_box or set_mask first")
        ids = self.object_ids if object_ids is None else [check_object_id(i) for i in object_ids]
        for object_id in ids:
            self._edit.masklet(object_id)
        walker = Walker(
            self._store, self._segmenter, span=span, stop_after_absent=stop_after_absent
        )
        visits = walker.run(ids, num_frames=self.num_frames, direction=direction, exact=self.exact)
        return (self.masks(frame_index) for frame_index in visits)

    def push(self, frame: ArrayLike) -> FrameMasks:
        """Stream: add the next frame and track every object onto it.

        Args:
            frame: (H, W), (H, W, 3) uint8 RGB or (H, W, C), all frames alike.

        Returns:
            All masks of that frame: the same as `propagate(direction="forward")` gives offline,
            with `start` at the last prompts. Where those are on an earlier frame and new, the
            frames since then are tracked again first. Pixels are scaled by the first frame.

        Raises:
            RuntimeError: The tracker was made with frames.
            ValueError: The frame does not fit those before it.
        """
        stream = self._stream
        if stream is None:
            raise RuntimeError("this tracker has its frames; push is for VideoTracker(model, None)")
        frame_index = stream.append(np.asarray(frame))
        if frame_index == 0:
            self._rgb.policy  # noqa: B018 - fitted now: the first frame will not be kept
        if self._store.masklets:
            walker = Walker(self._store, self._segmenter, span=stream.kept)
            walker.extend(self.object_ids, frame_index)
        return self.masks(frame_index)

    def suggest_frame(self, object_id: int | None = None) -> int | None:
        """The frame most worth checking next; None where nothing was tracked.

        Args:
            object_id: Of this object; of any if not given.

        Raises:
            KeyError: There is no such object.
        """
        ids = self.object_ids if object_id is None else [object_id]
        return most_doubtful_frame([self._edit.masklet(key) for key in ids])

    # Sessions

    def save(self, path: str | Path) -> None:
        """Write prompts, masks and scores to one file, whole or not at all."""
        options = {**self._rules.options, "limits": self._rgb.limits}
        origin = describe_origin(self._model_name, self._rgb)
        write_session(Path(path), self._store, header={**origin, "options": options})

    @classmethod
    def load(cls, path: str | Path, model: SAM2, frames: Any, **options: Any) -> "VideoTracker":
        """Open a saved session; it continues where it was.

        Args:
            path: Written by `save`.
            model: The same as then.
            frames: The same as then.
            options: Of `VideoTracker`, for caches; how to track is as saved.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is no session, or was made with another model or other frames.
        """
        header, load_into = read_session(Path(path))
        tracker = cls(model, frames, **{**header["options"], **options})
        check_same(header, describe_origin(tracker._model_name, tracker._rgb), Path(path))
        load_into(tracker._store, tracker._segmenter.logits_file)
        return tracker

    # Inside

    @cached_property
    def _model_name(self) -> str:
        return f"{self.model.config.name}-{model_hash(self.model)}"

    @cached_property
    def _segmenter(self) -> Segmenter:
        return Segmenter(
            *(self.model, self._features),
            rules=self._rules,
            frame_size=self.frame_size,
            is_stream=self._stream is not None,
        )

    @property
    def _stream(self) -> StreamFrames | None:
        return self._frames if isinstance(self._frames, StreamFrames) else None

    def _size_for_prompts(self) -> tuple[int, int]:
        check_frame_index(0, self.num_frames)
        return self.frame_size
