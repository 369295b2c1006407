import numpy as np
import pytest
import zarr
from frame_files import ramp, write_ome_zarr

from sam2_plugins.core.frames import open_frames


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_levels_and_axes_of_an_image(tmp_path, version):
    fine, coarse = ramp((4, 2, 16, 24)), ramp((4, 2, 8, 12))
    path = write_ome_zarr(tmp_path / "a.ome.zarr", [fine, coarse], "tcyx", version=version)
    frames = open_frames(path)
    assert (frames.num_frames, frames.frame_size, frames.is_rgb) == (4, (16, 24), False)
    np.testing.assert_array_equal(frames.read(3), fine[3].transpose(1, 2, 0))
    level_1 = open_frames(path, level=1, channels=1)
    np.testing.assert_array_equal(level_1.read(2), coarse[2, 1])
    assert level_1.signature != frames.signature
    with pytest.raises(ValueError, match="no level 2; levels are 0 to 1"):
        open_frames(path, level=2)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_times_and_slices(tmp_path, version):
    image = ramp((2, 1, 3, 16, 24))
    path = write_ome_zarr(tmp_path / "a.zarr", [image], "tczyx", version=version)
    with pytest.raises(ValueError, match="can be walked along t or z"):
        open_frames(path)
    np.testing.assert_array_equal(open_frames(path, at={"t": 1}).read(2), image[1, 0, 2])


def test_an_open_group_and_a_level_of_it(tmp_path):
    image = ramp((3, 16, 24))
    path = write_ome_zarr(tmp_path / "a.zarr", [image], "zyx", version="0.5")
    np.testing.assert_array_equal(open_frames(zarr.open_group(str(path))).read(2), image[2])
    np.testing.assert_array_equal(open_frames(path / "level0").read(2), image[2])


def test_the_first_image_of_a_converted_series(tmp_path):
    image = ramp((3, 16, 24))
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    write_ome_zarr(tmp_path / "a.zarr" / "0", [image], "zyx", version="0.4")
    np.testing.assert_array_equal(open_frames(tmp_path / "a.zarr").read(1), image[1])


def test_old_images_without_axes(tmp_path):
    image = ramp((4, 1, 1, 16, 24))
    path = write_ome_zarr(tmp_path / "a.zarr", [image], "tczyx", version="0.4")
    group = zarr.open_group(str(path))
    group.attrs["multiscales"] = [{"version": "0.1", "datasets": [{"path": "level0"}]}]
    np.testing.assert_array_equal(open_frames(path).read(3), image[3, 0, 0])
    group.attrs["multiscales"] = [{"axes": list("tczyx"), "datasets": [{"path": "level0"}]}]
    np.testing.assert_array_equal(open_frames(path).read(3), image[3, 0, 0])


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_plain_array_with_or_without_named_dimensions(tmp_path, zarr_format):
    stack = ramp((2, 16, 24, 5))
    plain = zarr.create_array(str(tmp_path / "a.zarr"), data=stack, zarr_format=zarr_format)
    assert open_frames(tmp_path / "a.zarr").num_frames == 2
    names = ["c", "y", "x", "time"]
    if zarr_format == 3:
        zarr.create_array(str(tmp_path / "b.zarr"), data=stack, dimension_names=names)
    else:
        plain.attrs["_ARRAY_DIMENSIONS"] = names
    frames = open_frames(tmp_path / ("b.zarr" if zarr_format == 3 else "a.zarr"))
    assert (frames.num_frames, frames.frame_size) == (5, (16, 24))
    np.testing.assert_array_equal(frames.read(4), stack[..., 4].transpose(1, 2, 0))


def test_group_of_arrays(tmp_path):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    with pytest.raises(ValueError, match=r"holds no array"):
        open_frames(tmp_path / "a.zarr")
    group.create_array("one", data=ramp((3, 16, 24)))
    assert open_frames(tmp_path / "a.zarr").num_frames == 3
    group.create_array("two", data=ramp((4, 16, 24)))
    with pytest.raises(ValueError, match=r"open one array of it \(holds the arrays one, two\)"):
        open_frames(tmp_path / "a.zarr")


def test_bad_folders(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(ValueError, match="is not a zarr folder"):
        open_frames(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "zarr.json").write_text("{not json")
    with pytest.raises(ValueError, match=r"a\.zarr: cannot be read as zarr"):
        open_frames(tmp_path / "a.zarr")


def test_missing_level_and_wrong_axes(tmp_path):
    image = ramp((3, 16, 24))
    path = write_ome_zarr(tmp_path / "a.zarr", [image], "zyx", version="0.5")
    ome = zarr.open_group(str(path)).attrs["ome"]
    ome["multiscales"][0]["datasets"][0]["path"] = "gone"
    zarr.open_group(str(path)).attrs["ome"] = ome
    with pytest.raises(ValueError, match=r"level 0 \('gone'\) is missing"):
        open_frames(path)
    path = write_ome_zarr(tmp_path / "b.zarr", [image], "yx", version="0.5")
    with pytest.raises(ValueError, match="axes 'yx' of an array of 3 axes"):
        open_frames(path)


def test_plate_says_what_to_open(tmp_path):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group.attrs["ome"] = {"plate": {"wells": []}}
    with pytest.raises(ValueError, match="is a plate; open one image of it"):
        open_frames(tmp_path / "a.zarr")
