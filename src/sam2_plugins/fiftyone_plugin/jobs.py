"""From the labels of a video to what the runner is to do."""

from typing import Any

from sam2_plugins.core import FrameSource, open_frames
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.planning import frames_to_compute
from sam2_plugins.fiftyone_plugin.prompts import Track
from sam2_plugins.fiftyone_plugin.runner import Job
from sam2_plugins.fiftyone_plugin.sources import Unit


def open_unit(unit: Unit) -> FrameSource:
    """The frames of a video, or of a group of images.

    Raises:
        ValueError: They cannot be read.
    """
    return open_frames(unit.paths[0] if unit.is_video else list(unit.paths))


def make_job(frames: FrameSource, unit: Unit, tracks: dict[int, Track], options: Options) -> Job:
    """What the runner is to do.

    Raises:
        ValueError: A prompt is on a frame that does not exist, or is malformed, or no frame is
            left to compute.
    """
    length, size = frames.num_frames, frames.frame_size
    for track in tracks.values():
        for number in track.labels:
            if not 1 <= number <= length:
                raise ValueError(
                    f"{unit.name}: the prompt of object {track.identity.index} is on frame "
                    f"{number}, but only {length} frames can be decoded (1 to {length})"
                )
    prompts: dict[int, dict[int, Any]] = {}
    for object_id, track in tracks.items():
        for number in track.labels:
            try:
                prompt = track.prompt(number, size)
            except ValueError as error:
                raise ValueError(f"{unit.name}, frame {number}: {error}") from error
            prompts.setdefault(object_id, {})[number - 1] = prompt
    compute = frames_to_compute(unit, options, length)
    if not compute:
        raise ValueError(f"{unit.name}: no frame is left to compute; it has frames 1 to {length}")
    return Job(frames, prompts, compute, options.direction, unit.name)
