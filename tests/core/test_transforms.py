import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_plugins.core.transforms import image_to_tensor, mask_to_model, points_to_model

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def plain(tensor):
    """Take the normalisation back: (S, S, 3) in [0, 1]."""
    return tensor.permute(1, 2, 0).numpy() * STD + MEAN


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("resizer", ["tensor", "pillow"])
def test_an_image_of_the_inputs_size_is_only_normalised(resizer):
    image = picture(32, 32)
    tensor = image_to_tensor(image, 32, resizer=resizer)
    assert (tensor.shape, tensor.dtype) == ((3, 32, 32), torch.float32)
    np.testing.assert_allclose(plain(tensor), image / 255, atol=1e-6)


def test_floats_and_bytes_mean_the_same():
    image = picture(20, 44)
    as_float = (image / 255).astype(np.float32)
    torch.testing.assert_close(image_to_tensor(image, 64), image_to_tensor(as_float, 64))


@pytest.mark.parametrize("resizer", ["tensor", "pillow"])
@pytest.mark.parametrize("size", [(20, 60), (60, 20), (5, 7), (1, 1), (200, 300)])
def test_images_are_squashed_not_padded(resizer, size):
    """A horizontal step stays a horizontal step at the same share of the height."""
    height, width = size
    image = np.zeros((height, width, 3), np.uint8)
    image[: -(-height // 2)] = 255
    found = plain(image_to_tensor(image, 64, resizer=resizer))
    assert found.shape == (64, 64, 3)
    assert (np.ptp(found, axis=1) < 1e-5).all()
    expected = -(-height // 2) / height
    assert found.mean() == pytest.approx(expected, abs=0.03)


def test_both_resizers_agree_on_smooth_images():
    rows, columns = np.mgrid[:48, :80]
    image = np.stack([2 * rows, 3 * columns, rows + columns], axis=-1).astype(np.uint8)
    first = image_to_tensor(image, 64)
    second = image_to_tensor(image, 64, resizer="pillow")
    assert (first - second).abs().max() < 0.05


def test_shrinking_averages_instead_of_picking():
    image = np.zeros((256, 256, 3), np.uint8)
    image[::2] = 255
    found = plain(image_to_tensor(image, 32))
    np.testing.assert_allclose(found[1:-1], 0.5, atol=0.01)


def test_arrays_that_are_views_are_read_right():
    image = picture(40, 40)
    torch.testing.assert_close(
        image_to_tensor(image[::-1, ::2], 32), image_to_tensor(image[::-1, ::2].copy(), 32)
    )


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.floats(0, 1), st.floats(0, 1))
def test_points_keep_their_share_of_the_sides(height, width, x, y):
    point = np.array([[x * width, y * height]])
    found = points_to_model(point, (height, width), 64)
    assert (found.shape, found.dtype) == ((1, 2), torch.float32)
    np.testing.assert_allclose(found[0], [64 * x, 64 * y], rtol=1e-4, atol=1e-4)


def test_points_of_many_objects():
    points = np.arange(24, dtype=float).reshape(2, 6, 2)
    assert points_to_model(points, (10, 20), 64).shape == (2, 6, 2)


@pytest.mark.parametrize("size", [(64, 64), (20, 60), (60, 20), (300, 200)])
def test_masks_are_squashed_like_images(size):
    height, width = size
    mask = np.zeros(size, bool)
    mask[: height // 2, : width // 4] = True
    found = mask_to_model(mask, 64)
    assert (found.shape, found.dtype) == ((1, 64, 64), torch.float32)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    assert found[0, :31, :15].all()
    assert not found[0, 33:].any()
    assert not found[0, :, 17:].any()


def test_an_empty_mask_stays_empty():
    assert not mask_to_model(np.zeros((9, 9), bool), 64).any()
