import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_plugins.napari_plugin.geometry import (
    is_sliced_straight,
    layer_axes,
    level_factors,
    level_transform,
)
from sam2_plugins.napari_plugin.layers import (
    choose_plane,
    nearest,
    paint_plane,
    plane_from_key,
    union,
)


@st.composite
def views(draw):
    """A stack's shape, two of its axes in any order, and where it stands."""
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=2, max_size=5)))
    axes = draw(st.permutations(range(len(shape))))
    point = [draw(st.floats(-0.49, side - 0.51)) for side in shape]
    return shape, tuple(axes[-2:]), point


@given(views(), st.data())
@settings(max_examples=200)
def test_a_frame_is_what_the_viewer_shows(view, data):
    shape, displayed, point = view
    plane = choose_plane(shape, displayed, point=point)
    pixels = np.arange(np.prod(shape)).reshape(shape)
    shown = pixels[
        tuple(slice(None) if a in displayed else nearest(point[a]) for a in range(len(shape)))
    ]
    frame_index = plane.frame_index(point)
    assert np.array_equal(pixels[plane.index(frame_index)], shown)
    assert plane.frame_size == shown.shape
    assert {plane.y_axis, plane.x_axis} == set(displayed)


@given(views(), st.data())
@settings(max_examples=200)
def test_positions_go_to_pixels_and_back(view, data):
    shape, displayed, point = view
    plane = choose_plane(shape, displayed, point=point)
    frame = data.draw(st.integers(0, plane.num_frames - 1))
    row = data.draw(st.integers(0, plane.frame_size[0] - 1))
    column = data.draw(st.integers(0, plane.frame_size[1] - 1))
    position = plane.position(frame, column, row)
    assert plane.frame_index(position) == frame
    assert plane.xy(position) == (column, row)
    assert plane_from_key(shape, plane.key, position) == plane
    pixels = np.arange(np.prod(shape)).reshape(shape)
    there = pixels[tuple(int(p) for p in position)]
    assert pixels[plane.index(frame)][row, column] == there
    window = (row, column, row + 1, column + 1)
    assert pixels[plane.index(frame, window)].item() == there


@given(views())
@settings(max_examples=100)
def test_a_frame_is_on_show_where_the_viewer_stands_and_nowhere_else(view):
    shape, displayed, point = view
    plane = choose_plane(shape, displayed, point=point)
    shown = [f for f in range(plane.num_frames) if plane.is_displayed(f, displayed, point)]
    assert shown == [plane.frame_index(point)]


def test_depth_is_walked_before_time():
    labels = ("z", "t", "y", "x")
    plane = choose_plane((5, 6, 7, 8), (2, 3), point=(1, 2, 0, 0), axis_labels=labels)
    assert (plane.frame_axis, plane.fixed) == (0, ((1, 2),))


def test_the_chosen_axis_is_walked():
    plane = choose_plane((5, 6, 7, 8), (2, 3), point=(1, 2, 0, 0), frame_axis=0)
    assert (plane.frame_axis, plane.fixed) == (0, ((1, 2),))


def test_an_image_is_one_frame():
    plane = choose_plane((7, 8), (0, 1), point=(0, 0))
    assert (plane.num_frames, plane.frame_axis, plane.index(0)) == (1, None, (slice(None),) * 2)


def test_a_position_in_another_plane_is_in_none_of_the_frames():
    plane = choose_plane((5, 6, 7, 8), (2, 3), point=(1, 2, 0, 0), frame_axis=0)
    assert plane.frame_index((1, 3, 0, 0)) is None
    assert plane.frame_index((9, 2, 0, 0)) is None


@pytest.mark.parametrize(
    ("shape", "displayed", "words"),
    [
        ((5, 6, 7), (0, 1, 2), "switch the viewer from 3D to 2D"),
        ((6, 7), (-1, 1), "an axis that the image does not have"),
        ((6,), (0,), "at least 2 axes"),
    ],
)
def test_a_view_that_does_not_fit_is_explained(shape, displayed, words):
    with pytest.raises(ValueError, match=words):
        choose_plane(shape, displayed, point=np.zeros(len(shape)))


@pytest.mark.parametrize("key", ["", "nonsense", "0:1", "0:2,1", "9:0,1", "0:1,x"])
def test_a_key_that_is_none_is_none(key):
    assert plane_from_key((4, 5, 6), key, (0, 0, 0)) is None


def test_a_layer_of_fewer_axes_has_the_viewers_last():
    assert layer_axes((0, 2, 3), 4, 3) == [-1, 1, 2]


def test_rotation_in_the_plane_is_straight_and_out_of_it_is_not():
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    inside, outside = np.eye(3), np.eye(3)
    inside[1:, 1:] = turn
    outside[:2, :2] = turn
    assert is_sliced_straight(inside, (1, 2))
    assert not is_sliced_straight(outside, (1, 2))
    assert is_sliced_straight(np.diag([4, 0.5, 0.5]), (0, 2))


def test_our_old_pixels_go_and_others_labels_stay():
    current = np.array([[1, 1, 9, 9], [0, 2, 2, 0]], np.uint16)
    labels = np.array([[0, 1, 1, 0], [1, 0, 0, 2]], np.uint16)
    kept = paint_plane(current, labels, ours=[1, 2])
    assert kept.tolist() == [[0, 1, 9, 9], [1, 0, 0, 2]]
    drawn_over = paint_plane(current, labels, ours=[1, 2], preserve=False)
    assert drawn_over.tolist() == [[0, 1, 1, 9], [1, 0, 0, 2]]
    assert kept.dtype == np.uint16


def test_windows_are_joined():
    assert union((1, 5, 3, 9), (0, 6, 2, 12)) == (0, 5, 3, 12)
    assert union(None, (0, 6, 2, 12)) == (0, 6, 2, 12)
    assert union(None, None) is None


def test_a_coarse_pixel_is_centred_on_its_block_of_fine_ones():
    from napari.layers import Image

    fine = Image(np.zeros((8, 8)), scale=(2, 0.5), translate=(3, 4), rotate=30, shear=[0.2])
    from napari.utils.transforms import Affine

    own = Affine(scale=fine.scale, rotate=fine.rotate, shear=fine.shear, ndim=2)
    moved = level_transform(fine.scale, fine.translate, own.linear_matrix, factors=(2, 4))
    coarse = Image(np.zeros((4, 2)), rotate=fine.rotate, shear=fine.shear, **moved)
    for index in ((0, 0), (3, 1), (1, 0)):
        middle = (np.array(index) + 0.5) * (2, 4) - 0.5
        assert coarse.data_to_world(index) == pytest.approx(fine.data_to_world(middle))


@given(st.integers(1, 5000), st.integers(1, 8), st.booleans())
@settings(max_examples=200)
def test_the_factor_of_a_level_is_whole_however_the_rest_was_treated(side, factor, is_filled_up):
    coarse = -(-side // factor) if is_filled_up else side // factor
    if coarse > 2 * factor:
        # In longer sides than that, no other factor gives the same.
        assert level_factors([side], [coarse]).tolist() == [factor]


def test_the_factor_of_a_level_is_the_ratio_where_no_whole_one_fits():
    assert level_factors((10, 300, 300), (10, 200, 300)).tolist() == [1, 1.5, 1]
