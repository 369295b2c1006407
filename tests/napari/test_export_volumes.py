"""Masks of volumes over time, written and read back."""

import json

import numpy as np
import pytest
import tifffile
import zarr
from qtpy.QtWidgets import QFileDialog

from sam2_plugins.core import load_masks
from sam2_plugins.napari_plugin.exporting import FORMATS, ONE_STACK, named_axes
from sam2_plugins.napari_plugin.frames import make_stack
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.prompts import MaskPixels, PromptKey, SlicePrompts

SCALE = (60.0, 2.0, 0.5, 0.25)
UNITS = ("second", "micrometer", "micrometer", "micrometer")
SHAPE = (3, 4, 32, 40)


def paint(controller, *, axis_order=(0, 1, 2, 3)) -> np.ndarray:
    """Say masks of two objects at two time points; returns the whole as (T, Z, Y, X)."""
    expected = np.zeros(SHAPE, np.uint16)
    t_axis, z_axis, y_axis, x_axis = (axis_order.index(a) for a in range(4))
    shape = controller.document.stack.shape
    said = []
    for time, z, object_id, rows in ((0, 1, 1, 4), (0, 2, 1, 5), (2, 3, 1, 6), (2, 3, 2, 20)):
        mask = np.zeros((32, 40), bool)
        mask[rows : rows + 8, 3:15] = True
        expected[time, z][mask] = object_id
        plane = Plane(shape, z_axis, min(y_axis, x_axis), max(y_axis, x_axis), ((t_axis, time),))
        pixels = mask if y_axis < x_axis else mask.T
        key = PromptKey(plane, z, object_id)
        said.append((key, SlicePrompts(mask=MaskPixels.pack(pixels))))
    controller.set_prompts(said)
    controller.wait()
    return expected


def open_volumes(begin_session, axis_order=(0, 1, 2, 3)):
    viewer, session = begin_session()
    pixels = np.random.default_rng(0).integers(0, 250, SHAPE).astype(np.uint8)
    viewer.add_image(
        pixels.transpose(axis_order),
        scale=[SCALE[a] for a in axis_order],
        units=[UNITS[a] for a in axis_order],
        axis_labels=["tzyx"[a] for a in axis_order],
    )
    said = []
    session.controller.failed.connect(said.append)
    return viewer, session.controller, said


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 0, 2, 3), (2, 3, 0, 1)])
def test_every_time_point_is_written_with_sizes_in_any_order_of_axes(
    begin_session, tmp_path, order
):
    _viewer, controller, said = open_volumes(begin_session, order)
    expected = paint(controller, axis_order=order)
    for ending in (".tif", ".zarr", "_RES"):
        controller.export_all(str(tmp_path / f"m{ending}"))
    controller.wait()
    assert not said
    with tifffile.TiffFile(tmp_path / "m.tif") as file:
        assert file.series[0].axes == "TZYX"
        assert np.array_equal(file.asarray(), expected)
        facts = file.imagej_metadata
        assert (facts["spacing"], facts["finterval"], facts["unit"]) == (2.0, 60.0, "um")
    group = zarr.open_group(tmp_path / "m.zarr", mode="r")
    assert np.array_equal(group["0"][:], expected)
    multiscale = group.attrs["multiscales"][0]
    assert [axis["unit"] for axis in multiscale["axes"]] == list(UNITS)
    (transform,) = multiscale["datasets"][0]["coordinateTransformations"]
    assert transform["scale"] == list(SCALE)
    volumes = np.stack([tifffile.imread(tmp_path / "m_RES" / f"mask00{t}.tif") for t in range(3)])
    assert volumes.shape == SHAPE
    assert np.array_equal(volumes > 0, expected > 0)


def test_masks_of_planes_seen_from_several_sides_are_one(begin_session, tmp_path):
    _viewer, controller, said = open_volumes(begin_session)
    expected = paint(controller)
    side = np.zeros((4, 40), bool)
    side[2:, 30:38] = True
    plane = Plane(SHAPE, 2, 1, 3, ((0, 1),))
    controller.set_prompts([(PromptKey(plane, 9, 7), SlicePrompts(mask=MaskPixels.pack(side)))])
    expected[1, :, 9][side] = 7
    controller.export_all(str(tmp_path / "m.tif"))
    controller.wait()
    assert not said
    assert np.array_equal(tifffile.imread(tmp_path / "m.tif"), expected)


