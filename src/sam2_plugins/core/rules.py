"""How the tracker works, apart from the network."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from sam2_plugins.core.config import ModelConfig
from sam2_plugins.core.memory import MemoryRule, recent_frames
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.presence import PresenceRule

if TYPE_CHECKING:
    from sam2_plugins.core.frame_results import FrameResult

CONDITIONING_FRAMES = 4
FILL_HOLE_AREA = 8


@dataclass(frozen=True, slots=True)
class Rules:
    """How the tracker works.

    Attributes:
        memory: Which memories a frame attends to.
        fill_hole_area: Background regions of at most this many low-res cells are filled.
        exact: Work as the published implementation does, where we know better or not.
        memory_selection: Of the recent frames, only those on which the object is seen with at
            least this predicted IoU are attended to; None for all, as published.
        follows_motion: A tracked frame is given the mask of the frame before, moved along with
            the picture; see `core.motion`.
        looks_back: Such masks are held against earlier looks; see `core.looking_back`.
        learns_appearance: Where things stay as they are, such masks are held against what the
            object looks like where it was prompted; see `core.object_appearance`, and for what the
            networks do not know `core.label_propagation` and `core.finding_again`.
        presence: How long an object that is seen but weakly is followed; None to believe every
            frame.
        keeps_alike: Objects that look as they did are there; see `core.presence`. None where that
            is for the frames to say: from one point in time to the next things stay, and from
            slice to slice of a stack they end among others that look like them.
        retouches: Masks are drawn anew from near; see `core.redrawing`.
        heeds_prompts: Masks are made to agree with clicks and boxes; see `core.heeded_prompts`.

    Raises:
        ValueError: `memory_selection` is not in [0, 1].
    """

    memory: MemoryRule
    fill_hole_area: int
    exact: bool
    memory_selection: float | None = None
    follows_motion: bool = False
    looks_back: bool = False
    learns_appearance: bool = False
    presence: PresenceRule | None = None
    keeps_alike: bool | None = None
    retouches: bool = False
    heeds_prompts: bool = False

    def __post_init__(self) -> None:
        if self.memory_selection is not None and not 0 <= self.memory_selection <= 1:
            raise ValueError(
                f"memory_selection is a predicted IoU, 0 to 1, or None, not {self.memory_selection}"
            )

    def remembered(
        self,
        frame_index: int,
        step: int,
        *,
        find: Callable[[int], "FrameResult | None"],
        prompted: Collection[int],
    ) -> list[tuple[int, int]]:
        """The recent frames whose maps a frame attends to, and the age that each counts as.

        With a selection, frames that are lost or doubtful do not take the places of good ones
        (as in SAM2Long and SAMURAI): places are filled from the nearest good frames, as far back
        as pointers reach. The frame just before always counts: it says where the object is.

        Args:
            frame_index: The frame that attends.
            step: 1 walking forward, -1 walking backward.
            find: Gives what may be remembered of a frame.
            prompted: Frames that a person has judged, which are good.

        Returns:
            (frame index, age), oldest first; see `recent_frames`.
        """
        rule = self.memory
        least = self.memory_selection
        if least is None or not rule.memory_frames:
            return recent_frames(frame_index, step, rule)

        def is_good(frame: int) -> bool:
            found = find(frame)
            return found is not None and (
                frame in prompted or (found.object_score_logit > 0 and found.predicted_iou >= least)
            )

        reach = max(rule.memory_frames, (rule.max_pointers - 2) // rule.memory_stride + 1)
        # Nearest first. The first is the frame just before.
        previous, *others = recent_frames(frame_index, step, replace(rule, memory_frames=reach))[
            ::-1
        ]
        good = [frame for frame, _ in others if is_good(frame)][: rule.memory_frames - 1]
        return [previous, *((frame, age) for age, frame in enumerate(good, start=2))][::-1]

    @property
    def options(self) -> dict[str, float | None]:
        """The options of `VideoTracker` that make these rules."""
        return {
            "exact": self.exact,
            "max_conditioning_frames": self.memory.max_conditioning_frames,
            "memory_frames": self.memory.memory_frames,
            "memory_stride": self.memory.memory_stride,
            "fill_hole_area": self.fill_hole_area,
            "memory_selection": self.memory_selection,
            "follow_motion": self.follows_motion,
            "look_back": self.looks_back,
            "learn_appearance": self.learns_appearance,
            "retouch": self.retouches,
            "smooth_presence": self.presence is not None,
            "keep_alike": self.keeps_alike,
        }


def choose_carrying(
    rules: Rules,
    config: ModelConfig,
    *,
    follow_motion: bool | None,
    look_back: bool | None,
    learn_appearance: bool | None,
    smooth_presence: bool | None,
) -> Rules:
    """Fill in how masks are carried from frame to frame.

    Args:
        rules: What is known already.
        config: Of the model.
        follow_motion: None for models that were trained so, unless the rules are exact.
        look_back: None wherever motion is followed; never without.
        learn_appearance: Likewise.
        smooth_presence: None for models that need it, unless the rules are exact.
    """
    if follow_motion is None:
        follow_motion = config.follows_motion and not rules.exact
    if smooth_presence is None:
        smooth_presence = not rules.exact
    return replace(
        rules,
        follows_motion=follow_motion,
        looks_back=follow_motion and look_back in (None, True),
        learns_appearance=follow_motion and learn_appearance in (None, True),
        presence=config.presence if smooth_presence else None,
    )


def make_rules(
    model: SAM2,
    *,
    exact: bool,
    max_conditioning_frames: int | Literal["default"] | None,
    memory_frames: int | None,
    memory_stride: int,
    fill_hole_area: int,
    num_frames: int | None,
) -> Rules:
    """Fill in what the caller left open.

    Args:
        model: The network.
        exact: See `Rules`.
        max_conditioning_frames: "default" for 4, or for all where `exact`; None for all.
        memory_frames: None for as many as the model has places for.
        memory_stride: See `MemoryRule`.
        fill_hole_area: See `Rules`.
        num_frames: Of the stack; None for a stream. The published implementation scales time by
            the length of clips shorter than the reach of pointers.

    Raises:
        ValueError: A number is out of range, or the model cannot track.
    """
    config = model.config
    if not model.has_memory:
        raise ValueError(
            f"these weights of {config.name} are for images only: tracking needs those for video"
        )
    if max_conditioning_frames == "default":
        max_conditioning_frames = None if exact else CONDITIONING_FRAMES
    most = config.num_memories - 1
    if memory_frames is None:
        memory_frames = most
    if memory_frames > most:
        raise ValueError(f"memory_frames must be 0 to {most}, not {memory_frames}")
    if fill_hole_area < 0:
        raise ValueError(f"fill_hole_area must be 0 or more, not {fill_hole_area}")
    pointers = config.max_pointers
    if exact and num_frames is not None:
        pointers = min(pointers, num_frames)
    rule = MemoryRule(max_conditioning_frames, memory_frames, memory_stride, pointers)
    return Rules(rule, fill_hole_area, exact)
