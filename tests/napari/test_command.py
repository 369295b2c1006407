"""`sam2-plugins napari`."""

import argparse

import numpy as np
import pytest
import tifffile
from napari.errors import NoAvailableReaderError

import napari
from sam2_plugins.commands import napari as command
from sam2_plugins.commands.napari import add_parser, open_paths


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


def test_what_neither_napari_nor_we_can_read_is_named(tmp_path, make_napari_viewer):
    viewer = make_napari_viewer()
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match="notes"):
        open_paths(viewer, [tmp_path / "notes.txt"])


def test_channels_that_only_our_commands_tell_apart_are_layers(
    tmp_path, make_napari_viewer, monkeypatch
):
    pixels = np.random.default_rng(0).integers(0, 999, (5, 48, 64, 2), np.uint16)

    def no_reader(viewer, path, plugin):
        raise NoAvailableReaderError("none", [path])

    np.save(tmp_path / "two.npy", pixels)
    viewer = make_napari_viewer()
    monkeypatch.setattr(type(viewer), "open", no_reader)
    open_paths(viewer, [tmp_path / "two.npy"])
    assert [layer.name for layer in viewer.layers] == ["two 0", "two 1"]
    for channel, layer in enumerate(viewer.layers):
        assert np.array_equal(np.asarray(layer.data), pixels[..., channel])
