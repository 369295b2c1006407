"""Channels, colours, pyramids and axis orders, on real files where there are any, by mouse."""

from pathlib import Path
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.layers import Image
from qtpy.QtCore import Qt

from sam2_plugins.napari_plugin.frames import PlaneFrames, make_stack
from sam2_plugins.napari_plugin.image_layers import level_arrays, stack_from_layers
from sam2_plugins.napari_plugin.layers import choose_plane, plane_from_key

pytestmark = pytest.mark.timeout(900)
POINTS, MASKS = "SAM 2 points", "SAM 2 masks"
LABELS = ("t", "c", "y", "x")


@pytest.fixture(scope="module")
def colours():
    """(4, 4, 40, 48) uint16, t c y x: a disk that only channel 2 shows."""
    frames = np.random.default_rng(0).integers(0, 60, (4, 4, 40, 48), np.uint16)
    rows, columns = np.mgrid[:40, :48]
    for t in range(4):
        frames[t, 2][np.hypot(rows - 18, columns - 14 - 4 * t) < 7] += 2000
        frames[t, 3] += 100
    return frames


def write_ome_zarr(path: Path, levels, axes) -> None:
    """A small OME-Zarr image (version 0.4) with a pyramid."""
    root = zarr.open_group(path, mode="w", zarr_format=2)
    datasets = []
    for number, level in enumerate(levels):
        root.create_array(str(number), data=level, chunks=(1,) * (level.ndim - 2) + (32, 32))
        factor = [a / b for a, b in zip(levels[0].shape, level.shape, strict=True)]
        transform = [{"type": "scale", "scale": factor}]
        datasets.append({"path": str(number), "coordinateTransformations": transform})
    kinds = {"t": "time", "c": "channel"}
    named = [{"name": a, "type": kinds.get(a, "space")} for a in axes]
    root.attrs["multiscales"] = [{"version": "0.4", "axes": named, "datasets": datasets}]


def open_levels(path: Path) -> list[da.Array]:
    group = zarr.open_group(path, mode="r")
    found = group.attrs["multiscales"][0]["datasets"]
    return [da.from_zarr(group[dataset["path"]]) for dataset in found]


def test_an_axis_of_channels_is_neither_walked_nor_held():
    shape = (4, 4, 40, 48)
    plane = choose_plane(shape, (2, 3), point=(1, 3, 0, 0), axis_labels=LABELS, channel_axis=1)
    assert (plane.frame_axis, plane.fixed, plane.channel_axis) == (0, (), 1)
    assert plane == choose_plane(shape, (2, 3), point=(3, 0, 0, 0), channel_axis=1)
    assert plane.index(2, channel=3)[:2] == (2, 3)
    assert plane.position(2, 5.0, 6.0, channel=3) == (2.0, 3.0, 6.0, 5.0)
    for channel in range(4):
        assert plane.frame_index((2, channel, 6, 5)) == 2
        found = plane_from_key(shape, plane.key, (2, channel, 6, 5), channel_axis=1)
        assert found == plane
    with pytest.raises(ValueError, match="axis of channels"):
        choose_plane(shape, (1, 3), point=(0, 0, 0, 0), channel_axis=1)


def test_chosen_channels_are_seen_as_colours(colours):
    layer = Image(colours, axis_labels=LABELS)
    stack = stack_from_layers([layer])
    assert (stack.channel_axis, stack.channels) == (1, (0, 1, 2))
    plane = choose_plane(stack.shape, (2, 3), point=(0, 0, 0, 0), channel_axis=1)
    frame = PlaneFrames(stack, plane).read(3)
    assert np.array_equal(frame, np.moveaxis(colours[3, :3], 0, -1))
    one = PlaneFrames(stack.with_channels((2,)), plane)
    assert np.array_equal(one.read(1), colours[1, 2])
    assert one.signature != PlaneFrames(stack, plane).signature
    for channels, words in (((0, 1, 2, 3), "3 at most"), ((4,), "0 to 3"), ((), "choose")):
        with pytest.raises(ValueError, match=words):
            stack.with_channels(channels)
    with pytest.raises(ValueError, match="axis of channels"):
        make_stack([colours]).with_channels((1,))


