"""Volumes over time, wherever they lie and from whichever side they are seen."""

from itertools import permutations

import numpy as np
import pytest
from test_channels import click_with_the_mouse

from sam2_plugins.core import VideoTracker

POINTS, MASKS = "SAM 2 points", "SAM 2 masks"
LABELS = ("t", "z", "y", "x")
WANTED = (1, 3, 22, 30)
ORDERS = [(0, 1, 2, 3), (1, 0, 2, 3), (0, 1, 3, 2), (0, 2, 1, 3), (0, 3, 2, 1), (3, 1, 0, 2)]


@pytest.fixture(scope="module")
def volumes():
    """(4, 6, 40, 48) uint8: a bright ball in noise, that moves."""
    found = np.random.default_rng(3).integers(0, 60, (4, 6, 40, 48)).astype(np.uint8)
    z, y, x = np.mgrid[:6, :40, :48]
    for t, volume in enumerate(found):
        volume[(3 * (z - 3)) ** 2 + (y - 21) ** 2 + (x - 26 - 3 * t) ** 2 < 100] += 150
    return found


def mixed(first, second, by):
    """(5, 5) affine in which two axes are rotated into each other, or one is sheared."""
    matrix = np.eye(5)
    pair = [first, second]
    if by == "rotation":
        matrix[np.ix_(pair, pair)] = [[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]]
    else:
        matrix[first, second] = 0.4
    return matrix


def places(shown):
    """Ways in which an image can lie in the world while slices of two shown axes stay slices."""
    turn, slant = mixed(*shown, "rotation"), mixed(*shown, "shear")
    turn[:4, 4] = slant[:4, 4] = (10, -3, 5, 2)
    return {
        "anisotropic": {"scale": (60, 3, 0.5, 0.25), "translate": (-120, 7, 100, 0.5)},
        "rotated": {"scale": (2, 3, 1, 1), "rotate": turn[:4, :4], "translate": (1, 2, 3, 4)},
        "sheared": {"shear": slant[:4, :4] if shown[0] < shown[1] else slant[:4, :4].T},
        "turned by an affine": {"scale": (60, 3, 1, 1), "affine": turn},
        "slanted by an affine": {"affine": slant},
    }


def frames_of(volumes, plane):
    """(N, H, W) the same pixels without the plugin."""
    index = [slice(None)] * 4
    for axis, where in plane.fixed:
        index[axis] = slice(where, where + 1)
    held = tuple(axis for axis, _ in plane.fixed)
    return np.moveaxis(volumes[tuple(index)], plane.frame_axis, 0).squeeze(
        tuple(axis + (axis < plane.frame_axis) for axis in held)
    )


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("place", list(places((2, 3))))
def test_a_click_is_answered_on_the_pixels_that_are_seen_and_carried(
    begin_session, model, volumes, place, order
):
    viewer, session = begin_session()
    where = places(sorted(order[2:]))[place]
    image = viewer.add_image(volumes, axis_labels=LABELS, **where)
    viewer.dims.order = order
    world = image.data_to_world(WANTED)
    viewer.dims.set_point(range(4), world)
    controller, plane = session.controller, session.controller.plane
    assert session.active.problem == ""
    assert sorted(order[2:]) == [plane.y_axis, plane.x_axis]
    assert plane.fixed == tuple((a, WANTED[a]) for a, _ in plane.fixed)
    here = WANTED[plane.frame_axis]
    assert controller.slice_index == here

    click_with_the_mouse(viewer, viewer.layers[POINTS], world)
    controller.propagate("forward")
    controller.wait()
    tracker = VideoTracker(model, frames_of(volumes, plane))
    tracker.add_points(here, 1, [(WANTED[plane.x_axis], WANTED[plane.y_axis])], [1])
    expected = np.zeros_like(volumes, dtype=np.uint16)
    for masks in tracker.propagate(direction="forward"):
        expected[plane.index(masks.frame_index)] = masks.to_labels()
    layer = viewer.layers[MASKS]
    assert expected.any()
    assert np.array_equal(np.asarray(layer.data), expected)
    for corner in ((0, 0, 0, 0), WANTED, (3, 5, 39, 47)):
        assert np.allclose(layer.data_to_world(corner), image.data_to_world(corner))
    # What is seen under the mouse is what was asked for.
    assert layer.get_value(world, world=True) == expected[WANTED]

    for frame in range(plane.num_frames):
        session.active.show_slice(frame)
        assert controller.slice_index == frame
        assert controller.plane == plane


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize(("first", "second"), list(permutations(range(4), 2)))
def test_slices_of_the_view_that_are_none_of_the_image_are_refused_in_words(
    begin_session, volumes, first, second
):
    viewer, session = begin_session()
    viewer.add_image(volumes, axis_labels=LABELS, affine=mixed(first, second, "shear"))
    is_straight = {first, second} in ({0, 1}, {2, 3})
    assert (session.controller.plane is not None) == is_straight
    assert ("rotated or sheared" in session.active.problem) != is_straight


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_sliders_that_are_turned_into_each_other_still_lead_to_every_slice(begin_session, volumes):
    """Depth and time are mixed in the world, as where a stage drifts: slices stay slices."""
    viewer, session = begin_session()
    image = viewer.add_image(volumes, axis_labels=LABELS, affine=mixed(1, 0, "shear"))
    viewer.dims.set_point(range(4), image.data_to_world((2, 1, 0, 0)))
    plane = session.controller.plane
    assert plane.fixed == ((0, 2),)
    for frame in range(plane.num_frames):
        session.active.show_slice(frame)
        assert session.controller.plane == plane
        assert session.controller.slice_index == frame
