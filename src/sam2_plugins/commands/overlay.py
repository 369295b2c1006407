"""Pictures of masks over frames: a contact sheet, a video, or a folder of PNGs."""

from __future__ import annotations

import colorsys
import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sam2_plugins.core.frame_results import FramePrompts
    from sam2_plugins.core.masks import FrameMasks

    Drawing = Callable[[int], NDArray[np.uint8]]

SHEET_TILES = 12
SHEET_TILE_SIDE = 320
VIDEO_RATE = 10
OPACITY = 0.35
# Steps of the golden ratio around the circle of hues never come back to the same one, and keep
# ids that follow each other apart.
HUE_STEP = 0.618034
WHITE, GREEN, RED = (255, 255, 255), (0, 255, 0), (255, 0, 0)


def color_of(object_id: int) -> NDArray[np.float32]:
    """(3,) float32 RGB, whole numbers of 0 to 255, the same for an id wherever it is drawn."""
    rgb = colorsys.hls_to_rgb(object_id * HUE_STEP % 1, 0.6, 0.9)
    return (np.array(rgb, np.float32) * 255).round()


def draw(rgb: NDArray[np.generic], masks: FrameMasks) -> NDArray[np.uint8]:
    """Tint every object and outline it; of those found on one thing the one that has it.

    Args:
        rgb: (H, W, 3), uint8 or float in [0, 1].
        masks: What to draw, of the same size.

    Returns:
        (H, W, 3) uint8.
    """
    scale = 1 if rgb.dtype == np.uint8 else 255
    picture = rgb.astype(np.float32) * scale
    is_drawn = ~masks.gives_way
    for object_id, mask in zip(
        masks.object_ids[is_drawn].tolist(), masks.masks[is_drawn], strict=True
    ):
        color = color_of(object_id)
        picture[mask] += OPACITY * (color - picture[mask])
        picture[mask & ~ndimage.binary_erosion(mask, border_value=1)] = color
    return picture.round().clip(0, 255).astype(np.uint8)


def mark(picture: NDArray[np.uint8], prompts: Iterable[FramePrompts]) -> NDArray[np.uint8]:
    """Mark prompts on a picture of their frame.

    Args:
        picture: (H, W, 3) uint8.
        prompts: Boxes are drawn white, clicks as crosses, green on the object and red off it.

    Returns:
        (H, W, 3) uint8.
    """
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    for entry in prompts:
        if entry.box:
            (x0, y0), (x1, y1) = entry.box.corners
            pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=WHITE)
        clicks = entry.points
        for (x, y), label in zip(clicks.xy, clicks.labels, strict=True) if clicks else ():
            color = GREEN if label else RED
            pen.line((x - 2, y, x + 2, y), fill=color)
            pen.line((x, y - 2, x, y + 2), fill=color)
    return np.asarray(image)


def check_overlay(path: Path, sources: Iterable[Path] = ()) -> None:
    """Refuse an overlay of unknown kind, or one that cannot or must not be written.

    Args:
        path: Of `write_overlay`.
        sources: What is read, and what else is written.

    Raises:
        ValueError: The ending is none of .png, .mp4 or nothing (a folder); something else stands
            there; or it is, or lies in, one of the sources.
        OSError: The folder around it is missing or cannot be written to.
    """
    from sam2_plugins.core.formats import davis
    from sam2_plugins.core.formats.staging import check_apart, check_replaceable, staging_folder

    if path.suffix.lower() not in (".png", ".mp4", ""):
        raise ValueError(f"--overlay {path}: ends in .png, .mp4, or nothing for a folder of PNGs")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"--overlay {path}: there is no folder {path.parent}")
    check_apart(path, sources)
    if not path.suffix:
        check_replaceable(path, davis.is_output)
    elif path.is_dir():
        raise ValueError(f"--overlay {path}: exists and is a folder")
    with staging_folder(path.absolute()):
        pass


def write_overlay(
    path: Path, drawing: Drawing, num_frames: int, *, always: Iterable[int] = ()
) -> None:
    """Write the pictures of all frames; the ending of `path` says how.

    Args:
        path: `.png` for a contact sheet, `.mp4` for a video, else a folder of PNGs, which is new,
            empty, or an earlier overlay.
        drawing: Frame index -> (H, W, 3) uint8.
        num_frames: Frames there are.
        always: Frames that a contact sheet must show.
    """
    from sam2_plugins.core.formats import davis
    from sam2_plugins.core.formats.staging import (
        explain_write_errors,
        move_into_place,
        staging_folder,
    )

    with staging_folder(path) as folder, explain_write_errors(path):
        aside = folder / path.name
        suffix = path.suffix.lower()
        if suffix == ".mp4":
            _write_video(aside, drawing, num_frames)
        elif suffix == ".png":
            _write_png(aside, sheet(drawing, choose_frames(num_frames, always)))
        else:
            aside.mkdir()
            for frame_index in range(num_frames):
                _write_png(aside / f"{frame_index:05d}.png", drawing(frame_index))
        move_into_place(aside, path, is_output=davis.is_output)


def choose_frames(
    num_frames: int, always: Iterable[int] = (), *, tiles: int = SHEET_TILES
) -> list[int]:
    """At most `tiles` frames: `always` first, then others spread evenly; ascending."""
    chosen = sorted(set(always))[:tiles]
    spread = np.linspace(0, num_frames - 1, min(num_frames, tiles)).round().astype(int).tolist()
    # Of the evenly spread ones, those nearest to a frame that is shown anyway give way to it.
    while spread and len(set(chosen) | set(spread)) > tiles:
        spread.remove(min(spread, key=lambda f: (f in chosen, min(abs(f - c) for c in chosen))))
    return sorted(set(chosen) | set(spread))


def sheet(drawing: Drawing, frame_indices: Sequence[int]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: the chosen frames side by side, each with its index."""
    from PIL import Image, ImageDraw

    tiles = []
    for frame_index in frame_indices:
        picture = Image.fromarray(drawing(frame_index))
        if len(frame_indices) > 1:
            zoom = SHEET_TILE_SIDE / max(picture.size)
            width, height = (max(1, round(side * zoom)) for side in picture.size)
            resample = Image.Resampling.NEAREST if zoom > 1 else Image.Resampling.LANCZOS
            picture = picture.resize((width, height), resample)
            ImageDraw.Draw(picture).text((5, 3), str(frame_index), fill="white", stroke_width=1,
                                         stroke_fill="black")  # fmt: skip
        tiles.append(np.asarray(picture))
    columns = math.ceil(math.sqrt(len(tiles)))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    return np.vstack(rows)


def _write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    from PIL import Image

    from sam2_plugins.core.formats.davis import save_own_png

    save_own_png(path, Image.fromarray(picture))


def _write_video(path: Path, drawing: Drawing, num_frames: int) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(VIDEO_RATE))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18"}
        for frame_index in range(num_frames):
            picture = drawing(frame_index)
            # yuv420p halves both sides of the colour planes, so they must be even.
            height, width = (side % 2 for side in picture.shape[:2])
            picture = np.pad(picture, ((0, height), (0, width), (0, 0)), "edge")
            if frame_index == 0:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
