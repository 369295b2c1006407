import json
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam2_plugins.core.frames import open_frames
from sam2_plugins.core.pixels import PixelPolicy

NUMBERS = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4"]


def fit(stack, limits=None, **options):
    return PixelPolicy.fit(open_frames(stack, **options), limits=limits)


def grey_stack(dtype=np.uint16):
    return np.random.default_rng(0).integers(0, 4000, (6, 32, 40)).astype(dtype)


def test_uint8_colours_go_in_as_they_are():
    stack = np.random.default_rng(0).integers(0, 255, (3, 8, 9, 3)).astype(np.uint8)
    policy = fit(stack, rgb=True)
    assert policy.name == "rgb"
    assert policy.to_rgb(stack[1]) is not None
    assert policy.to_rgb(stack[1]).dtype == np.uint8
    np.testing.assert_array_equal(policy.to_rgb(stack[1]), stack[1])


def test_three_channels_that_are_not_rgb_are_scaled_each():
    stack = np.zeros((3, 8, 9, 3), np.uint8)
    stack[..., 0], stack[..., 1] = np.arange(9), 100 + np.arange(9)
    rgb = fit(stack).to_rgb(stack[1])
    np.testing.assert_allclose(rgb[..., 0], rgb[..., 1], atol=1e-6)
    np.testing.assert_allclose(rgb[0, :, 0], np.clip(np.arange(9) / 8, 0, 1), atol=0.02)
    assert not rgb[..., 2].any()


def test_percentiles_are_of_the_whole_stack():
    stack = grey_stack()
    stack[3] += 20000
    policy = fit(stack)
    low, high = np.percentile(stack, [0.5, 99.5])
    assert policy.name == "percentiles"
    assert (policy.low, policy.high) == ((low,), (high,))
    wanted = np.clip((stack[2] - low) / (high - low), 0, 1)
    rgb = policy.to_rgb(stack[2])
    assert rgb.dtype == np.float32
    for colour in range(3):
        np.testing.assert_allclose(rgb[..., colour], wanted, atol=1e-6)
    assert rgb.max() < 0.2  # a dark frame of a stack with a bright one stays dark


def test_large_stacks_are_sampled_the_same_way_every_time():
    class Large:
        num_frames, frame_size, is_rgb, signature = 5000, (512, 512), False, ""

        def __init__(self):
            self.reads = []

        def read(self, frame_index):
            self.reads.append(frame_index)
            rng = np.random.default_rng(frame_index)
            return rng.integers(0, 1000 + frame_index, self.frame_size).astype(np.uint16)

        def close(self):
            pass

    first, second = Large(), Large()
    policy = PixelPolicy.fit(first)
    assert policy == PixelPolicy.fit(second)
    assert len(first.reads) < 40
    assert {0, 4999} <= set(first.reads)
    assert policy.high[0] == pytest.approx(5800, rel=0.05)


def test_the_callers_limits():
    stack = grey_stack()
    policy = fit(stack, limits=(1000, 3000))
    assert policy.name == "limits"
    rgb = policy.to_rgb(np.array([[0, 1000, 2000, 3000, 9000]], np.uint16))
    np.testing.assert_allclose(rgb[0, :, 1], [0, 0, 0.5, 1, 1])
    colours = np.full((2, 4, 4, 3), 128, np.uint8)
    np.testing.assert_allclose(fit(colours, (0, 256), rgb=True).to_rgb(colours[0]), 0.5)
    pairs = fit(np.zeros((2, 4, 4, 2)), limits=[(0, 1), (0, 4)])
    np.testing.assert_allclose(pairs.to_rgb(np.ones((1, 1, 2)))[0, 0], [1, 0.25, 1])


@pytest.mark.parametrize(
    "limits", [(5, 5), (6, 5), (0, np.inf), (np.nan, 1), (1, 2, 3), [(0, 1), (0, 1)], 7]
)
def test_bad_limits(limits):
    with pytest.raises(ValueError, match="limits="):
        fit(grey_stack(), limits)


@pytest.mark.parametrize("dtype", [*NUMBERS, "f8"])
@pytest.mark.parametrize("value", [0, 1])
def test_constant_stacks_do_not_divide_by_zero(dtype, value):
    stack = np.full((2, 8, 9), value, dtype)
    rgb = fit(stack).to_rgb(stack[0])
    assert rgb.shape == (8, 9, 3)
    assert (rgb == (value if dtype == "?" else 0)).all()


def test_few_bright_pixels_on_an_even_ground_are_kept():
    stack = np.full((4, 64, 64), 100, np.uint16)
    stack[:, 5, 5] = 900
    rgb = fit(stack).to_rgb(stack[2])
    assert rgb[5, 5, 0] == 1
    assert rgb[0, 0, 0] == 0


def test_booleans():
    stack = np.zeros((2, 8, 9), bool)
    stack[0, 0, 0] = True
    policy = fit(stack)
    assert policy.name == "boolean"
    np.testing.assert_array_equal(policy.to_rgb(stack[0])[..., 2], stack[0])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_not_finite_is_the_low_limit_with_one_warning(dtype):
    stack = np.random.default_rng(0).random((3, 16, 16)).astype(dtype)
    clean = fit(stack)
    stack[1, 0, :3] = [np.nan, np.inf, -np.inf]
    with pytest.warns(UserWarning, match="NaN or infinite are treated as the low limit"):
        policy = fit(stack)
    rgb = policy.to_rgb(stack[1])  # a second warning would be an error
    assert (rgb[0, :3] == 0).all()
    assert policy.low[0] == pytest.approx(clean.low[0], abs=0.02)
    assert policy.high[0] == pytest.approx(clean.high[0], abs=0.02)


