"""VideoTracker: prompts in, masks out, on any frame, in any order, as often as wanted."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from sam2_plugins.core.features import DEFAULT_CAPACITY
from sam2_plugins.core.frames import FrameSource, open_frames
from sam2_plugins.core.masks import FrameMasks
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.prompted_frames import PromptedFrames
from sam2_plugins.core.prompts import check_object_id
from sam2_plugins.core.propagation import (
    Direction,
    Walk,
    check_direction,
    check_span,
    plan_visits,
    plan_walks,
)
from sam2_plugins.core.review import most_doubtful_frame
from sam2_plugins.core.rgb_frames import RGBFrames, are_colours
from sam2_plugins.core.rules import FILL_HOLE_AREA, choose_carrying, make_rules
from sam2_plugins.core.session import check_same, describe_origin, read_session, write_session
from sam2_plugins.core.sights import (
    check_window_side,
    default_window_side,
    make_sight,
    sees_closeups,
)
from sam2_plugins.core.streaming import StreamFrames
from sam2_plugins.core.tracked_frames import TrackedFrames
from sam2_plugins.core.walking import Walker
from sam2_plugins.core.weights import model_hash


class VideoTracker(PromptedFrames):
    """Tracks objects through a stack or video.

    Where the defaults depart from the published implementation, which `exact=True` follows:
    a frame attends to the 4 nearest frames with prompts, not to all (time per frame stays the same
    however many corrections there are); frames between two prompts are reached from both sides (see
    `meeting`); clicks are decoded one by one, however they were handed over (so that the
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
            it was trained. It scales time by the length of clips under 16 frames; streams cannot.
        max_conditioning_frames: How many frames with prompts a frame attends to; None for all.
        memory_frames: How many of the last frames it attends to; the model's own if not given.
        memory_stride: Every how manyth of them.
        memory_selection: Of them only those with at least this predicted IoU; see `Rules`.
        follow_motion: Give every tracked frame the mask of the frame before, moved along with the
            picture; by default for models that were trained so (`nano`), unless `exact`.
        look_back: Hold masks that are moved so against how the object looked some frames ago, see
            `core.looking_back`; by default wherever motion is followed.
        learn_appearance: In films, hold them also against what it looks like where it was prompted,
            see `core.object_appearance`, `core.label_propagation` and `core.finding_again`; by
            default wherever motion is followed.
        retouch: Draw masks anew from near, see `core.redrawing`; by default for models that it was
            trained for (`nano`), unless `exact`.
        smooth_presence: Let go of an object that is seen but weakly for several frames, see
            `core.presence`; by default for models that need it (`nano`), unless `exact`.
        keep_alike: Do not let go of an object that looks as it did some frames ago; by default in
            films, whose frames are colours, and where a file says that its frames are points in
            time. Say True for a grey time-lapse that does not, and for a grey stream; in a stack of
            slices, objects end among others that look like them.
        fill_hole_area: Holes of at most this many low-res cells are filled; 0 for none.
        limits: (low, high) pixel values that become 0 and 1; by default from the whole stack.
        cache_frames: How many encoded frames stay in memory.
        cache_dir: Keeps encoded frames on disk too.
        undo_levels: How many edits can be undone.
        window_side: See each object through a window of its own that follows it, of at least so
            many pixels a side; None to see frames whole. By default whole, but through windows for
            models that were trained so (`nano`), unless `exact`. See `WindowTracker`.

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
        memory_selection: float | None = None,
        follow_motion: bool | None = None,
        look_back: bool | None = None,
        learn_appearance: bool | None = None,
        retouch: bool | None = None,
        smooth_presence: bool | None = None,
        keep_alike: bool | None = None,
        fill_hole_area: int = FILL_HOLE_AREA,
        limits: tuple[float, float] | None = None,
        cache_frames: int = DEFAULT_CAPACITY,
        cache_dir: str | Path | None = None,
        undo_levels: int = 100,
        window_side: int | Literal["default"] | None = "default",
    ) -> None:
        if frames is None and cache_dir is not None:
            raise ValueError("cache_dir needs frames: those of a stream cannot be found again")
        self.exact = exact
        config = model.config
        if window_side == "default":
            window_side = default_window_side(config, exact=exact)
        self.window_side = check_window_side(window_side)
        reach = config.num_memories * memory_stride
        if memory_selection is not None:
            reach = max(reach, config.max_pointers)
        source: FrameSource
        if frames is None:
            source = StreamFrames(cache_frames, margin=reach)
        else:
            source = open_frames(frames, rgb=are_colours(frames) if rgb is None else rgb)
        rgb_frames = RGBFrames(source, limits=limits)
        rules = make_rules(
            model,
            exact=exact,
            max_conditioning_frames=max_conditioning_frames,
            memory_frames=memory_frames,
            memory_stride=memory_stride,
            fill_hole_area=fill_hole_area,
            num_frames=None if frames is None else source.num_frames,
        )
        rules = choose_carrying(
            *(rules, config),
            follow_motion=follow_motion,
            look_back=look_back,
            learn_appearance=learn_appearance,
            smooth_presence=smooth_presence,
        )
        near = sees_closeups(config, exact=exact)
        rules = replace(
            rules,
            memory_selection=memory_selection,
            keeps_alike=keep_alike,
            retouches=near if retouch is None else retouch,
            heeds_prompts=near,
        )
        options: dict[str, Any] = {
            "capacity": cache_frames,
            "directory": None if cache_dir is None else Path(cache_dir),
            "key": "" if cache_dir is None else f"{model_hash(model)}-{rgb_frames.signature}",
            "resizer": "pillow" if exact else "tensor",
        }
        sight = make_sight(model.eval(), rgb_frames, side=self.window_side, exact=exact, **options)
        super().__init__(rgb_frames, sight=sight, rules=rules, undo_levels=undo_levels)

    def propagate(
        self,
        *,
        start: int | None = None,
        stop: int | None = None,
        direction: Direction = "both",
        object_ids: Sequence[int] | None = None,
        stop_after_absent: int | None = None,
    ) -> TrackedFrames:
        """Track objects away from their prompts.

        Only what prompts changed since can change is computed. Closing the iterator keeps every
        finished frame; calling again continues. An object that is edited meanwhile is left as it
        is until the next call. In a stream, frames that are no longer kept stay as they are.

        Args:
            start: First frame that may be computed; the first of all if not given.
            stop: Frame after the last that may be computed; the end if not given.
            direction: "forward", "backward" or "both".
            object_ids: Which objects; all if not given.
            stop_after_absent: Give up on an object, in one direction, after it was absent on so
                many frames in a row.

        Returns:
            An iterator over all masks of every frame that got something new, in the order they are
            computed; it tells how far it is. A frame that is reached forward and backward comes
            twice, and once more where the way back between two prompts has found better masks:
            they are there when both ways have met.

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
        planned = {object_id: self._edit.masklet(object_id) for object_id in ids}
        walks: list[Walk] = []
        for object_id, masklet in planned.items():
            walks += plan_walks(
                object_id,
                masklet.conditioning_frames,
                num_frames=self.num_frames,
                direction=direction,
                exact=self.exact,
            )
        walker = Walker(
            self._store, self._segmenter, span=span, stop_after_absent=stop_after_absent
        )
        return TrackedFrames(
            walker.run(walks, planned=planned), plan_visits(walks, span), masks=self.masks
        )

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

    def note_frames(self) -> None:
        """Look now at the frames that `save` tells apart: later they may not be readable."""
        describe_origin(self._model_name, self._rgb)

    def save(self, path: str | Path) -> None:
        """Write prompts, masks and scores to one file, whole or not at all."""
        origin = describe_origin(self._model_name, self._rgb)
        options = {**self._rules.options, "limits": self._rgb.limits}
        options["window_side"] = self.window_side
        header = {**origin, "options": options, **self._sight.describe(self._store)}
        write_session(Path(path), self._store, header=header)

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
        tracker._sight.restore(header)
        return tracker

    @cached_property
    def _model_name(self) -> str:
        return f"{self.model.config.name}-{model_hash(self.model)}{self._sight.name}"
