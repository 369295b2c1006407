"""Videos that are opened in napari."""

import threading
import time
from importlib.resources import files
from pathlib import Path

import av
import numpy as np
import pytest
from npe2 import PluginManifest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QProgressDialog, QPushButton

from sam2_plugins.commands.napari import open_paths
from sam2_plugins.core import open_frames
from sam2_plugins.core.frames import video_index
from sam2_plugins.core.frames.video import VIDEO_SUFFIXES
from sam2_plugins.napari_plugin.video_reading import FrameArray, open_array

SHADES = [40, 120, 200]


def write_video(path: Path, images: list[np.ndarray]) -> Path:
    """MPEG-4, its index before its frames."""
    with av.open(path, "w", container_options={"movflags": "faststart"}) as video:
        stream = video.add_stream("mpeg4", rate=5)
        stream.height, stream.width = images[0].shape[:2]
        for image in images:
            video.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        video.mux(stream.encode())
    return path


@pytest.fixture
def clip(tmp_path):
    return write_video(
        tmp_path / "clip.mp4", [np.full((48, 64, 3), shade, np.uint8) for shade in SHADES]
    )


def test_a_video_is_a_film_whose_frames_stay_in_the_file(make_napari_viewer, clip):
    viewer = make_napari_viewer()
    open_paths(viewer, [clip])
    (layer,) = viewer.layers
    assert layer.source.reader_plugin == "sam2-plugins"
    assert (layer.name, layer.rgb, layer.ndim) == ("clip", True, 3)
    assert tuple(layer.axis_labels) == ("t", "y", "x")
    assert isinstance(layer.data, FrameArray)
    for frame, shade in enumerate(SHADES):
        viewer.dims.set_current_step(0, frame)
        assert layer.data[frame].mean() == pytest.approx(shade, abs=4)


def test_of_a_video_that_is_cut_there_is_what_decodes_and_a_warning(make_napari_viewer, clip):
    from napari.utils.notifications import notification_manager

    cut = clip.with_name("cut.mp4")
    cut.write_bytes(clip.read_bytes()[:-80])
    (layer,) = make_napari_viewer().open(cut, plugin="sam2-plugins")
    assert len(layer.data) == 2
    assert "cut.mp4: is truncated: 2 of 3 frames" in notification_manager.records[-1].message


def test_an_object_is_tracked_in_a_video(open_widget, settle, tmp_path, images):
    grey = (images / images.max() * 255).astype(np.uint8)
    path = write_video(tmp_path / "disk.mp4", [np.stack([frame] * 3, -1) for frame in grey])
    viewer, widget = open_widget()
    viewer.open(path, plugin="sam2-plugins")
    viewer.layers["SAM 2 points"].add([3, 20, 29])
    settle(widget)
    widget.controller.propagate()
    settle(widget)
    masks = np.asarray(viewer.layers["SAM 2 masks"].data)
    assert masks.shape == images.shape
    assert masks.any(axis=(1, 2)).all()


def test_what_the_manifest_calls_videos_are_those_that_core_reads():
    path = files("sam2_plugins.napari_plugin") / "napari.yaml"
    (reader,) = PluginManifest.from_file(str(path)).contributions.readers
    # napari reads GIF itself.
    assert {f"*{suffix}" for suffix in VIDEO_SUFFIXES} - {"*.gif"} == set(reader.filename_patterns)


def test_frames_are_indexed_as_an_array_is(images):
    lazy = FrameArray(open_frames(images))
    assert (lazy.shape, lazy.dtype, lazy.ndim, len(lazy)) == (images.shape, images.dtype, 3, 8)
    for index in (
        *(3, -1, slice(2, 7, 2), slice(5, 5), Ellipsis),
        *((3, slice(4, 9), 7), (slice(None), 5, 6), (Ellipsis, 3), (-2, slice(None), slice(0, 9))),
    ):
        assert np.array_equal(lazy[index], images[index])
    assert np.array_equal(np.asarray(lazy), images)


@pytest.fixture
def long_clip(clip, monkeypatch):
    """A video that takes a while to go through: it stops at every frame."""
    decode = video_index.decode_frames

    def slowly(*arguments):
        for frame in decode(*arguments):
            time.sleep(0.3)
            yield frame

    monkeypatch.setattr(video_index, "decode_frames", slowly)
    return clip


def test_the_window_lives_while_a_long_video_is_gone_through(make_napari_viewer, long_clip, qtbot):
    viewer, said = make_napari_viewer(), []

    def look():
        said.extend((d.labelText(), d.isModal(), d.value()) for d in dialogs())

    beat = QTimer()
    beat.timeout.connect(look)
    beat.start(20)
    (layer,) = viewer.open(long_clip, plugin="sam2-plugins")
    beat.stop()
    assert len(layer.data) == len(SHADES)
    assert len(said) > 10
    assert {said[:2] for said in said} == {("Going through clip.mp4 …", True)}
    qtbot.waitUntil(lambda: not dialogs())


def test_who_does_not_want_to_wait_for_a_video_gets_no_layer(make_napari_viewer, long_clip, qtbot):
    viewer = make_napari_viewer()
    QTimer.singleShot(300, lambda: [d.findChild(QPushButton).click() for d in dialogs()])
    assert viewer.open(long_clip, plugin="sam2-plugins") == []
    assert not viewer.layers
    open_paths(viewer, [long_clip])
    assert len(viewer.layers) == 1
    qtbot.waitUntil(lambda: not dialogs())


def dialogs() -> list[QProgressDialog]:
    """Those that say that something is being waited for."""
    return [w for w in QApplication.topLevelWidgets() if isinstance(w, QProgressDialog)]


def test_who_reads_in_another_thread_has_a_decoder_of_its_own(clip):
    array = open_array(clip)
    own, read = array.frames, []
    thread = threading.Thread(target=lambda: read.append(array[1].mean()))
    array.frames = None
    thread.start()
    thread.join()
    array.frames = own
    assert read == [array[1].mean()]
