"""Real H.264 files of moving discs, and where the discs are."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

COLOURS = ((230, 60, 40), (40, 200, 70), (60, 90, 230))


def moving_discs(
    num_frames: int, *, num_objects: int = 1, size: tuple[int, int] = (64, 96)
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Discs that go right, one below the other, each with its own colour.

    Returns:
        Frames (T, H, W, 3) and labels (T, H, W), object ids 1 to `num_objects`.
    """
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    labels = np.zeros((num_frames, height, width), np.uint8)
    radius = 0.4 * height / num_objects
    for index, share in enumerate(np.linspace(0, 1, num_frames)):
        x = np.interp(share, (0, 1), (radius + 2, width - radius - 2))
        for number in range(num_objects):
            y = height * (number + 0.5) / num_objects
            labels[index][(rows - y) ** 2 + (columns - x) ** 2 < (0.8 * radius) ** 2] = number + 1
    ground = 60 + 40 * ((rows // 8 + columns // 8) % 2)
    frames = np.repeat(np.broadcast_to(ground, labels.shape)[..., None], 3, -1).astype(np.uint8)
    for number in range(num_objects):
        frames[labels == number + 1] = COLOURS[number]
    return frames, labels


def make_video(
    path: Path,
    frames: NDArray[np.uint8],
    *,
    fps: float = 10,
    timestamps_ms: Sequence[int] | None = None,
    rotate: int = 0,
    options: Sequence[str] = (),
) -> Path:
    """Write frames as an H.264 file.

    Args:
        path: Ending in .mp4; its folder is made.
        frames: (T, H, W, 3) uint8 RGB, H and W even.
        fps: Frames per second.
        timestamps_ms: When each frame is shown, for a variable rate; `fps` is then not used.
        rotate: Degrees in the file's display matrix, by which players turn the picture.
        options: More of ffmpeg's, before the output.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _, height, width, _ = frames.shape
    plain = path if not rotate else path.with_name(f"{path.stem}-upright.mp4")
    filters = []
    if timestamps_ms is not None:
        steps = "+".join(f"eq(N,{n})*{ms}" for n, ms in enumerate(timestamps_ms))
        filters = ["-vf", f"settb=1/1000,setpts='{steps}'", "-fps_mode", "passthrough"]
        filters += ["-enc_time_base", "1/1000"]
    _ffmpeg(
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps)),
        *("-i", "-", *filters, "-c:v", "libx264", "-preset", "ultrafast", "-crf", "10"),
        *("-pix_fmt", "yuv420p", "-threads", "1", *options, str(plain)),
        given=np.ascontiguousarray(frames).tobytes(),
    )
    if rotate:
        _rotate(plain, path, rotate)
        plain.unlink()
    return path


def cut_video(path: Path, source: Path, *, start_s: float) -> Path:
    """Cut the beginning off without encoding again, as an editor does."""
    _ffmpeg("-ss", str(start_s), "-i", str(source), "-c", "copy", str(path))
    return path


def _rotate(source: Path, path: Path, degrees: int) -> None:
    try:
        _ffmpeg("-display_rotation", str(degrees), "-i", str(source), "-c", "copy", str(path))
    except AssertionError:  # ffmpeg before 6 has this as metadata only
        tag = ["-metadata:s:v", f"rotate={360 - degrees}"]
        _ffmpeg("-i", str(source), "-c", "copy", *tag, str(path))


def _ffmpeg(*arguments: str, given: bytes | None = None) -> None:
    command = ["ffmpeg", "-v", "error", "-y", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def relative_box(mask: NDArray[np.bool_], margin: int = 1) -> list[float]:
    """[x, y, width, height] around a mask, as shares of the frame."""
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    x0, y0 = max(columns.min() - margin, 0), max(rows.min() - margin, 0)
    x1, y1 = min(columns.max() + 1 + margin, width), min(rows.max() + 1 + margin, height)
    return [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height]
