"""What is known of a track's frames, and what was found of it: plain values, judged in `quality`.

Boxes are relative (x, y, width, height), as FiftyOne keeps them.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOW_IOU, LOST, JUMP, TWIN = "sam2:low_iou", "sam2:lost", "sam2:jump", "sam2:twin"
FLAGS = (LOW_IOU, LOST, JUMP, TWIN)
"""What can be wrong with a track, as tags of its video."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class TrackFrame:
    """One object on one frame, as its label says.

    Attributes:
        frame_index: 0-based.
        box: (x, y, width, height) relative to the frame; of no area where nothing is seen.
        predicted_iou: In [0, 1]; NaN where the label has none.
        object_score_logit: > 0 means visible; NaN where the label has none.
        is_given: A person's own label, or its frame was prompted: it is not doubted.
    """

    frame_index: int
    box: Box
    predicted_iou: float = math.nan
    object_score_logit: float = math.nan
    is_given: bool = False

    @property
    def is_visible(self) -> bool:
        """Whether the object is on this frame."""
        return self.box[2] * self.box[3] > 0 and not self.object_score_logit <= 0


@dataclass(frozen=True, slots=True)
class TrackQuality:
    """One track over the frames that were looked at.

    Attributes:
        track: Key of the track.
        num_frames: Frames on which the object is visible.
        mean_predicted_iou: Over those; NaN when no label has one.
        lowest_predicted_iou: NaN likewise.
        lowest_frame: Index of that frame, None likewise.
        absences: First and last frame index of every stretch without the object.
        jumps: Frame indices whose box is far from the one before.
        twins: Frame indices on which a track with more right is on the same thing.
        doubts: Frame index -> how much it is worth a look; 0 is none.
        flags: Those of `FLAGS` that hold.
    """

    track: str
    num_frames: int
    mean_predicted_iou: float
    lowest_predicted_iou: float
    lowest_frame: int | None
    absences: tuple[tuple[int, int], ...]
    jumps: tuple[int, ...]
    twins: tuple[int, ...]
    doubts: Mapping[int, float]
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VideoQuality:
    """All tracks of a video.

    Attributes:
        tracks: In the order given.
        mean_predicted_iou: Mean of the tracks' means, NaN without scores.
    """

    tracks: tuple[TrackQuality, ...] = ()
    mean_predicted_iou: float = math.nan

    @property
    def lowest(self) -> TrackQuality | None:
        """The track with the lowest predicted IoU, None without scores."""
        scored = [track for track in self.tracks if track.lowest_frame is not None]
        return min(scored, key=lambda track: track.lowest_predicted_iou, default=None)

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of any track, in the order of `FLAGS`."""
        return tuple(flag for flag in FLAGS if any(flag in track.flags for track in self.tracks))

    @property
    def num_absences(self) -> int:
        """Stretches without an object, of all tracks."""
        return sum(len(track.absences) for track in self.tracks)

    @property
    def num_jumps(self) -> int:
        """Jumps of all tracks."""
        return sum(len(track.jumps) for track in self.tracks)

    @property
    def num_twins(self) -> int:
        """Frames of all tracks on which a track with more right is on the same thing."""
        return sum(len(track.twins) for track in self.tracks)

    @property
    def greatest_doubt(self) -> float:
        """The doubt of the frame most worth a look; 0 without tracks."""
        return max((value for track in self.tracks for value in track.doubts.values()), default=0.0)


def prompt_distances(frames: Sequence[TrackFrame]) -> dict[int, int]:
    """Frame index -> frames to the nearest one that was given; very many where none was."""
    indices = np.array([frame.frame_index for frame in frames], dtype=np.int64)
    given = np.sort(indices[[frame.is_given for frame in frames]])
    if not len(given):
        return dict.fromkeys(indices.tolist(), sys.maxsize)
    after = np.searchsorted(given, indices)
    ends = given[after.clip(max=len(given) - 1)], given[(after - 1).clip(min=0)]
    distances = np.minimum(*(np.abs(end - indices) for end in ends))
    return dict(zip(indices.tolist(), distances.tolist(), strict=True))


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes (x, y, width, height); 1 when both have no area."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    common = max(width, 0.0) * max(height, 0.0)
    union = first[2] * first[3] + second[2] * second[3] - common
    return common / union if union > 0 else 1.0
