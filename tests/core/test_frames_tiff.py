import gc
import tracemalloc

import numpy as np
import pytest
import tifffile
from frame_files import ramp, truncate

from sam2_plugins.core.frames import open_frames

WRITERS = {
    "shaped": {},
    "plain": {"metadata": None},
    "deflated": {"compression": "zlib"},
    "tiled": {"tile": (16, 16), "compression": "zlib"},
    "tiled volume": {"tile": (16, 16, 16)},
    "big-endian": {"byteorder": ">"},
    "bigtiff": {"bigtiff": True},
    "imagej": {"imagej": True, "metadata": {"axes": "TYX"}},
}


@pytest.mark.parametrize("writer", WRITERS)
def test_stack_however_it_was_written(tmp_path, writer):
    stack = ramp((16, 32, 48))
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, stack, **WRITERS[writer])
    frames = open_frames(path)
    assert (frames.num_frames, frames.frame_size, frames.is_rgb) == (16, (32, 48), False)
    for index in (15, 0, 7):
        np.testing.assert_array_equal(frames.read(index), stack[index])
        assert frames.read(index).dtype == np.uint16
    frames.close()


@pytest.mark.parametrize("dtype", [bool, "u1", "i2", "i4", "f4", "f8"])
def test_dtypes(tmp_path, dtype):
    stack = ramp((5, 16, 24), dtype)
    tifffile.imwrite(tmp_path / "a.tif", stack)
    frame = open_frames(tmp_path / "a.tif").read(2)
    assert frame.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(frame, stack[2])


@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_axes_come_from_the_file(tmp_path, kind):
    stack = ramp((4, 3, 2, 16, 24))
    path = tmp_path / ("a.ome.tif" if kind == "ome" else "a.tif")
    options = {"imagej": True} if kind == "imagej" else {}
    tifffile.imwrite(path, stack, metadata={"axes": "TZCYX"}, **options)
    with pytest.raises(ValueError, match="can be walked along t or z"):
        open_frames(path)
    walk_z = open_frames(path, at={"t": 2})
    assert (walk_z.num_frames, walk_z.read(1).shape) == (3, (16, 24, 2))
    np.testing.assert_array_equal(walk_z.read(1), stack[2, 1].transpose(1, 2, 0))
    walk_t = open_frames(path, at={"z": 1}, channels=1)
    np.testing.assert_array_equal(walk_t.read(3), stack[3, 1, 1])


def test_z_stack_of_an_ome_file(tmp_path):
    stack = ramp((5, 16, 24))
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata={"axes": "ZYX"}, compression="zlib")
    np.testing.assert_array_equal(open_frames(tmp_path / "a.ome.tif").read(4), stack[4])


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_rgb_by_the_photometric_tag(tmp_path, planar, compression):
    stack = ramp((4, 16, 24, 3), np.uint8)
    written = stack if planar == "contig" else stack.transpose(0, 3, 1, 2)
    tifffile.imwrite(
        tmp_path / "a.tif", written, photometric="rgb", planarconfig=planar, compression=compression
    )
    frames = open_frames(tmp_path / "a.tif")
    assert frames.is_rgb
    np.testing.assert_array_equal(frames.read(3), stack[3])


