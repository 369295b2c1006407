"""Pyramids: which level is worked on, and that prompts and masks are where they are seen."""

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image
from scipy.ndimage import map_coordinates

from sam2_plugins.napari_plugin import image_layers
from sam2_plugins.napari_plugin.frames import ImageStack, make_stack
from sam2_plugins.napari_plugin.image_layers import finest_level, stack_from_layers
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.trackers import make_tracker

pytestmark = pytest.mark.timeout(900)
POINTS, MASKS = "SAM 2 points", "SAM 2 masks"
TURN, SHEAR = np.eye(4), np.eye(4)
TURN[1:3, 1:3] = [[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]]
SHEAR[1, 2] = 0.4
PLACES = {
    "anisotropic": {"scale": (3, 0.5, 0.25), "translate": (7, -2, 5)},
    "rotated": {"scale": (2, 1, 1), "affine": TURN},
    "sheared": {"scale": (2, 1, 1), "translate": (0, 3, 4), "affine": SHEAR},
}
SIDES = {"even": (256, 320), "ragged": (254, 323)}
CENTRE = (2, 150, 210)
HALF = 1550
"""Between the dark ground and the ball."""


def pyramid(size, *, is_deep=False) -> list[da.Array]:
    """Three levels, lazily: (5, H, W) uint16 with a bright ball, halved in y and x, or in z too."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    fine = np.full((5, *size), 100, np.uint16)
    for z, frame in enumerate(fine):
        radius = 45 - 4 * abs(z - CENTRE[0])
        frame[np.hypot(rows - CENTRE[1], columns - CENTRE[2]) < radius] = 3000
    fine += np.random.default_rng(0).integers(0, 50, fine.shape, np.uint16)
    step = 2 if is_deep else 1
    levels = [fine]
    for _ in range(2):
        last = levels[-1]
        whole = last[: last.shape[0] // step * step, : last.shape[1] // 2 * 2]
        whole = whole[:, :, : last.shape[2] // 2 * 2]
        blocks = whole.reshape(whole.shape[0] // step, step, whole.shape[1] // 2, 2, -1, 2)
        levels.append(blocks.mean(axis=(1, 3, 5)).astype(np.uint16))
    return [da.from_array(level, chunks=(1, 64, 64)) for level in levels]


@pytest.fixture
def model(quick_nano):
    return quick_nano


def iou(first, second) -> float:
    return float(np.count_nonzero(first & second) / np.count_nonzero(first | second))


def middle(mask) -> np.ndarray:
    return np.argwhere(mask).mean(axis=0)


def edges(layer) -> np.ndarray:
    """Where in the world two opposite corners of a layer are, the edges of pixels."""
    shape = np.array(layer.level_shapes[0])
    return np.array([layer.data_to_world(corner) for corner in (-0.5 + 0 * shape, shape - 0.5)])


def seen_at(image: Image, masks) -> np.ndarray:
    """Whether the finest image is bright where the centre of each pixel of a mask's slice is."""
    shape = masks.data.shape
    frame = int(np.flatnonzero(np.asarray(masks.data).any(axis=(1, 2)))[0])
    corners = np.array([[frame, 0, 0], [frame, 1, 0], [frame, 0, 1]], float)
    origin, down, right = (np.asarray(image.world_to_data(masks.data_to_world(c))) for c in corners)
    rows, columns = np.mgrid[: shape[1], : shape[2]]
    place = origin + rows[..., None] * (down - origin) + columns[..., None] * (right - origin)
    fine = np.asarray(image.data[0]).astype(float)
    found = map_coordinates(fine, np.moveaxis(place, -1, 0), order=1, mode="nearest")
    return np.asarray(found > HALF)


@pytest.mark.parametrize(
    ("level", "place", "sides"),
    [
        # Every level in every place, and each of both with either size.
        (level, place, list(SIDES)[(level + number) % 2])
        for level in range(3)
        for number, place in enumerate(PLACES)
    ],
)
def test_prompts_and_masks_are_on_the_pixels_that_are_seen(begin_session, level, place, sides):
    viewer, session = begin_session()
    levels = pyramid(SIDES[sides])
    image = viewer.add_image(levels, multiscale=True, **PLACES[place])
    session.choose([image], level=level)
    points, masks = viewer.layers[POINTS], viewer.layers[MASKS]
    assert masks.data.shape == levels[level].shape
    if sides == "even":
        assert np.allclose(edges(masks), edges(image))

    world = image.data_to_world(CENTRE)
    viewer.dims.set_point(range(3), world)
    assert session.controller.slice_index == CENTRE[0]
    points.add(points.world_to_data(world))
    session.controller.wait()
    ((key, said),) = session.controller.document.prompts.items()
    assert key.frame_index == CENTRE[0]
    expected = (np.array(CENTRE[1:]) + 0.5) / 2**level - 0.5
    assert np.allclose(said.clicks[0][1::-1], expected)

    mask = np.asarray(masks.data)[CENTRE[0]] > 0
    bright = np.asarray(levels[level])[CENTRE[0]] > HALF
    assert iou(mask, bright) > 0.7
    # Not the model's work: what is drawn is a tenth of a pixel at most from what is seen.
    assert np.allclose(middle(bright), middle(seen_at(image, masks)), atol=0.1)
    assert masks.get_value(world, world=True) == 1