def test_not_finite_that_the_sample_missed_still_warns_once():
    policy = fit(np.random.default_rng(0).random((3, 16, 16)))
    frame = np.full((16, 16), np.nan)
    with pytest.warns(UserWarning, match="NaN or infinite"):
        rgb = policy.to_rgb(frame)
    assert not rgb.any()
    policy.to_rgb(frame)  # a second warning would be an error


def test_a_stack_of_nothing_finite_is_black():
    stack = np.full((2, 8, 9), np.nan)
    with pytest.warns(UserWarning, match="NaN or infinite"):
        policy = fit(stack)
    assert not policy.to_rgb(stack[0]).any()


def test_wide_integers_keep_small_differences():
    stack = 2**40 + np.arange(2 * 8 * 9).reshape(2, 8, 9)
    rgb = fit(stack).to_rgb(stack[0])
    assert len(np.unique(rgb)) == 72


def test_rgb_that_is_not_uint8_keeps_its_hue():
    stack = np.random.default_rng(0).random((2, 32, 32, 3)).astype(np.float32)
    stack[..., 2] *= 0.1
    policy = fit(stack, rgb=True)
    assert len(set(policy.low)) == len(set(policy.high)) == 1
    rgb = policy.to_rgb(stack[0])
    assert rgb[..., 2].mean() == pytest.approx(0.1 * rgb[..., 0].mean(), rel=0.2)


@pytest.mark.parametrize("num_channels", [2, 3, 4, 5, 7])
def test_channels_have_different_colours_and_fill_the_range(num_channels):
    policy = fit(np.zeros((1, 2, 2, num_channels)), limits=(0, 1), axes="tyxc")
    rgb = policy.to_rgb(np.eye(num_channels)[None])[0]
    assert len(np.unique(rgb.round(4), axis=0)) == num_channels
    assert (rgb.max(axis=1) > 0).all()
    np.testing.assert_allclose(rgb.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(policy.to_rgb(np.ones((1, 1, num_channels))), 1, atol=1e-5)


@settings(max_examples=80, deadline=None)
@given(
    stack=st.sampled_from(NUMBERS).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
        )
    )
)
def test_any_numbers_become_rgb_between_0_and_1(stack):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pixels that are NaN")
        source = open_frames(stack, axes="tyxc")
        policy = PixelPolicy.fit(source)
        for index in range(source.num_frames):
            rgb = policy.to_rgb(source.read(index))
            assert rgb.shape == (*stack.shape[1:3], 3)
            assert rgb.dtype == np.float32
            assert rgb.min() >= 0
            assert rgb.max() <= 1


def test_brighter_stays_brighter_and_the_frame_is_not_changed():
    stack = grey_stack(np.int16) - 2000
    frame = stack[0].copy()
    grey = fit(stack).to_rgb(frame)[..., 0]
    np.testing.assert_array_equal(frame, stack[0])
    order = np.argsort(frame, axis=None)
    assert (np.diff(grey.reshape(-1)[order]) >= 0).all()


@pytest.mark.parametrize("options", [{}, {"limits": (0.1, 0.7)}])
def test_saved_and_loaded_policies_are_equal(options):
    policy = fit(np.random.default_rng(0).random((3, 16, 16, 2)), **options)
    loaded = PixelPolicy.from_dict(json.loads(json.dumps(policy.to_dict())))
    assert loaded == policy
    assert loaded.signature == policy.signature
    colours = fit(np.zeros((1, 4, 4, 3), np.uint8), rgb=True)
    assert PixelPolicy.from_dict(colours.to_dict()) == colours


@pytest.mark.parametrize(
    "values",
    [{}, {"name": "rgb", "is_rgb": True, "low": [0], "high": [1]},
     {"name": "limits", "is_rgb": False, "low": [0], "high": []},
     {"name": "limits", "is_rgb": False, "low": ["a"], "high": [1]}],
)  # fmt: skip
def test_what_is_not_a_saved_policy(values):
    with pytest.raises(ValueError, match="not a pixel policy"):
        PixelPolicy.from_dict(values)


def test_signature_tells_policies_apart():
    stack = grey_stack()
    policies = [fit(stack), fit(stack // 2), fit(stack, (0, 1)), fit(stack[..., None])]
    assert len({policy.signature for policy in policies[:3]}) == 3
    assert policies[0].signature == fit(stack.copy()).signature


@pytest.mark.parametrize("shape", [(8, 9, 2), (8, 9, 3), (8,), (1, 8, 9, 1)])
def test_frame_of_another_kind(shape):
    with pytest.raises(ValueError, match="does not have 1 channels"):
        fit(grey_stack()).to_rgb(np.zeros(shape, np.uint16))


def test_colours_of_another_dtype():
    policy = fit(np.zeros((1, 4, 4, 3), np.uint8), rgb=True)
    with pytest.raises(ValueError, match="frame is float64 but the stack is uint8"):
        policy.to_rgb(np.zeros((4, 4, 3)))


def test_a_large_frame_takes_milliseconds():
    frame = np.random.default_rng(0).integers(0, 4000, (1024, 1024)).astype(np.uint16)
    policy = fit(frame)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        policy.to_rgb(frame)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05
