"""Frames, one at a time, from arrays, files, folders and videos."""

from sam2_plugins.core.frames.opening import open_frames
from sam2_plugins.core.frames.source import FrameSource, check_whole, shows_time

__all__ = ["FrameSource", "check_whole", "open_frames", "shows_time"]