@pytest.mark.parametrize("level", [1, 2])
def test_a_level_that_is_coarser_in_depth_shows_the_slice_of_the_finest(begin_session, level):
    viewer, session = begin_session()
    image = viewer.add_image(pyramid((256, 320), is_deep=True), multiscale=True, scale=(4, 1, 1))
    session.choose([image], level=level)
    step = 5 / image.data[level].shape[0]
    for z in range(4):
        viewer.dims.set_point(0, 4 * z)
        assert session.controller.slice_index == min(
            int((z + 0.5) / step), image.data[level].shape[0] - 1
        )


def test_levels_keep_apart_what_was_said_on_them(begin_session):
    viewer, session = begin_session()
    image = viewer.add_image(pyramid((256, 320)), multiscale=True)
    viewer.layers[POINTS].add(CENTRE)
    session.controller.wait()
    fine = session.active
    session.choose([image], level=1)
    assert not session.controller.document.prompts
    viewer.layers[POINTS].add([1, 75, 105])
    session.controller.wait()
    session.choose([image], level=0)
    assert session.active is fine
    assert next(iter(session.controller.document.prompts)).frame_index == CENTRE[0]
    assert np.allclose(viewer.layers[POINTS].data, [CENTRE])


def test_levels_are_gone_to_and_fro_in_the_window(open_widget):
    viewer, widget = open_widget()
    viewer.add_image(pyramid((256, 320)), multiscale=True)
    where = [(2, 150, 210), (2, 75, 105)]
    for _ in range(2):
        for level in (0, 1):
            widget.image.level.setCurrentIndex(level)
            widget.image.level.activated.emit(level)
            points = viewer.layers[POINTS]
            assert points.visible
            if not len(points.data):
                points.add(where[level])
            assert np.allclose(points.data, [where[level]])


def test_planes_that_cannot_be_drawn_on_are_left_to_coarser_levels(monkeypatch):
    layer = Image(pyramid((256, 320)), multiscale=True)
    assert finest_level(layer) == 0
    monkeypatch.setattr(image_layers, "MAX_DRAWN_SIDE", 200)
    assert finest_level(layer) == 1
    with pytest.raises(ValueError, match="choose level 1 or a coarser one"):
        stack_from_layers([layer])
    assert stack_from_layers([layer], level=1).shape == (5, 128, 160)
    # Where there is no other level, it is taken as it is.
    assert stack_from_layers([Image(np.zeros((256, 320)))]).shape == (256, 320)


def test_the_window_takes_the_finest_level_that_can_be_drawn_on(open_widget, monkeypatch):
    monkeypatch.setattr(image_layers, "MAX_DRAWN_SIDE", 200)
    viewer, widget = open_widget()
    viewer.add_image(pyramid((256, 320)), multiscale=True)
    assert widget.controller.document.stack.shape == (5, 128, 160)
    level = widget.image.level
    assert [level.itemText(i) for i in range(level.count())] == [
        "1: 5 x 128 x 160",
        "2: 5 x 64 x 80",
    ]
    assert widget.image.level.isVisibleTo(widget)
    level.setCurrentIndex(1)
    level.activated.emit(1)
    assert viewer.layers[MASKS].data.shape == (5, 64, 80)
    monkeypatch.undo()
    viewer.add_image(pyramid((256, 320)), multiscale=True, name="other")
    widget.image.image.setCurrentIndex(0)
    widget.image.image.activated.emit(0)
    assert level.itemText(0) == "0: 5 x 256 x 320, full resolution"
    assert level.currentData() == 0


class CountingArray:
    """Counts the pixels that are read."""

    def __init__(self, data: np.ndarray) -> None:
        self.data, self.shape, self.dtype, self.ndim = data, data.shape, data.dtype, data.ndim
        self.num_read = 0

    def __getitem__(self, index):
        found = self.data[index]
        self.num_read += found.size
        return found


def test_an_image_is_known_again_without_reading_whole_large_planes():
    plane = np.random.default_rng(0).integers(0, 255, (3, 4096, 4100), np.uint8)
    array = CountingArray(plane)
    stack = ImageStack((array,))
    assert stack.signature == make_stack([plane.copy()]).signature
    assert array.num_read < 3 * 2100**2
    plane[1, 1800:2200, 1800:2200] += 100
    assert stack.signature != make_stack([plane]).signature


@pytest.mark.parametrize(("label", "stays"), [("t", True), ("z", None)])
def test_a_grey_time_lapse_is_told_by_the_label_of_its_axis(quick_nano, label, stays):
    stack = ImageStack((np.zeros((3, 64, 64), np.uint8),), axis_labels=(label, "y", "x"))
    tracker = make_tracker(quick_nano, stack, Plane((3, 64, 64), 0, 1, 2))
    assert tracker._rules.keeps_alike is stays
