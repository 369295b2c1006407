"""What is written comes back, for every format and any order of frames."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from sam2_plugins.core.formats import davis_palette, load_masks, save_masks
from sam2_plugins.core.formats.registry import FORMATS, format_of
from sam2_plugins.core.masks import FrameMasks, decode_rle, masks_to_labels

SIZE = (40, 56)
NUM_FRAMES = 9
PATHS = {
    "tiff": "out.tif",
    "ome-zarr": "out.zarr",
    "sa-v": "out.json",
    "coco": "out.coco.json",
    "davis": "out",
    "youtube-vos": "out",
    "ctc": "01_RES",
}
LABEL_FORMATS = ["tiff", "ome-zarr", "davis", "youtube-vos", "ctc"]


def frame(frame_index, ids=(1, 7), size=SIZE):
    """Two overlapping boxes that move; the small one lies inside the large one."""
    masks = np.zeros((len(ids), *size), bool)
    for row, object_id in enumerate(ids):
        side = 20 - 5 * row
        masks[row, 2 + frame_index : 2 + frame_index + side, 3 + row : 3 + row + side] = True
        masks[row, 0, object_id % size[1]] = True
    scores = np.linspace(0.5, 0.9, len(ids)).astype(np.float32) + frame_index / 100
    return FrameMasks(frame_index, np.array(ids, np.int64), masks, scores, 3 - scores)


def assert_same(actual, expected, *, scores=True):
    assert actual.frame_index == expected.frame_index
    np.testing.assert_array_equal(actual.object_ids, expected.object_ids)
    np.testing.assert_array_equal(actual.masks, expected.masks)
    if scores:
        np.testing.assert_allclose(actual.predicted_iou, expected.predicted_iou, atol=1e-6)
        np.testing.assert_allclose(
            actual.object_score_logits, expected.object_score_logits, atol=1e-6
        )


@pytest.mark.parametrize("name", PATHS)
def test_frames_in_any_order_come_back_in_order(name, tmp_path):
    path = tmp_path / PATHS[name]
    order = [4, 5, 6, 3, 1, 8, 0]  # 2 and 7 never come
    returned = save_masks(
        path, (frame(t) for t in order), num_frames=NUM_FRAMES, frame_size=SIZE, format=name
    )
    assert returned == path
    assert [child.name for child in tmp_path.iterdir()] == [path.name]
    saved = load_masks(path)
    assert len(saved) == NUM_FRAMES
    assert saved.frame_size == SIZE
    for t, actual in enumerate(saved):
        if t not in order:
            assert not actual.masks.any()
        elif name in LABEL_FORMATS and name != "ctc":
            np.testing.assert_array_equal(actual.to_labels(), frame(t).to_labels())
        elif name != "ctc":
            assert_same(actual, frame(t))
    assert_same(saved[-1], saved[NUM_FRAMES - 1])
    assert [f.frame_index for f in saved[2:5]] == [2, 3, 4]
    with pytest.raises(IndexError, match="frames are 0 to 8"):
        saved[9]


@pytest.mark.parametrize("name", PATHS)
def test_a_frame_that_comes_again_replaces_only_the_objects_it_names(name, tmp_path):
    later = frame(0, ids=(7, 9))
    save_masks(
        tmp_path / PATHS[name],
        [frame(0), later],
        num_frames=1,
        frame_size=SIZE,
        format=name,
    )
    (saved,) = load_masks(tmp_path / PATHS[name])
    np.testing.assert_array_equal(saved.object_ids, [1, 7, 9])
    expected = masks_to_labels(
        np.concatenate([frame(0).masks[:1], later.masks]), np.array([1, 7, 9])
    )
    np.testing.assert_array_equal(saved.to_labels(), expected)


@pytest.mark.parametrize("name", PATHS)
def test_no_objects_at_all(name, tmp_path):
    path = tmp_path / PATHS[name]
    save_masks(path, iter(()), num_frames=3, frame_size=SIZE, format=name)
    saved = load_masks(path, format=name)
    assert len(saved) == 3
    assert all(len(entry.object_ids) == 0 for entry in saved)


def test_every_format_is_tested():
    assert set(PATHS) == set(FORMATS)


@pytest.mark.parametrize("name", ["tiff", "ome-zarr"])
def test_wide_ids_make_uint32(name, tmp_path):
    path = tmp_path / PATHS[name]
    frames = [frame(0), frame(1, ids=(3, 70_000))]
    save_masks(path, frames, num_frames=2, frame_size=SIZE)
    for saved, expected in zip(load_masks(path), frames, strict=True):
        np.testing.assert_array_equal(saved.to_labels(), expected.to_labels())
    if name == "tiff":
        assert tifffile.imread(path).dtype == np.uint32


@pytest.mark.parametrize("name", ["sa-v", "coco"])
def test_json_keeps_hidden_objects(name, tmp_path):
    masks = np.zeros((2, *SIZE), bool)
    masks[:, 5:20, 5:20] = True
    scores = np.array([0.25, 0.75], np.float32)
    both = FrameMasks(0, np.array([1, 2]), masks, scores, -scores)
    save_masks(tmp_path / PATHS[name], [both], num_frames=1, frame_size=SIZE)
    assert_same(load_masks(tmp_path / PATHS[name])[0], both)


def test_tiff_is_what_imagej_and_napari_expect(tmp_path):
    path = tmp_path / "out.tif"
    save_masks(path, map(frame, range(5)), num_frames=5, frame_size=SIZE)
    with tifffile.TiffFile(path) as file:
        assert file.is_imagej
        assert file.series[0].axes == "TYX"
        assert file.series[0].shape == (5, *SIZE)
        assert file.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert file.imagej_metadata["frames"] == 5
    save_masks(path, map(frame, range(5)), frame_size=SIZE, stack_axis="Z")
    with tifffile.TiffFile(path) as file:
        assert file.series[0].axes == "ZYX"


def test_large_tiff_stacks_become_ome_bigtiff(tmp_path, monkeypatch):
    from sam2_plugins.core.formats import tiff

    monkeypatch.setattr(tiff, "_MAX_CLASSIC_BYTES", 1000)
    save_masks(tmp_path / "out.tif", map(frame, range(3)), frame_size=SIZE)
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.is_bigtiff
        assert file.is_ome
        assert file.series[0].axes == "TYX"


@pytest.mark.parametrize("options", [{"imagej": True}, {"compression": "zlib"}, {}])
def test_label_stacks_of_other_tools(options, tmp_path):
    labels = np.stack([frame(t).to_labels() for t in range(4)])
    tifffile.imwrite(tmp_path / "x.tif", labels, photometric="minisblack", **options)
    for saved, expected in zip(load_masks(tmp_path / "x.tif"), labels, strict=True):
        np.testing.assert_array_equal(saved.to_labels(), expected)


def test_ome_zarr_metadata_and_large_frames(tmp_path):
    zarr = pytest.importorskip("zarr")
    size = (1100, 1500)
    path = tmp_path / "cells.zarr"
    save_masks(path, [frame(1, size=size)], num_frames=2, frame_size=size, stack_axis="Z")
    group = zarr.open(str(path), mode="r")
    attributes = dict(group.attrs)
    (multiscale,) = attributes["multiscales"]
    assert multiscale["version"] == attributes["image-label"]["version"] == "0.4"
    assert multiscale["name"] == "cells"
    assert [axis["name"] for axis in multiscale["axes"]] == ["z", "y", "x"]
    assert {axis["type"] for axis in multiscale["axes"]} == {"space"}
    colors = attributes["image-label"]["colors"]
    assert [color["label-value"] for color in colors] == [1, 7]
    assert group["0"].shape == (2, *size)
    assert group["0"].chunks == (1, 1024, 1024)
    np.testing.assert_array_equal(group["0"][1], frame(1, size=size).to_labels())
    assert not group["0"][0].any()
    assert not (path / "0" / "0").exists()  # empty chunks take no space


def test_ome_zarr_labels_inside_an_image(tmp_path):
    zarr = pytest.importorskip("zarr")
    labels = np.stack([frame(t).to_labels() for t in range(3)])
    root = zarr.open_group(str(tmp_path / "image.zarr"), mode="w")
    root.attrs["multiscales"] = [{"datasets": [{"path": "0"}]}]
    group = root.create_group("labels")
    group.attrs["labels"] = ["cells"]
    cells = group.create_group("cells")
    cells.attrs["ome"] = {"image-label": {}, "multiscales": [{"datasets": [{"path": "s0"}]}]}
    array = cells.create_array("s0", shape=labels.shape, dtype=labels.dtype)
    array[:] = labels
    for saved, expected in zip(load_masks(tmp_path / "image.zarr"), labels, strict=True):
        np.testing.assert_array_equal(saved.to_labels(), expected)


def test_davis_folder_is_a_palette_png_per_frame(tmp_path):
    save_masks(tmp_path / "out", map(frame, range(3)), num_frames=3, frame_size=SIZE)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "00000.png",
        "00001.png",
        "00002.png",
    ]
    with Image.open(tmp_path / "out" / "00001.png") as image:
        assert image.mode == "P"
        assert image.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
        np.testing.assert_array_equal(np.asarray(image), frame(1).to_labels())
    assert davis_palette()[255].tolist() == [224, 224, 192]


def test_frame_names(tmp_path):
    names = ["a0", "a3", "b1"]
    save_masks(tmp_path / "out", map(frame, range(3)), frame_size=SIZE, frame_names=names)
    assert load_masks(tmp_path / "out").frame_names == ("a0", "a3", "b1")
    with pytest.raises(ValueError, match="3 frame names for 4 frames"):
        save_masks(tmp_path / "x", [], num_frames=4, frame_size=SIZE, frame_names=names)


def test_sav_keys(tmp_path):
    path = tmp_path / "clip.json"
    absent = FrameMasks(
        2,
        np.array([1]),
        np.zeros((1, *SIZE), bool),
        np.ones(1, np.float32),
        -np.ones(1, np.float32),
    )
    save_masks(path, [absent, frame(3), frame(1, ids=(1,))], num_frames=5, frame_size=SIZE)
    content = json.loads(path.read_text())
    assert content["video_id"] == "clip"
    assert (content["video_height"], content["video_width"]) == SIZE
    assert content["video_frame_count"] == len(content["masklet"]) == 5
    assert content["masklet_id"] == [1, 7]
    assert content["masklet_num"] == 2
    assert content["masklet_first_appeared_frame"] == [1, 3]
    assert content["masklet_visibility_changes"] == [2, 0]
    assert content["masklet_frame_count"] == [3, 1]
    area = frame(3).masks[1].sum()
    assert content["masklet_size_abs"][1] == area
    assert content["masklet_size_rel"][1] == area / (SIZE[0] * SIZE[1])
    assert content["masklet_size_bucket"] == ["small", "small"]
    assert content["masklet_predicted_iou"][0] == [None, None]
    np.testing.assert_array_equal(decode_rle(content["masklet"][3][1]), frame(3).masks[1])
    assert [len(saved.object_ids) for saved in load_masks(path)] == [0, 1, 1, 2, 0]


def test_sav_files_without_scores_and_with_ids_from_0(tmp_path):
    path = tmp_path / "clip.json"
    save_masks(path, [frame(0)], num_frames=1, frame_size=SIZE)
    content = json.loads(path.read_text())
    del content["masklet_predicted_iou"], content["masklet_object_score_logit"]
    content["masklet_id"] = [0, 1]
    path.write_text(json.dumps(content))
    (saved,) = load_masks(path)
    np.testing.assert_array_equal(saved.object_ids, [1, 2])
    np.testing.assert_array_equal(saved.masks, frame(0).masks)
    assert (saved.object_score_logits == 10).all()


def test_coco_is_read_by_pycocotools(tmp_path, capsys):
    coco_api = pytest.importorskip("pycocotools.coco")
    path = tmp_path / "clip.coco.json"
    save_masks(path, map(frame, (2, 0)), num_frames=3, frame_size=SIZE)
    coco = coco_api.COCO(str(path))
    capsys.readouterr()
    assert len(coco.getImgIds()) == 3
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[3]))
    assert [a["track_id"] for a in annotations] == [1, 7]
    for annotation, mask in zip(annotations, frame(2).masks, strict=True):
        assert annotation["area"] == mask.sum()
    assert annotations[0]["bbox"] == [1, 0, 22, 24]


def test_youtube_vos_layout(tmp_path):
    save_masks(
        tmp_path / "clip", [frame(1), frame(0, ids=(1,))], frame_size=SIZE, format="youtube-vos"
    )
    meta = json.loads((tmp_path / "clip" / "meta.json").read_text())
    objects = meta["videos"]["clip"]["objects"]
    assert objects["1"]["frames"] == ["00000", "00001"]
    assert objects["7"]["frames"] == ["00001"]
    assert (tmp_path / "clip" / "Annotations" / "clip" / "00001.png").is_file()


def test_ctc_splits_tracks_at_gaps(tmp_path):
    frames = [frame(0), frame(1, ids=(7,)), frame(2, ids=(7,)), frame(3), frame(5)]
    save_masks(tmp_path / "01_RES", frames, num_frames=6, frame_size=SIZE)
    table = np.loadtxt(tmp_path / "01_RES" / "res_track.txt", dtype=int)
    np.testing.assert_array_equal(
        table,
        [[1, 0, 0, 0], [7, 0, 3, 0], [8, 3, 3, 1], [9, 5, 5, 8], [10, 5, 5, 7]],
    )
    for label, first, last, _ in table:
        for t in range(6):
            present = (tifffile.imread(tmp_path / "01_RES" / f"mask{t:03d}.tif") == label).any()
            assert present == (first <= t <= last)


def test_endings():
    assert format_of("a/b.TIFF").name == "tiff"
    assert format_of("x.ome.zarr").name == "ome-zarr"
    assert format_of("x.coco.json").name == "coco"
    assert format_of("results").name == "davis"
    assert format_of("02_RES").name == "ctc"
    assert format_of("x.tif", name="davis").name == "davis"
