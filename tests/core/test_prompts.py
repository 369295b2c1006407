import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_plugins.core.prompts import (
    MAX_OBJECT_ID,
    Points,
    check_frame_index,
    check_object_id,
    make_box,
    make_mask,
    make_points,
)

SIZE = (30, 50)


def test_points_are_kept_as_given():
    points = make_points([[3, 4.5], [50, 30]], [1, 0], size=SIZE)
    assert points == Points(((3.0, 4.5), (50.0, 30.0)), (1, 0))
    assert len(points) == 2
    assert points.one_by_one() == (Points(((3.0, 4.5),), (1,)), Points(((50.0, 30.0),), (0,)))


@pytest.mark.parametrize(
    ("points", "labels"),
    [
        ([3, 4], 1),
        ([3, 4], [1]),
        (np.array([[3, 4]], np.int16), np.array([True])),
        (((3, 4),), (1.0,)),
        (np.array([[3, 4]], np.float16), np.uint8([1])),
    ],
)
def test_one_point_in_many_ways(points, labels):
    assert make_points(points, labels, size=SIZE) == Points(((3.0, 4.0),), (1,))


@pytest.mark.parametrize(
    ("points", "labels", "message"),
    [
        ([[1, 2, 3]], [1], r"points must be \(N, 2\), \(x, y\) in pixels, not of shape \(1, 3\)"),
        ([], [], r"not of shape \(0,\)"),
        ([[1, 2], [3]], [1, 1], r"points must be numbers in a regular array, not \[\[1, 2\], \[3"),
        ([["a", "b"]], [1], "points must be numbers"),
        ([[1, 2]], [], "1 points need as many labels, not 0"),
        ([[1, 2]], [2], r"label is 1 \(object\) or 0 \(background\), not 2"),
        ([[1, 2]], [-1], "not -1"),
        ([[1, 2]], [0.5], r"not 0\.5"),
        ([[1, 2]], None, "or 0 .background., not nan"),
        ([[50.5, 2]], [1], r"point \(50\.5, 2\) is outside the frame: x is 0 to 50, y is 0 to 30"),
        ([[1, -1]], [1], "outside the frame"),
        ([[1, 31]], [1], "outside the frame"),
        ([[np.nan, 2]], [1], r"point \(nan, 2\) is outside"),
        ([[np.inf, 2]], [1], "outside"),
    ],
)
def test_malformed_points(points, labels, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_points(points, labels, size=SIZE)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(st.floats(-20, 70), st.floats(-20, 50), st.floats(0.01, 80), st.floats(0.01, 80))
def test_boxes_are_clipped_to_the_image(x0, y0, width, height):
    box = [x0, y0, x0 + width, y0 + height]
    if x0 >= 50 or y0 >= 30 or x0 + width <= 0 or y0 + height <= 0:
        with pytest.raises(ValueError, match="outside the frame"):
            make_box(box, size=SIZE)
        return
    found = make_box(box, size=SIZE)
    assert 0 <= found.x0 < found.x1 <= 50
    assert 0 <= found.y0 < found.y1 <= 30
    assert found.corners == ((found.x0, found.y0), (found.x1, found.y1))
    assert found.x0 == max(x0, 0)
    assert found.y1 == min(y0 + height, 30)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([1, 2, 3], r"a box is four numbers \(x0, y0, x1, y1\), all finite, not 3 numbers"),
        (np.zeros((9, 4)), "not 36 numbers"),
        ([1, 2, 3, np.nan], r"not \[1\.0, 2\.0, 3\.0, nan\]"),
        ([1, 2, np.inf, 4], "all finite"),
        ("box", "a box must be numbers in a regular array, not 'box'"),
        (None, "a box is four numbers"),
        ([5, 2, 5, 4], r"box \(5, 2, 5, 4\) is empty: x1 must be greater than x0"),
        ([5, 9, 8, 4], "is empty"),
        ([50, 2, 60, 4], "is outside the frame: x is 0 to 50, y is 0 to 30"),
    ],
)
def test_malformed_boxes(box, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_box(box, size=SIZE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_anything_but_zero_is_object_in_a_mask(dtype):
    mask = np.zeros(SIZE, dtype)
    mask[3, 4] = 1
    found = make_mask(mask, size=SIZE).mask
    assert found.dtype == bool
    assert np.argwhere(found).tolist() == [[3, 4]]


def test_a_mask_is_a_copy_that_cannot_be_written():
    mask = np.zeros(SIZE, bool)
    found = make_mask(mask, size=SIZE).mask
    mask[:] = True
    assert not found.any()
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = True


@pytest.mark.parametrize("shape", [(50, 30), (30, 50, 1), (30,), ()])
def test_masks_of_another_size(shape):
    with pytest.raises(ValueError, match=r"the frame is 30 x 50 \(H, W\)"):
        make_mask(np.zeros(shape), size=SIZE)


def test_ids_and_indices_are_integers_of_any_kind():
    assert check_object_id(np.uint16(7)) == 7
    assert check_object_id(MAX_OBJECT_ID) == MAX_OBJECT_ID
    assert check_frame_index(np.int32(2), 3) == 2
    assert type(check_frame_index(np.int32(2), 3)) is int


@pytest.mark.parametrize("object_id", [0, -1, 1.0, "1", None, True, MAX_OBJECT_ID + 1, [1]])
def test_no_object_ids(object_id):
    with pytest.raises(ValueError, match=r"from 1 \(0 is background\) to 4294967295, not"):
        check_object_id(object_id)


@pytest.mark.parametrize("frame_index", [3, -1, 1.0, "1", None])
def test_no_frame_indices(frame_index):
    with pytest.raises(ValueError, match="frames are 0 to 2"):
        check_frame_index(frame_index, 3)


def test_no_frames_yet():
    with pytest.raises(ValueError, match="no frame has been given yet"):
        check_frame_index(0, 0)