def test_rgba_drops_alpha_and_one_page_is_one_frame(tmp_path):
    image = ramp((16, 24, 4), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", extrasamples=["unassalpha"])
    frames = open_frames(tmp_path / "a.tif")
    assert (frames.num_frames, frames.is_rgb) == (1, True)
    np.testing.assert_array_equal(frames.read(0), image[..., :3])


def test_three_grey_samples_are_not_rgb(tmp_path):
    image = ramp((16, 24, 3), np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", image, photometric="minisblack", planarconfig="contig", metadata=None
    )
    assert not open_frames(tmp_path / "a.tif").is_rgb
    assert open_frames(tmp_path / "a.tif", rgb=True).is_rgb


def test_the_callers_axes_win_and_unnamed_axes_ask_for_them(tmp_path):
    stack = ramp((3, 5, 16, 24))
    tifffile.imwrite(tmp_path / "a.tif", stack, compression="zlib", photometric="minisblack")
    with pytest.raises(ValueError, match="name the axes"):
        open_frames(tmp_path / "a.tif")
    frames = open_frames(tmp_path / "a.tif", axes="ctyx")
    assert frames.num_frames == 5
    np.testing.assert_array_equal(frames.read(2), stack[:, 2].transpose(1, 2, 0))
    frames = open_frames(tmp_path / "a.tif", axes="tzyx", at={"z": 1})
    np.testing.assert_array_equal(frames.read(2), stack[2, 1])


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_written_one_by_one_are_one_stack(tmp_path, compression):
    stack = ramp((7, 16, 24))
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for image in stack:
            writer.write(image, compression=compression)
    frames = open_frames(tmp_path / "a.tif")
    assert frames.num_frames == 7
    np.testing.assert_array_equal(frames.read(5), stack[5])
    with pytest.raises(ValueError, match="truncated"):
        open_frames(truncate(tmp_path / "a.tif", 0.9))


def test_levels_of_a_pyramid(tmp_path):
    fine, coarse = ramp((4, 32, 48)), ramp((4, 16, 24))
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        writer.write(fine, subifds=1, metadata={"axes": "TYX"})
        writer.write(coarse, subfiletype=1)
    np.testing.assert_array_equal(open_frames(tmp_path / "a.ome.tif").read(3), fine[3])
    level_1 = open_frames(tmp_path / "a.ome.tif", level=1)
    np.testing.assert_array_equal(level_1.read(3), coarse[3])
    assert level_1.signature != open_frames(tmp_path / "a.ome.tif").signature
    with pytest.raises(ValueError, match="no level 2; levels are 0 to 1"):
        open_frames(tmp_path / "a.ome.tif", level=2)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_long_file_costs_a_few_frames_of_memory(tmp_path, compression):
    path = tmp_path / "long.tif"
    frame = np.random.default_rng(0).integers(0, 9999, (256, 256)).astype(np.uint16)
    with tifffile.TiffWriter(path) as writer:
        for index in range(60):
            writer.write(frame + np.uint16(index), compression=compression, metadata=None)
    tracemalloc.start()
    try:
        frames = open_frames(path)
        assert frames.signature
        for index in range(frames.num_frames):
            frames.read(index)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert frames.num_frames == 60
    np.testing.assert_array_equal(frames.read(59), frame + 59)
    assert peak < 8 * frame.nbytes


def test_files_are_closed_when_the_frames_are_no_longer_used(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", ramp((5, 16, 24)), compression="zlib")
    open_frames(tmp_path / "a.tif").read(2)
    gc.collect()  # an unclosed file would be a warning, and so an error


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("fraction", [0.97, 0.6, 0.02])
def test_truncated_file_is_one_line_and_nothing_logged(tmp_path, caplog, writer, fraction):
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, ramp((16, 32, 48)), **WRITERS[writer])
    with pytest.raises(ValueError, match=r"truncated|cannot be read as TIFF") as caught:
        open_frames(truncate(path, fraction))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert caplog.records == []


def test_ome_file_whose_pixels_are_missing(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, ramp((6, 16, 24)), metadata={"axes": "TYX"}, compression="zlib")
    with tifffile.TiffFile(path) as file:
        description = file.ome_metadata
    assert description is not None
    with tifffile.TiffWriter(path) as writer:
        for page in ramp((4, 16, 24)):
            writer.write(page, description=description.encode(), metadata=None, contiguous=False)
            description = ""
    with pytest.raises(ValueError, match="2 of 6 planes are missing"):
        open_frames(path)


def test_damaged_page_is_named(tmp_path):
    path = tmp_path / "a.tif"
    stack = np.random.default_rng(0).integers(0, 9999, (5, 64, 64)).astype(np.uint16)
    tifffile.imwrite(path, stack, compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[3].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[offset : offset + 64] = bytes(64)
    path.write_bytes(data)
    frames = open_frames(path)
    np.testing.assert_array_equal(frames.read(2), stack[2])
    with pytest.raises(ValueError, match="page 3: cannot be read as TIFF"):
        frames.read(3)


@pytest.mark.parametrize("metadata", [{}, None])
def test_pages_of_different_sizes(tmp_path, metadata):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(np.zeros((16, 24), np.uint8), metadata=metadata)
        writer.write(np.zeros((16, 32), np.uint8), metadata=metadata)
    with pytest.raises(ValueError, match="images of different shapes"):
        open_frames(tmp_path / "a.tif")


def test_not_a_tiff(tmp_path):
    (tmp_path / "a.tif").write_text("hello")
    with pytest.raises(ValueError, match=r"a\.tif: cannot be read as TIFF"):
        open_frames(tmp_path / "a.tif")
