"""Labels of volumes over time: written with axes and pixel sizes, read by other packages."""

import numpy as np
import pytest
import tifffile
import zarr

from sam2_plugins.core.formats import LabelArray, load_masks, save_labels

SCALE = (30.0, 2.0, 0.5, 0.25)
UNITS = ("second", "micrometer", "micrometer", "micrometer")


@pytest.fixture
def labels() -> np.ndarray:
    """(3, 4, 20, 30) uint16: two objects, of which one is gone at the second time point."""
    found = np.zeros((3, 4, 20, 30), np.uint16)
    found[:, 1:3, 2:8, 3:9] = 1
    found[0, 0:2, 10:15, 12:20] = 5
    found[2, 2:4, 10:15, 14:22] = 5
    return found


def test_tiff_is_a_hyperstack_with_sizes(tmp_path, labels):
    array = LabelArray(labels, axes="TZYX", scale=SCALE, units=UNITS)
    path = save_labels(tmp_path / "a.tif", array)
    with tifffile.TiffFile(path) as file:
        assert file.series[0].axes == "TZYX"
        assert np.array_equal(file.series[0].asarray(), labels)
        facts = file.imagej_metadata
        assert (facts["spacing"], facts["finterval"], facts["unit"]) == (2.0, 30.0, "um")
        assert (facts["frames"], facts["slices"]) == (3, 4)
        x, y = (file.pages[0].tags[f"{axis}Resolution"].value for axis in "XY")
        assert (x[0] / x[1], y[0] / y[1]) == (4.0, 2.0)
        assert len(file.pages) == 12


def test_wide_ids_are_ome_tiff_with_sizes(tmp_path, labels):
    wide = labels.astype(np.uint32) * 70_000
    path = save_labels(tmp_path / "a.tif", LabelArray(wide, axes="TZYX", scale=SCALE, units=UNITS))
    with tifffile.TiffFile(path) as file:
        assert file.series[0].axes == "TZYX"
        assert np.array_equal(file.series[0].asarray(), wide)
        text = file.ome_metadata
    for fact in (
        *('PhysicalSizeZ="2.0"', 'PhysicalSizeY="0.5"', 'PhysicalSizeX="0.25"'),
        *('PhysicalSizeXUnit="µm"', 'TimeIncrement="30.0"', 'TimeIncrementUnit="s"'),
    ):
        assert fact in text


def test_ome_zarr_has_axes_sizes_and_units(tmp_path, labels):
    path = save_labels(
        tmp_path / "a.zarr", LabelArray(labels, axes="TZYX", scale=SCALE, units=UNITS)
    )
    group = zarr.open_group(path, mode="r")
    multiscale = group.attrs["multiscales"][0]
    assert [axis["name"] for axis in multiscale["axes"]] == list("tzyx")
    assert [axis["type"] for axis in multiscale["axes"]] == ["time", "space", "space", "space"]
    assert [axis["unit"] for axis in multiscale["axes"]] == list(UNITS)
    (transform,) = multiscale["datasets"][0]["coordinateTransformations"]
    assert transform == {"type": "scale", "scale": list(SCALE)}
    assert np.array_equal(group["0"][:], labels)
    assert {c["label-value"] for c in group.attrs["image-label"]["colors"]} == {1, 5}


def test_cell_tracking_folders_have_a_volume_for_each_time_point(tmp_path, labels):
    path = save_labels(tmp_path / "01_RES", LabelArray(labels, axes="TZYX"))
    volumes = [tifffile.imread(path / f"mask{t:03d}.tif") for t in range(3)]
    # An object with a gap goes on as a daughter, as the challenge wants it.
    expected = np.where((labels == 5) & (np.arange(3) == 2)[:, None, None, None], 6, labels)
    assert np.array_equal(np.stack(volumes), expected)
    table = (path / "res_track.txt").read_text().splitlines()
    assert table == ["1 0 2 0", "5 0 0 0", "6 2 2 5"]
    save_labels(path, LabelArray(labels, axes="TZYX"))  # an earlier output is replaced
    with pytest.raises(ValueError, match="volumes"):
        load_masks(path)


@pytest.mark.parametrize("ending", [".tif", ".zarr", "_RES"])
def test_stacks_and_planes_are_read_back(tmp_path, labels, ending):
    stack = labels[:, 1]
    saved = load_masks(save_labels(tmp_path / f"a{ending}", LabelArray(stack, axes="ZYX")))
    # The cell tracking format gives an object that comes back another label.
    again = np.stack([frame.to_labels() for frame in saved])
    assert np.array_equal(again > 0, stack > 0)
    plane = save_labels(tmp_path / f"b{ending}", LabelArray(stack[0], axes="YX"))
    assert np.array_equal(load_masks(plane)[0].to_labels(), stack[0])


def test_what_does_not_fit_is_said_and_nothing_is_written(tmp_path, labels):
    for ending, words in ((".json", "sa-v"), (".coco.json", "coco"), ("", "davis")):
        with pytest.raises(ValueError, match=f"{words} format holds one stack"):
            save_labels(tmp_path / f"a{ending}", LabelArray(labels, axes="TZYX"))
    wide = LabelArray(labels.astype(np.uint32) * 70_000, axes="TZYX")
    with pytest.raises(ValueError, match="ctc format holds ids up to 65535"):
        save_labels(tmp_path / "a_RES", wide)
    assert not list(tmp_path.iterdir())
    for array, axes, words in (
        (labels, "CZYX", "they are TZYX"),
        (labels, "ZYX", "they are TZYX"),
        (labels.astype(float), "TZYX", "not integers"),
        (labels.astype(np.int32) - 1, "TZYX", "negative"),
    ):
        with pytest.raises(ValueError, match=words):
            LabelArray(array, axes=axes)
    with pytest.raises(ValueError, match="scale has 2 values"):
        LabelArray(labels, axes="TZYX", scale=(1, 2))
