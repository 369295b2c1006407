"""What sources of frames say of themselves: points in time, or slices of a stack."""

import numpy as np
import pytest
import tifffile
from PIL import Image
from tiny import make_tiny

from sam2_plugins.core.evaluation import load_sequences
from sam2_plugins.core.formats.davis import write_png
from sam2_plugins.core.frames import open_frames, shows_time
from sam2_plugins.core.tracker import VideoTracker

STACK = np.random.default_rng(0).integers(0, 255, (4, 40, 48), np.uint8)


def tiff(path, axes):
    metadata = {} if axes is None else {"axes": axes}
    tifffile.imwrite(
        path, STACK, photometric="minisblack", imagej=axes is not None, metadata=metadata
    )
    return path


def folder(path, *, is_grey=True):
    path.mkdir(parents=True)
    for number, plane in enumerate(STACK):
        Image.fromarray(plane).convert("L" if is_grey else "RGB").save(path / f"{number:03d}.png")
    return path


def test_a_file_says_whether_its_frames_are_points_in_time(tmp_path):
    assert shows_time(open_frames(tiff(tmp_path / "time.tif", "TYX")))
    assert not shows_time(open_frames(tiff(tmp_path / "depth.tif", "ZYX")))
    assert not shows_time(open_frames(tiff(tmp_path / "unnamed.tif", None)))


def test_of_what_says_nothing_the_caller_may(tmp_path):
    grey = folder(tmp_path / "grey")
    for source in (STACK, grey, tiff(tmp_path / "unnamed.tif", None)):
        assert not shows_time(open_frames(source))
        assert shows_time(open_frames(source, axes="tyx"))
        assert not shows_time(open_frames(source, axes="zyx"))
    assert not shows_time(open_frames(tiff(tmp_path / "time.tif", "TYX"), axes="zyx"))


def test_colours_are_of_films_and_a_source_of_ones_own_need_say_nothing(tmp_path):
    assert shows_time(open_frames(folder(tmp_path / "colours", is_grey=False)))

    class Own:
        num_frames, frame_size, is_rgb, signature = 4, (40, 48), False, "own"

    assert not shows_time(Own())
    Own.shows_time = True
    assert shows_time(Own())


def test_what_is_known_of_time_is_no_part_of_what_identifies_a_stack(tmp_path):
    path = tiff(tmp_path / "unnamed.tif", None)
    said, guessed = (open_frames(path, axes=axes) for axes in ("tyx", None))
    assert shows_time(said) is not shows_time(guessed)
    assert said.signature == guessed.signature


@pytest.mark.parametrize(("axes", "stays"), [("TYX", True), ("ZYX", False), (None, False)])
def test_a_tracker_lets_things_stay_where_frames_are_points_in_time(axes, stays, tmp_path):
    path = tiff(tmp_path / "stack.tif", axes)
    assert VideoTracker(make_tiny(), path)._segmenter.rules.keeps_alike is stays
    other = VideoTracker(make_tiny(), path, keep_alike=not stays)
    assert other._segmenter.rules.keeps_alike is not stays


def test_grey_videos_are_evaluated_as_videos_and_volumes_as_volumes(tmp_path):
    folder(tmp_path / "data/video/frames")
    (tmp_path / "data/video/masks").mkdir()
    (tmp_path / "data/volume").mkdir()
    labels = np.zeros(STACK.shape, np.uint8)
    labels[:, 8:20, 8:20] = 1
    for number, plane in enumerate(labels):
        write_png(tmp_path / f"data/video/masks/{number:03d}.png", plane)
    tifffile.imwrite(tmp_path / "data/volume/volume.tif", STACK, photometric="minisblack")
    tifffile.imwrite(tmp_path / "data/volume/labels.tif", labels, photometric="minisblack")
    video, volume = load_sequences(tmp_path / "data")
    assert shows_time(video.open())
    assert not shows_time(volume.open())
    assert shows_time(video.first(2).open())
    # What was computed before is still of the same frames.
    whole = open_frames(tmp_path / "data/video/frames")
    assert video.open().signature == whole.signature
    assert video.first(2).open().signature == f"{whole.signature}-2"