def test_a_mask_is_on_every_channel_and_other_channels_answer_anew(open_widget, settle, colours):
    viewer, widget = open_widget()
    viewer.add_image(colours, axis_labels=LABELS)
    controller = widget.controller
    assert controller.plane.frame_axis == 0
    assert controller.document.stack.time_axis(controller.plane) is None
    viewer.dims.set_point((0, 1), (1, 3))
    viewer.layers[POINTS].add([1, 3, 18, 18])
    settle(widget)
    labels = np.asarray(viewer.layers[MASKS].data)
    assert labels.shape == colours.shape
    assert labels[1, 0].any()
    assert all(np.array_equal(labels[1, c], labels[1, 0]) for c in range(4))
    assert [bool(labels[t].any()) for t in range(4)] == [False, True, False, False]

    # The prompt is on the channel on show, whichever that is, and stays one prompt.
    viewer.dims.set_point(1, 2)
    assert viewer.layers[POINTS].data[:, 1].tolist() == [2]
    assert len(controller.document.prompts) == 1
    channels = widget.image.channels
    texts = [channels.item(i).text() for i in range(channels.count())]
    assert texts == ["c 0", "c 1", "c 2", "c 3"]
    assert controller.document.stack.channels == (0, 1, 2)
    channels.item(0).setCheckState(Qt.CheckState.Unchecked)
    assert controller.document.stack.channels == (1, 2)
    settle(widget)
    assert labels[1, 0].any()
    assert len(controller.document.prompts) == 1
    controller.propagate()
    settle(widget)
    assert all(labels[t, 3].any() for t in range(4))
    controller.undo()
    settle(widget)
    assert [bool(labels[t].any()) for t in range(4)] == [False, True, False, False]


def test_a_persons_own_labels_get_the_mask_on_every_channel(begin_session, colours):
    viewer, session = begin_session()
    viewer.add_image(colours, axis_labels=LABELS)
    mine = viewer.add_labels(np.zeros(colours.shape, np.uint8), name="mine")
    session.active.use_labels(mine)
    viewer.layers[POINTS].add([1, 0, 18, 18])
    session.controller.wait()
    assert mine.data[1, 0].any()
    assert all(np.array_equal(mine.data[1, c], mine.data[1, 0]) for c in range(4))


def test_several_layers_are_channels_of_one_image_and_colours_are_alone(begin_session, colours):
    viewer, session = begin_session()
    first, second = viewer.add_image(colours, channel_axis=1, name=["a", "b", "c", "d"])[:2]
    session.choose([first, second])
    plane = session.controller.plane
    frame = PlaneFrames(session.controller.document.stack, plane).read(2)
    assert np.array_equal(frame, np.stack([colours[2, 0], colours[2, 1]], axis=-1))
    viewer.layers[POINTS].add([2, 18, 22])
    session.controller.wait()
    assert np.asarray(viewer.layers[MASKS].data)[2].any()

    rgb = viewer.add_image(np.moveaxis(colours[:, :3], 1, -1).astype(np.uint8), rgb=True)
    session.choose([rgb])
    assert session.controller.plane.shape == (4, 40, 48)
    viewer.layers[POINTS].add([0, 18, 14])
    session.controller.wait()
    assert viewer.layers[MASKS].data.shape == (4, 40, 48)
    session.choose([rgb, first])
    assert session.problem


def test_a_pyramid_from_ome_zarr_at_full_resolution_and_at_a_coarser_level(begin_session, tmp_path):
    fine = np.zeros((3, 96, 128), np.uint16)
    fine[:, 30:60, 40:80] = 900
    levels = [fine, fine[:, ::2, ::2], fine[:, ::4, ::4]]
    write_ome_zarr(tmp_path / "a.zarr", levels, "zyx")
    viewer, session = begin_session()
    arrays = open_levels(tmp_path / "a.zarr")
    image = viewer.add_image(
        arrays, multiscale=True, scale=(2, 0.5, 0.5), translate=(0, 3, 4), axis_labels="zyx"
    )
    assert [a.shape for a in level_arrays(image)] == [a.shape for a in levels]
    viewer.layers[POINTS].add([1, 45, 60])
    session.controller.wait()
    masks = viewer.layers[MASKS]
    # Masks are at full resolution unless a coarser level is chosen.
    assert masks.data.shape == fine.shape
    assert np.allclose(masks.data_to_world((1, 45, 60)), image.data_to_world((1, 45, 60)))
    assert np.asarray(masks.data)[1].any()

    session.choose([image], level=1)
    coarse = viewer.layers[MASKS]
    assert coarse.data.shape == (3, 48, 64)
    # The centre of a coarse pixel is that of the four fine ones it stands for.
    assert np.allclose(coarse.data_to_world((1, 10, 20)), image.data_to_world((1, 20.5, 40.5)))
    viewer.layers[POINTS].add([1, 22, 30])
    session.controller.wait()
    assert np.asarray(coarse.data)[1].any()