def test_a_stack_of_channels_is_written_once_with_its_sizes(begin_session, tmp_path):
    viewer, session = begin_session()
    pixels = np.random.default_rng(0).integers(0, 250, (5, 3, 32, 40)).astype(np.uint8)
    viewer.add_image(pixels, axis_labels="zcyx", scale=(3, 1, 0.5, 0.5), units=["um"] * 4)
    viewer.layers["SAM 2 points"].add([2, 0, 16, 20])
    session.controller.export_all(str(tmp_path / "m.tif"))
    session.controller.wait()
    saved = load_masks(tmp_path / "m.tif")
    assert len(saved) == 5
    drawn = np.asarray(viewer.layers["SAM 2 masks"].data)[:, 1]
    assert drawn[2].any()
    assert np.array_equal(np.stack([frame.to_labels() for frame in saved]), drawn)
    with tifffile.TiffFile(tmp_path / "m.tif") as file:
        assert file.imagej_metadata["spacing"] == 3.0


def test_what_cannot_be_written_is_said(begin_session, tmp_path):
    _viewer, controller, said = open_volumes(begin_session)
    controller.export_all(str(tmp_path / "m.tif"))
    controller.wait()
    assert "no masks to export yet" in said.pop()
    paint(controller)
    controller.export_all(str(tmp_path / "m.json"))
    controller.wait()
    assert "holds one stack" in said.pop()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("shape", "labels", "channel_axis", "expected"),
    [
        ((6, 7), (), None, ("YX", (0, 1))),
        ((5, 6, 7), (), None, ("ZYX", (0, 1, 2))),
        ((5, 6, 7), ("t", "y", "x"), None, ("TYX", (0, 1, 2))),
        ((4, 5, 6, 7), (), None, ("TZYX", (0, 1, 2, 3))),
        ((4, 5, 6, 7), ("z", "-3", "-2", "-1"), None, ("TZYX", (1, 0, 2, 3))),
        ((4, 5, 6, 7), ("t", "c", "y", "x"), 1, ("TYX", (0, 2, 3))),
        ((6, 7, 5), ("y", "x", "z"), None, ("ZYX", (2, 0, 1))),
    ],
)
def test_axes_are_named_for_what_they_are(shape, labels, channel_axis, expected):
    stack = make_stack([np.zeros(shape)], axis_labels=labels, channel_axis=channel_axis)
    assert named_axes(stack) == expected


def test_too_many_axes_are_said():
    with pytest.raises(ValueError, match="this image has 5 axes"):
        named_axes(make_stack([np.zeros((2, 2, 2, 2, 2))]))


def test_the_dialog_says_which_formats_hold_one_stack(
    open_widget, settle, monkeypatch, tmp_path, images
):
    viewer, widget = open_widget()
    viewer.add_image(np.stack([images, images]), axis_labels="tzyx")
    points = viewer.layers["SAM 2 points"]
    points.add([0, 2, 20, 26])
    points.add([1, 2, 20, 26])
    settle(widget)
    said = []
    widget.controller.failed.connect(said.append)
    asked = []

    def answer(_parent, _title, _name, filters, _first):
        asked.append(filters.split(";;"))
        return str(tmp_path / "m"), asked[-1][len(asked) - 1]

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    for _ in FORMATS:
        widget.output.export.click()
        settle(widget)
    assert [ONE_STACK in text for text in asked[0]] == [False, False, False, True, True, True]
    assert len(said) == 3
    assert all("cannot hold volumes over time" in text for text in said)
    whole = tifffile.imread(tmp_path / "m.tif")
    assert whole.shape == (2, *images.shape)
    assert whole[0, 2].any()
    assert whole[1, 2].any()
    assert json.loads((tmp_path / "m.json").read_text())
    assert len(load_masks(tmp_path / "m.json")) == len(images)


def test_the_file_of_the_image_is_not_written_over(begin_session, tmp_path):
    viewer, session = begin_session()
    path = tmp_path / "stack.tif"
    pixels = np.random.default_rng(0).integers(0, 250, (4, 32, 40)).astype(np.uint8)
    tifffile.imwrite(path, pixels, photometric="minisblack")
    before = path.read_bytes()
    viewer.open(path, plugin="napari")
    said = []
    session.controller.failed.connect(said.append)
    viewer.layers["SAM 2 points"].add([2, 16, 20])
    for export in (session.controller.export, session.controller.export_all):
        export(str(path))
        session.controller.wait()
        assert "is what is read; choose another output" in said.pop()
    assert path.read_bytes() == before
