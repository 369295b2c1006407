import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import make_tiny

from sam2_plugins.core import VideoTracker
from sam2_plugins.core.motion import (
    carry,
    decode_carried,
    measure_clip,
    measure_motion,
    through_window,
)
from sam2_plugins.core.transforms import image_to_tensor, tensor_to_grey
from sam2_plugins.core.windows import Window

SHIFT = 12


def texture(size=256, seed=0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((size, size)), 3)
    return (255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)


def still(side):
    """Motion of a picture that does not move: each cell was where it is."""
    return torch.from_numpy(measure_motion(texture(side), texture(side)))[None]


def square(side=64, x=20):
    logits = torch.full((1, 1, side, side), -8.0)
    logits[..., 24:40, x : x + 16] = 8
    return logits


@pytest.mark.parametrize("side", [128, 256, 640])
def test_motion_is_where_cells_were(side):
    picture = texture(side)
    moved = np.roll(picture, side // 16, axis=1)
    motion = measure_motion(moved, picture)
    cells = side // 4
    assert motion.shape == (cells, cells, 2)
    inner = slice(cells // 4, -cells // 4)
    flow = (motion - still(side)[0].numpy())[inner, inner] * side / 2
    assert np.median(flow[..., 0]) == pytest.approx(-side // 16, rel=0.1)
    assert np.median(flow[..., 1]) == pytest.approx(0, abs=0.5)


def test_the_first_frame_of_a_clip_has_not_moved():
    frames = np.stack([np.roll(texture(128), 4 * i, axis=1) for i in range(3)])
    motion = measure_clip(np.repeat(frames[..., None], 3, axis=-1))
    assert motion.shape == (3, 32, 32, 2)
    np.testing.assert_allclose(motion[0], still(128)[0], atol=1e-3)
    assert np.median((motion[1] - motion[0])[8:-8, 8:-8, 0]) * 64 == pytest.approx(-4, abs=0.5)


def test_a_mask_is_carried_along_with_the_picture():
    picture = texture()
    moved = np.roll(picture, SHIFT, axis=1)
    motion = torch.from_numpy(measure_motion(moved, picture))[None]
    carried = carry(square(), motion) > 0
    expected = square(x=20 + SHIFT // 4) > 0
    assert (carried & expected).sum() / (carried | expected).sum() > 0.8


def test_what_is_carried_is_limited_as_the_decoder_is_used_to():
    carried = carry(torch.full((1, 1, 64, 64), -1024.0), still(256))
    assert float(carried.min()) == -32


def test_carrying_from_one_window_to_another_keeps_the_place_in_the_plane():
    before, window = Window(0, 0, 128, 128), Window(16, 0, 144, 128)
    motion = through_window(still(256), window, before)
    carried = carry(square(x=20), motion) > 0
    # 16 of 128 pixels are 8 of 64 cells.
    expected = square(x=12) > 0
    assert (carried & expected).sum() / (carried | expected).sum() > 0.9


def test_the_decoder_mends_what_is_carried_but_not_what_was_absent():
    model = make_tiny()
    features = model.encode_image(torch.zeros(1, 3, 64, 64))
    conditioned = model.without_memory(features)
    carried = torch.full((2, 1, 16, 16), -32.0)
    carried[1, :, 4:8, 4:8] = 32
    with torch.no_grad():
        own = model.decode(features, conditioned.expand(2, -1, -1, -1), mask_logits=carried)
        both = decode_carried(model, features, conditioned.expand(2, -1, -1, -1), carried)
    added = both.low_res_logits - own.low_res_logits * 0.25
    torch.testing.assert_close(added[0], torch.zeros_like(added[0]))
    torch.testing.assert_close(added[1, 0], carried[1, 0].clamp(-6, 6))


def test_the_grey_picture_of_an_input_is_that_of_the_image():
    rgb = np.stack([texture(64, seed) for seed in range(3)], -1)
    grey = tensor_to_grey(image_to_tensor(rgb, 64))
    expected = rgb @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey, expected, atol=1)


def clip(num_frames=4):
    return np.stack([np.roll(texture(96), 3 * i, axis=1) for i in range(num_frames)])


def masks_of(model, **options):
    tracker = VideoTracker(model, clip(), **options)
    mask = np.zeros((96, 96), bool)
    mask[30:60, 20:50] = True
    tracker.set_mask(0, 1, mask)
    return np.stack([frame.masks for frame in tracker.propagate()])


def test_motion_is_followed_by_models_trained_so_and_not_where_exact():
    model = make_tiny()
    follows = masks_of(model)
    assert (follows == masks_of(model, follow_motion=True)).all()
    assert (follows != masks_of(model, follow_motion=False)).any()
    exact = masks_of(model, exact=True)
    assert (exact == masks_of(model, exact=True, follow_motion=False)).all()


def test_a_session_goes_on_as_it_was_begun(tmp_path):
    model = make_tiny()
    tracker = VideoTracker(model, clip(), follow_motion=False)
    tracker.set_box(0, 1, [20, 30, 50, 60])
    tracker.save(tmp_path / "session")
    loaded = VideoTracker.load(tmp_path / "session", model, clip())
    expected = [frame.masks for frame in tracker.propagate()]
    assert all(
        (frame.masks == masks).all()
        for frame, masks in zip(loaded.propagate(), expected, strict=True)
    )
