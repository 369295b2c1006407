"""`sam2-plugins napari`."""

import argparse

import numpy as np
import pytest
import tifffile
from napari.errors import NoAvailableReaderError

import napari
from sam2_plugins.commands import napari as command
from sam2_plugins.commands.napari import FrameArray, add_parser, open_paths
from sam2_plugins.core import open_frames


@pytest.fixture
def parse():
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return lambda *words: parser.parse_args(["napari", *map(str, words)])


def test_files_are_opened_and_the_widget_is_docked(
    parse, make_napari_viewer, monkeypatch, images, tmp_path, press
):
    tifffile.imwrite(tmp_path / "cells.tif", images)
    made, waited = [], []

    def make():
        made.append(make_napari_viewer())
        return made[-1]

    monkeypatch.setattr(napari, "Viewer", make)
    monkeypatch.setattr(napari, "run", lambda: waited.append(True))
    command.run(parse(tmp_path / "cells.tif", "--model", "nano", "--image-size", 128))
    (viewer,) = made
    assert waited
    assert np.array_equal(viewer.layers["cells"].data, images)
    assert "SAM 2 points" in viewer.layers
    (widget,) = (w for name, w in viewer.window.dock_widgets.items() if "SAM 2" in name)
    controller = widget.controller
    assert controller.models.choice.image_size == 128
    assert not controller.models.is_loaded
    controller.close(20)


def test_a_path_that_is_not_there_is_said_before_a_window_opens(run, tmp_path, monkeypatch):
    monkeypatch.setattr(napari, "Viewer", lambda: pytest.fail("a window was opened"))
    ran = run("napari", tmp_path / "no.tif")
    assert ran.status == 2
    assert "there is no file or folder" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_without_a_display_there_is_one_line(run, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    for words in (["napari"], ["benchmark", "napari"]):
        ran = run(*words)
        assert ran.status == 2
        assert "no display" in ran.err


def test_what_napari_cannot_read_is_read_as_our_commands_do(tmp_path, make_napari_viewer):
    import av

    shades = [40, 120, 200]
    with av.open(tmp_path / "clip.mp4", "w") as video:
        stream = video.add_stream("mpeg4", rate=5)
        stream.width, stream.height = 64, 48
        for shade in shades:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), shade, np.uint8))
            video.mux(stream.encode(frame))
        video.mux(stream.encode())
    viewer = make_napari_viewer()
    open_paths(viewer, [tmp_path / "clip.mp4"])
    (layer,) = viewer.layers
    assert (layer.name, layer.rgb, layer.ndim) == ("clip", True, 3)
    assert np.asarray(layer.data).mean(axis=(1, 2, 3)) == pytest.approx(shades, abs=4)
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match="notes"):
        open_paths(viewer, [tmp_path / "notes.txt"])


def test_channels_that_only_our_commands_tell_apart_are_layers(
    tmp_path, make_napari_viewer, monkeypatch
):
    pixels = np.random.default_rng(0).integers(0, 999, (5, 48, 64, 2), np.uint16)

    def no_reader(viewer, path):
        raise NoAvailableReaderError("none", [path])

    np.save(tmp_path / "two.npy", pixels)
    viewer = make_napari_viewer()
    monkeypatch.setattr(type(viewer), "open", no_reader)
    open_paths(viewer, [tmp_path / "two.npy"])
    assert [layer.name for layer in viewer.layers] == ["two 0", "two 1"]
    for channel, layer in enumerate(viewer.layers):
        assert np.array_equal(np.asarray(layer.data), pixels[..., channel])


def test_frames_are_indexed_as_an_array_is(images):
    lazy = FrameArray(open_frames(images))
    assert (lazy.shape, lazy.dtype, lazy.ndim, len(lazy)) == (images.shape, images.dtype, 3, 8)
    for index in (
        *(3, -1, slice(2, 7, 2), slice(5, 5), Ellipsis),
        *((3, slice(4, 9), 7), (slice(None), 5, 6), (Ellipsis, 3), (-2, slice(None), slice(0, 9))),
    ):
        assert np.array_equal(lazy[index], images[index])
    assert np.array_equal(np.asarray(lazy), images)
