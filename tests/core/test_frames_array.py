import tracemalloc
import warnings

import dask.array as da
import numpy as np
import pytest
import zarr
from frame_files import ramp, truncate
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_plugins.core.frames import FrameSource, open_frames


def test_stack_of_grey_frames():
    stack = ramp((5, 8, 9))
    frames = open_frames(stack)
    assert isinstance(frames, FrameSource)
    assert (frames.num_frames, frames.frame_size, frames.is_rgb) == (5, (8, 9), False)
    np.testing.assert_array_equal(frames.read(3), stack[3])


def test_one_image_is_a_stack_of_one_frame():
    image = ramp((8, 9))
    frames = open_frames(image)
    assert frames.num_frames == 1
    np.testing.assert_array_equal(frames.read(0), image)


@pytest.mark.parametrize("shape", [(5, 8, 3), (5, 3, 3), (3, 8, 4)])
def test_three_last_is_width_unless_someone_says_rgb(shape):
    frames = open_frames(np.zeros(shape, np.uint8))
    assert not frames.is_rgb
    assert frames.num_frames == shape[0]
    assert frames.frame_size == shape[1:]


def test_four_axes_end_in_channels_that_are_rgb_only_if_said():
    stack = ramp((5, 8, 9, 3), np.uint8)
    assert not open_frames(stack).is_rgb
    assert open_frames(stack).read(2).shape == (8, 9, 3)
    assert open_frames(stack, rgb=True).is_rgb
    assert open_frames(stack, axes="tyxs").is_rgb
    assert not open_frames(stack, axes="tyxs", rgb=False).is_rgb
    assert not open_frames(stack, axes="tyxc").is_rgb
    assert open_frames(stack, axes="tyxc", rgb=True).is_rgb


def test_one_rgb_image():
    image = ramp((8, 9, 3), np.uint8)
    frames = open_frames(image, rgb=True)
    assert (frames.num_frames, frames.frame_size, frames.is_rgb) == (1, (8, 9), True)
    np.testing.assert_array_equal(frames.read(0), image)


def test_alpha_is_dropped():
    stack = ramp((2, 8, 9, 4), np.uint8)
    np.testing.assert_array_equal(open_frames(stack, rgb=True).read(1), stack[1, ..., :3])


@settings(max_examples=60, deadline=None)
@given(
    axes=st.permutations("tcyx"),
    lengths=st.tuples(*[st.integers(1, 4)] * 4),
    data=st.data(),
)
def test_any_order_of_axes_gives_the_same_frames(axes, lengths, data):
    stack = ramp(lengths)  # t, c, y, x
    moved = stack.transpose(["tcyx".index(letter) for letter in axes])
    frames = open_frames(moved, axes="".join(axes))
    assert frames.num_frames == lengths[0]
    assert frames.frame_size == lengths[2:]
    index = data.draw(st.integers(0, lengths[0] - 1))
    wanted = stack[index].transpose(1, 2, 0)
    np.testing.assert_array_equal(frames.read(index), wanted if lengths[1] > 1 else wanted[..., 0])


def test_the_longer_of_t_and_z_is_walked():
    stack = ramp((1, 6, 8, 9))
    np.testing.assert_array_equal(open_frames(stack, axes="tzyx").read(4), stack[0, 4])
    np.testing.assert_array_equal(
        open_frames(stack.swapaxes(0, 1), axes="tzyx").read(4), stack[0, 4]
    )


def test_two_axes_to_walk_is_an_error_until_one_is_fixed():
    stack = ramp((4, 6, 8, 9))
    with pytest.raises(ValueError, match="along t or z; stay at one index of z, such as at z=0"):
        open_frames(stack, axes="tzyx")
    np.testing.assert_array_equal(open_frames(stack, axes="tzyx", at={"t": 3}).read(5), stack[3, 5])
    np.testing.assert_array_equal(open_frames(stack, axes="tzyx", at={"Z": 5}).read(3), stack[3, 5])


def test_channels_are_chosen_in_the_order_given():
    stack = ramp((3, 5, 8, 9))
    one = open_frames(stack, axes="tcyx", channels=4)
    np.testing.assert_array_equal(one.read(2), stack[2, 4])
    two = open_frames(stack, axes="tcyx", channels=[4, 1])
    np.testing.assert_array_equal(two.read(2), stack[2, [4, 1]].transpose(1, 2, 0))
    assert open_frames(stack, axes="tcyx").read(0).shape == (8, 9, 5)


def test_one_colour_of_rgb_is_no_longer_rgb():
    stack = ramp((2, 8, 9, 3), np.uint8)
    frames = open_frames(stack, rgb=True, channels=1)
    assert not frames.is_rgb
    np.testing.assert_array_equal(frames.read(1), stack[1, ..., 1])


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", ">u2", "i2", "u4", "i8", "f2", ">f4", "f8"])
def test_dtypes_come_back_in_native_byte_order(dtype):
    stack = ramp((2, 8, 9), dtype)
    frame = open_frames(stack).read(1)
    assert frame.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(frame, stack[1])


def test_a_frame_is_the_callers_to_change():
    stack = ramp((2, 8, 9))
    frame = open_frames(stack).read(0)
    frame[:] = 0
    assert stack[0].any()