def test_channels_of_an_ome_zarr_over_time_are_read_lazily(begin_session, colours, tmp_path):
    write_ome_zarr(tmp_path / "b.zarr", [colours], "tcyx")
    viewer, session = begin_session()
    viewer.add_image(open_levels(tmp_path / "b.zarr")[0], axis_labels=LABELS)
    assert session.controller.plane.frame_axis == 0
    viewer.layers[POINTS].add([0, 1, 18, 14])
    session.controller.propagate()
    session.controller.wait()
    labels = np.asarray(viewer.layers[MASKS].data)
    assert [bool(labels[t, 3].any()) for t in range(4)] == [True] * 4


TURN = np.eye(4)
TURN[1:3, 1:3] = [[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]]
SHEAR = np.eye(4)
SHEAR[1, 2] = 0.4
PLACES = {
    "anisotropic": {"scale": (3, 0.5, 0.5), "translate": (7, -2, 5)},
    "rotated": {"scale": (2, 1, 1), "affine": TURN},
    "sheared": {"scale": (2, 1, 1), "affine": SHEAR},
}


def click_with_the_mouse(viewer, layer, world):
    """Hand a layer in add mode what the canvas hands it on a click at a place in the world."""
    viewer.layers.selection.active = layer
    layer.mode = "add"
    event = SimpleNamespace(
        type="mouse_press",
        button=1,
        modifiers=(),
        is_dragging=False,
        handled=False,
        position=tuple(world),
        pos=np.zeros(2),
        view_direction=None,
        up_direction=None,
        dims_displayed=list(viewer.dims.displayed),
        dims_point=list(viewer.dims.point),
    )
    runs = [callback(layer, event) for callback in layer.mouse_drag_callbacks]
    event.type = "mouse_release"
    for run in runs:
        for _ in run or ():
            pass


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (0, 2, 1)])
@pytest.mark.parametrize("place", list(PLACES))
def test_a_click_by_mouse_is_on_the_pixel_that_is_seen(begin_session, order, place, images):
    viewer, session = begin_session()
    image = viewer.add_image(images, **PLACES[place])
    viewer.dims.order = order
    controller = session.controller
    if place != "anisotropic" and order[0] != 0:
        assert controller.plane is None
        assert "rotated or sheared" in session.active.problem
        return
    wanted = (4, 22, 33)
    world = image.data_to_world(wanted)
    viewer.dims.set_point(range(3), world)
    click_with_the_mouse(viewer, viewer.layers[POINTS], world)
    controller.wait()
    assert np.allclose(viewer.layers[POINTS].data, [wanted])
    masks = np.asarray(viewer.layers[MASKS].data)
    assert masks.any(axis=tuple(order[1:])).nonzero()[0].tolist() == [wanted[order[0]]]
    ((key, said),) = controller.document.prompts.items()
    rows, columns = sorted(order[1:])
    assert key.frame_index == wanted[order[0]]
    assert np.allclose(said.clicks[0][:2], (wanted[columns], wanted[rows]))


def test_sliders_on_other_axes_than_the_first_are_walked(begin_session):
    """An image of (y, z, x): z is in the middle, and is what is walked."""
    images = np.random.default_rng(1).integers(0, 250, (40, 5, 48)).astype(np.uint8)
    viewer, session = begin_session()
    viewer.add_image(images, axis_labels=("y", "z", "x"))
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_point(1, 3)
    controller = session.controller
    assert (controller.plane.frame_axis, controller.slice_index) == (1, 3)
    viewer.layers[POINTS].add([20, 3, 24])
    controller.propagate("backward")
    controller.wait()
    masks = np.asarray(viewer.layers[MASKS].data)
    assert masks.any(axis=(0, 2)).tolist() == [True, True, True, True, False]
    session.active.show_slice(1)
    assert viewer.dims.point[1] == 1
