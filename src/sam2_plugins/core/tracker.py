"""VideoTracker: prompts in, masks out, on any frame, in any order, as often as wanted."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam2_plugins.core.features import DEFAULT_CAPACITY, FeatureStore
from sam2_plugins.core.frames import FrameSource, open_frames
from sam2_plugins.core.masklets import FramePrompts, Masklet, MaskletStore
from sam2_plugins.core.masks import FrameMasks, unpack_mask
from sam2_plugins.core.memory import MemoryRule
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.pixels import PixelPolicy
from sam2_plugins.core.prompts import (
    Box,
    MaskPrompt,
    Points,
    check_frame_index,
    check_object_id,
    make_box,
    make_mask,
    make_points,
    no_such_object,
)
from sam2_plugins.core.propagation import DIRECTIONS, Direction
from sam2_plugins.core.review import most_doubtful_frame
from sam2_plugins.core.segmenting import Rules, Segmenter, single_clicks
from sam2_plugins.core.session import read_session, write_session
from sam2_plugins.core.streaming import StreamFrames
from sam2_plugins.core.walking import Walker

DEFAULT_CONDITIONING_FRAMES = 4
FILL_HOLE_AREA = 8


class VideoTracker:
    """Tracks objects through a stack or video.

    Where the defaults depart from the published implementation, which `exact=True` follows:
    a frame attends to the 4 nearest frames with prompts, not to all (time per frame stays the same
    however many corrections there are); every frame is reached from its nearest prompts (see
    `propagation`); clicks are decoded one by one, however they were handed over (so that the
    order of calls does not matter); a mask prompt is kept to the pixel and remembered at the
    input's full resolution; pointers reach back 15 frames whatever the length (so that streaming equals
    offline); low-res logits are kept as float16.

    Args:
        model: From `load_model`.
        frames: (T, H, W) or, with `rgb=True` to `open_frames`, (T, H, W, 3) numpy, dask or zarr; a
            `FrameSource`; a path; or None to stream with `push`.
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
        self.model = model.eval()
        self.exact = exact
        self._is_stream = frames is None
        self._frames: FrameSource = (
            StreamFrames(cache_frames) if frames is None else open_frames(frames)
        )
        if max_conditioning_frames == "default":
            max_conditioning_frames = None if exact else DEFAULT_CONDITIONING_FRAMES
        pointers = model.config.max_pointers
        if exact and not self._is_stream:
            pointers = min(pointers, self._frames.num_frames)
        recent = model.config.num_memories - 1
        if memory_frames is not None:
            if memory_frames > recent:
                raise ValueError(f"memory_frames must be 0 to {recent}, not {memory_frames}")
            recent = memory_frames
        rule = MemoryRule(max_conditioning_frames, recent, memory_stride, pointers)
        self._rules = Rules(rule, fill_hole_area, exact)
        self._limits = limits
        self._policy: PixelPolicy | None = None
        self._features = FeatureStore(
            model,
            self._read_rgb,
            capacity=cache_frames,
            directory=None if cache_dir is None else Path(cache_dir),
            key="" if cache_dir is None else self._data_key(),
            resizer="pillow" if exact else "tensor",
        )
        self._segmenter_or_none: Segmenter | None = None
        self._store = MaskletStore(undo_levels)

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
        if self._policy is None:
            self._policy = PixelPolicy.fit(self._frames, limits=self._limits)
        return self._policy

    def read_rgb(self, frame_index: int) -> NDArray[Any]:
        """A frame as the model sees it: (H, W, 3) uint8 or float32 in [0, 1]."""
        return self._read_rgb(check_frame_index(frame_index, self.num_frames))

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
        strokes = (clicks,) if self.exact else single_clicks(clicks)
        return self._prompt(frame_index, object_id, strokes=strokes)

    def set_box(self, frame_index: int, object_id: int, box: ArrayLike) -> FrameMasks:
        """Set the box (x0, y0, x1, y1) of an object on a frame; clicks stay, a mask is replaced.

        Returns:
            All masks of that frame.

        Raises:
            ValueError: The box is empty or off the frame, or the mask is confirmed.
        """
        return self._prompt(
            frame_index, object_id, box=make_box(box, size=self._size_for_prompts())
        )

    def set_mask(self, frame_index: int, object_id: int, mask: ArrayLike) -> FrameMasks:
        """Set the mask (H, W) of an object on a frame; it replaces box and clicks.

        An empty mask says that the object is not there.

        Returns:
            All masks of that frame.

        Raises:
            ValueError: The mask has another size than the frame, or the mask is confirmed.
        """
        return self._prompt(
            frame_index, object_id, mask=make_mask(mask, size=self._size_for_prompts())
        )

    def clear_prompts(self, frame_index: int, object_id: int) -> FrameMasks:
        """Take back what was said of an object on a frame; what tracking found there returns.

        Returns:
            All masks of that frame.

        Raises:
            KeyError: There is no such object, or it has no prompts on that frame.
        """
        masklet = self._masklet(object_id)
        if frame_index not in masklet.prompts:
            raise KeyError(
                f"object {object_id} has no prompts on frame {frame_index}; "
                f"it has on {sorted(masklet.prompts)}"
            )
        rest = masklet.without_prompts(frame_index)
        self._store.edit(object_id, rest if rest.conditioning_frames else None)
        return self.masks(frame_index)

    def remove_object(self, object_id: int) -> None:
        """Remove an object with all that is known of it; `undo` brings it back.

        Raises:
            KeyError: There is no such object.
        """
        self._masklet(object_id)
        self._store.edit(object_id, None)
        self._segmenter.forget(object_id)

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
        masklet = self._masklet(object_id)
        if frame_index not in masklet.results:
            raise KeyError(f"object {object_id} has no mask on frame {frame_index} to confirm")
        if frame_index not in masklet.confirmed:
            confirmed = masklet.confirmed | {frame_index}
            self._store.edit(object_id, replace(masklet, confirmed=confirmed))

    def unconfirm(self, object_id: int, frame_index: int) -> None:
        """Unlock a mask again.

        Raises:
            KeyError: There is no such object, or its mask on that frame is not confirmed.
        """
        masklet = self._masklet(object_id)
        if frame_index not in masklet.confirmed:
            raise KeyError(f"object {object_id} is not confirmed on frame {frame_index}")
        rest = replace(masklet, confirmed=masklet.confirmed - {frame_index})
        self._store.edit(object_id, rest if rest.conditioning_frames else None)

    # Results

    def masks(self, frame_index: int) -> FrameMasks:
        """What is known of a frame now: the objects that have a mask there, ascending by id."""
        frame_index = check_frame_index(frame_index, self.num_frames)
        found = [
            (object_id, masklet.results[frame_index])
            for object_id, masklet in sorted(self._store.masklets.items())
            if frame_index in masklet.results
        ]
        height, width = self.frame_size
        masks = np.zeros((len(found), height, width), dtype=bool)
        for row, (_, result) in enumerate(found):
            masks[row] = unpack_mask(result.mask)
        return FrameMasks(
            frame_index=frame_index,
            object_ids=np.array([object_id for object_id, _ in found], dtype=np.int64),
            masks=masks,
            predicted_iou=np.array([r.predicted_iou for _, r in found], dtype=np.float32),
            object_score_logits=np.array(
                [r.object_score_logit for _, r in found], dtype=np.float32
            ),
        )

    def known_frames(self, object_id: int | None = None) -> list[int]:
        """Frames on which an object (or any) has a mask, ascending."""
        ids = self.object_ids if object_id is None else [object_id]
        return sorted({frame for key in ids for frame in self._masklet(key).results})

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
        is until the next call.

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
        if direction not in DIRECTIONS:
            raise ValueError(f"direction must be one of {DIRECTIONS}, not {direction!r}")
        if stop_after_absent is not None and stop_after_absent < 1:
            raise ValueError(f"stop_after_absent must be 1 or more, not {stop_after_absent}")
        span = self._span(start, stop)
        if not self._store.masklets:
            raise RuntimeError("there are no prompts: call add_points, set_box or set_mask first")
        ids = self.object_ids if object_ids is None else [check_object_id(i) for i in object_ids]
        for object_id in ids:
            self._masklet(object_id)
        walker = Walker(
            self._store, self._segmenter, span=span, stop_after_absent=stop_after_absent
        )
        return self._run(walker, ids, direction)

    def _run(
        self, walker: Walker, object_ids: Sequence[int], direction: Direction
    ) -> Iterator[FrameMasks]:
        for frame_index in walker.run(
            object_ids,
            num_frames=self.num_frames,
            direction=direction,
            exact=self.exact,
        ):
            yield self.masks(frame_index)

    def push(self, frame: ArrayLike) -> FrameMasks:
        """Stream: add the next frame and track every object onto it.

        Args:
            frame: (H, W), (H, W, 3) uint8 RGB or (H, W, C), all frames alike.

        Returns:
            All masks of that frame: the same as `propagate(direction="forward")` gives offline.

        Raises:
            RuntimeError: The tracker was made with frames.
            ValueError: The frame does not fit those before it.
        """
        if not isinstance(self._frames, StreamFrames):
            raise RuntimeError("this tracker has its frames; push is for VideoTracker(model, None)")
        frame_index = self._frames.append(np.asarray(frame))
        if self._store.masklets:
            walker = Walker(self._store, self._segmenter, span=range(frame_index, frame_index + 1))
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
        return most_doubtful_frame([self._masklet(key) for key in ids])

    # Sessions

    def save(self, path: str | Path) -> None:
        """Write prompts, masks and scores to one file, whole or not at all."""
        write_session(
            Path(path),
            self._store,
            header={
                "model": self._model_key(),
                "frames": self._frames.signature,
                "num_frames": self.num_frames,
                "frame_size": list(self.frame_size),
                "exact": self.exact,
                "options": {
                    "max_conditioning_frames": self._rules.memory.max_conditioning_frames,
                    "memory_frames": self._rules.memory.memory_frames,
                    "memory_stride": self._rules.memory.memory_stride,
                    "fill_hole_area": self._rules.fill_hole_area,
                    "limits": self._limits and list(self._limits),
                },
            },
        )

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
        saved = header["options"]
        limits = saved.pop("limits")
        tracker = cls(
            model,
            frames,
            exact=header["exact"],
            limits=limits and tuple(limits),
            **{**saved, **options},
        )
        if header["model"] != tracker._model_key():
            raise ValueError(
                f"{path}: the session was made with the model {header['model']}, "
                f"not {tracker._model_key()}"
            )
        size = list(tracker.frame_size)
        if frames is not None and (
            header["num_frames"] != tracker.num_frames or header["frame_size"] != size
        ):
            raise ValueError(
                f"{path}: the session has {header['num_frames']} frames of "
                f"{header['frame_size']}, but these are {tracker.num_frames} of {size}"
            )
        load_into(tracker._store, tracker._segmenter.logits_file)
        return tracker

    # Inside

    @property
    def _segmenter(self) -> Segmenter:
        """Made when first needed: a stream has no size before its first frame."""
        if self._segmenter_or_none is None:
            self._segmenter_or_none = Segmenter(
                self.model, self._features, rules=self._rules, frame_size=self.frame_size
            )
        return self._segmenter_or_none

    def _read_rgb(self, frame_index: int) -> NDArray[Any]:
        return self.pixel_policy.to_rgb(self._frames.read(frame_index))

    def _model_key(self) -> str:
        from sam2_plugins.core.weights import model_hash

        return f"{self.model.config.name}@{self.model.image_size}:{model_hash(self.model)}"

    def _data_key(self) -> str:
        return json.dumps([self._model_key(), self._frames.signature, self.pixel_policy.signature])

    def _size_for_prompts(self) -> tuple[int, int]:
        check_frame_index(0, self.num_frames)
        return self.frame_size

    def _span(self, start: int | None, stop: int | None) -> range:
        last = self.num_frames
        start = 0 if start is None else check_frame_index(start, last)
        stop = last if stop is None else stop
        if not start < stop <= last:
            raise ValueError(f"stop must be {start + 1} to {last} (the frame after the last), "
                             f"not {stop}")  # fmt: skip
        return range(start, stop)

    def _masklet(self, object_id: int) -> Masklet:
        masklet = self._store.masklets.get(object_id)
        if masklet is None:
            raise no_such_object(object_id, self.object_ids)
        return masklet

    def _prompt(
        self,
        frame_index: int,
        object_id: int,
        *,
        strokes: tuple[Points, ...] = (),
        box: Box | None = None,
        mask: MaskPrompt | None = None,
    ) -> FrameMasks:
        """Add to a frame's prompts, and segment it at once."""
        frame_index = check_frame_index(frame_index, self.num_frames)
        object_id = check_object_id(object_id)
        masklet = self._store.masklets.get(object_id, Masklet())
        if frame_index in masklet.confirmed:
            raise ValueError(
                f"the mask of object {object_id} on frame {frame_index} is confirmed: "
                f"unconfirm it before changing it"
            )
        prompts = masklet.prompts.get(frame_index)
        if prompts is None:
            prompts = FramePrompts(base=masklet.results.get(frame_index))
        if mask is not None:
            prompts = replace(prompts, mask=mask, box=None, strokes=())
        elif box is not None:
            prompts = replace(prompts, box=box, mask=None)
        else:
            prompts = replace(prompts, strokes=prompts.strokes + strokes)
        result = self._segmenter.from_prompts(object_id, masklet, frame_index, prompts)
        self._store.edit(object_id, masklet.with_prompts(frame_index, prompts, result))
        return self.masks(frame_index)