def test_dask_computes_only_the_frame_that_is_read():
    computed = []

    def block(block_info):
        computed.append(block_info[None]["chunk-location"][0])
        return np.full((1, 8, 9), computed[-1], np.uint16)

    stack = da.map_blocks(block, chunks=((1,) * 1000, 8, 9), dtype=np.uint16, meta=np.empty(0))
    frames = open_frames(stack)
    assert frames.num_frames == 1000
    assert computed == []
    assert frames.read(700)[0, 0] == 700
    assert computed == [700]
    assert frames.signature
    assert len(computed) <= 5


def test_zarr_array_reads_only_the_chunk_of_the_frame(tmp_path):
    stack = ramp((4, 8, 9))
    array = zarr.create_array(str(tmp_path / "a.zarr"), data=stack, chunks=(1, 8, 9))
    frames = open_frames(array)
    for chunk in (tmp_path / "a.zarr" / "c").iterdir():
        if chunk.name != "2":
            (chunk / "0" / "0").write_bytes(b"unreadable")
    np.testing.assert_array_equal(frames.read(2), stack[2])
    with pytest.raises(ValueError, match="zarr array: frame 1 cannot be read"):
        frames.read(1)


def test_a_big_npy_costs_a_frame_of_memory(tmp_path):
    path = tmp_path / "big.npy"
    mapped = np.lib.format.open_memmap(path, "w+", np.uint16, (200, 256, 256))
    mapped[150] = 7
    mapped.flush()
    frame_bytes = 256 * 256 * 2
    tracemalloc.start()
    try:
        frames = open_frames(path)
        assert frames.signature
        for index in range(frames.num_frames):
            frames.read(index)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * frame_bytes
    assert (frames.read(150) == 7).all()


def test_signature_is_stable_and_follows_data_path_and_choices(tmp_path):
    stack = ramp((6, 8, 9))
    other = stack.copy()
    other[3, 0, 0] += 1
    signatures = [
        open_frames(stack).signature,
        open_frames(other).signature,
        open_frames(stack, axes="zxy").signature,
        open_frames(stack.astype(np.int16)).signature,
    ]
    assert open_frames(stack.copy()).signature == signatures[0]
    assert len(set(signatures)) == 4
    assert all(len(signature) == 32 for signature in signatures)

    path = tmp_path / "a.npy"
    np.save(path, stack)
    first = open_frames(path).signature
    assert open_frames(path).signature == first
    np.save(path, np.concatenate([stack, stack]))
    assert open_frames(path).signature != first


@pytest.mark.parametrize("index", [-1, 5])
def test_a_frame_that_is_not_there(index):
    with pytest.raises(ValueError, match=f"no frame {index}; frames are 0 to 4"):
        open_frames(np.zeros((5, 8, 9))).read(index)


def test_closed_file_says_so(tmp_path):
    np.save(tmp_path / "a.npy", ramp((2, 8, 9)))
    frames = open_frames(tmp_path / "a.npy")
    frames.close()
    frames.close()
    with pytest.raises(ValueError, match="is closed"):
        frames.read(0)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((0, 8, 9), {}, "is empty"),
        ((9,), {}, "name the axes"),
        ((2, 2, 2, 8, 9), {}, "name the axes"),
        ((5, 8, 9), {"axes": "tyw"}, "unknown axis 'w'"),
        ((5, 8, 9), {"axes": "yx"}, "names 2 axes but the shape"),
        ((5, 8, 9), {"axes": "tzc"}, "must name y and x"),
        ((5, 8, 9), {"axes": "yyx"}, "no letter twice"),
        ((5, 8, 9), {"rgb": True}, "rgb=True needs 3 or 4 colours"),
        ((5, 8, 9), {"channels": 1}, "no channel 1; channels are 0 to 0"),
        ((5, 8, 9, 4), {"channels": [0, 4]}, "no channel 4; channels are 0 to 3"),
        ((5, 8, 9, 4), {"channels": [0, 1, 2, 3]}, "1 to 3 indices"),
        ((5, 8, 9, 4), {"channels": [0.5]}, "1 to 3 indices"),
        ((5, 8, 9), {"at": {"z": 0}}, "z=0 names no axis .*; name the axes, such as axes zyx"),
        ((5, 8, 9), {"at": {"t": 5}}, "t=5 is outside; t is 0 to 4"),
        ((5, 8, 9), {"level": 1}, "no level 1; levels are 0 to 0"),
        ((2, 3, 8, 9, 3), {"axes": "tcyxs"}, "channels in both c and s; .*, such as at c=0"),
    ],
)
def test_one_line_says_what_is_wrong(shape, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        open_frames(np.zeros(shape, np.uint8), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.complex64, "U4", object, "M8[s]"])
def test_pixels_must_be_numbers(dtype):
    with pytest.raises(ValueError, match="must be boolean, integer or float"):
        open_frames(np.zeros((5, 8, 9), dtype))


def test_bad_npy_files(tmp_path):
    np.save(tmp_path / "cut.npy", ramp((20, 8, 9)))
    with pytest.raises(ValueError, match=r"cut\.npy: is not a readable \.npy array"):
        open_frames(truncate(tmp_path / "cut.npy", 0.7))
    (tmp_path / "text.npy").write_text("not an array")
    with pytest.raises(ValueError, match=r"text\.npy: is not a readable \.npy array"):
        open_frames(tmp_path / "text.npy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.save(tmp_path / "object.npy", np.array([{}, None], object))
    with pytest.raises(ValueError, match=r"object\.npy: is not a readable \.npy array"):
        open_frames(tmp_path / "object.npy")
