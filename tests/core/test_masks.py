import numpy as np
import pytest
import torch
from scipy import ndimage

from sam2_plugins.core import masks as m


def disk(size=64, centre=(32, 32), radius=12):
    rows, columns = np.mgrid[:size, :size]
    return (rows - centre[1]) ** 2 + (columns - centre[0]) ** 2 <= radius**2


def frame_masks(masks, ids):
    scores = np.ones(len(masks), np.float32)
    return m.FrameMasks(0, np.array(ids), np.array(masks), scores, scores)


def filled_by_definition(mask, max_area):
    regions, count = ndimage.label(~mask, np.ones((3, 3)))
    small = [i for i in range(1, count + 1) if (regions == i).sum() <= max_area]
    return mask | np.isin(regions, small)


def test_smaller_object_is_on_top_whatever_the_order():
    big, small = disk(radius=20), disk(radius=5)
    labels = frame_masks([big, small], [7, 3]).to_labels()
    assert labels.dtype == np.uint16
    assert labels[32, 32] == 3
    assert labels[32, 48] == 7
    np.testing.assert_array_equal(labels, frame_masks([small, big], [3, 7]).to_labels())


def test_equal_objects_leave_the_lower_id_on_top():
    labels = frame_masks([disk(), disk()], [2, 9]).to_labels()
    np.testing.assert_array_equal(labels, frame_masks([disk(), disk()], [9, 2]).to_labels())
    assert set(np.unique(labels)) == {0, 2}


def test_wide_ids_make_uint32():
    labels = frame_masks([disk()], [70000]).to_labels()
    assert labels.dtype == np.uint32
    assert labels.max() == 70000


@pytest.mark.parametrize("bad_id", [0, -1, 2**32])
def test_ids_that_no_label_image_can_hold(bad_id):
    with pytest.raises(ValueError, match="object ids in a label image"):
        frame_masks([disk()], [bad_id]).to_labels()


def test_no_objects_is_an_empty_label_image():
    empty = m.FrameMasks.from_labels(4, np.zeros((5, 6), np.uint8))
    assert empty.masks.shape == (0, 5, 6)
    assert empty.to_labels().shape == (5, 6)


def test_labels_round_trip():
    labels = np.array([[0, 5, 5], [9, 0, 70000]], np.uint32)
    np.testing.assert_array_equal(m.FrameMasks.from_labels(0, labels).to_labels(), labels)


def test_frame_masks_reject_wrong_shapes():
    with pytest.raises(ValueError, match=r"predicted_iou must have shape \(1,\)"):
        m.FrameMasks(0, np.array([1]), disk()[None], np.ones(2, np.float32), np.ones(1, np.float32))
    with pytest.raises(ValueError, match=r"masks must have shape \(B, H, W\)"):
        m.FrameMasks(0, np.array([1]), disk(), np.ones(1, np.float32), np.ones(1, np.float32))


@pytest.mark.parametrize("shape", [(40, 60), (3, 6), (8, 90), (17, 9)])
@pytest.mark.parametrize("density", [0.0, 0.3, 0.5, 0.7, 0.95, 1.0])
@pytest.mark.parametrize("max_area", [1, 8, 30])
def test_fill_holes_follows_its_definition(shape, density, max_area):
    rng = np.random.default_rng(hash((shape, density, max_area)) % 2**32)
    masks = rng.random((2, 3, *shape)) < density
    logits = torch.from_numpy(np.where(masks, 2.0, -3.0).astype(np.float32))
    filled = m.fill_holes(logits, max_area)
    for index in np.ndindex(2, 3):
        expected = filled_by_definition(masks[index], max_area)
        np.testing.assert_array_equal(filled[index].numpy() > 0, expected)
        np.testing.assert_array_equal(m.fill_mask_holes(masks, max_area)[index], expected)
    changed = filled != logits
    assert torch.all(filled[changed] == torch.tensor(0.1))


def test_fill_holes_in_sparse_objects_away_from_the_border():
    rng = np.random.default_rng(0)
    masks = np.zeros((20, 48, 64), bool)
    masks[:, 12:30, 20:50] = rng.random((20, 18, 30)) < 0.8
    for mask, filled in zip(masks, m.fill_mask_holes(masks, 8), strict=True):
        np.testing.assert_array_equal(filled, filled_by_definition(mask, 8))


def test_fill_holes_without_holes_gives_the_same_tensor():
    logits = torch.from_numpy(np.where(disk(), 5.0, -5.0))
    assert m.fill_holes(logits, 8) is logits
    assert m.fill_holes(logits, 0) is logits
    assert m.fill_holes(torch.full((1, 8, 32, 32), -1.0), 8).max() == -1


def test_fill_holes_keeps_dtype_and_separates_masks():
    with_hole = np.where(disk(), 5.0, -5.0)
    with_hole[32, 30:34] = -1
    logits = torch.from_numpy(np.stack([with_hole, -np.abs(with_hole)])).bfloat16()
    filled = m.fill_holes(logits, 8)
    assert filled.dtype == torch.bfloat16
    assert torch.equal(filled[1], logits[1])
    assert torch.all(filled[0, 32, 30:34] > 0)
    assert torch.equal(m.fill_holes(logits, 3), logits)


def test_remove_small_and_largest_component():
    mask = disk(radius=6)
    mask[2:4, 2:4] = True
    mask[0, 0] = True
    mask[1, 1] = True  # touches both by corners: one region of 6 pixels
    np.testing.assert_array_equal(m.remove_small_components(mask, 6), mask)
    np.testing.assert_array_equal(m.remove_small_components(mask, 7), disk(radius=6))
    np.testing.assert_array_equal(m.largest_component(mask[None])[0], disk(radius=6))
    assert not m.remove_small_components(mask, 10_000).any()
    assert not m.largest_component(np.zeros((4, 4), bool)).any()


def test_resize_logits_is_the_plain_bilinear():
    logits = torch.randn(2, 3, 16, 12)
    expected = torch.nn.functional.interpolate(
        logits, size=(50, 70), mode="bilinear", align_corners=False
    )
    assert torch.equal(m.resize_logits(logits, (50, 70)), expected)
    assert m.resize_logits(logits[0, 0].bfloat16(), (5, 7)).dtype == torch.float32
    assert m.resize_logits(logits[:0], (5, 7)).shape == (0, 3, 5, 7)


def test_non_overlapping_leaves_one_winner():
    logits = torch.tensor([[[3.0, -1.0, -20.0]], [[1.0, 2.0, -15.0]]])
    assert torch.equal(
        m.non_overlapping(logits), torch.tensor([[[3.0, -10.0, -20.0]], [[-10.0, 2.0, -15.0]]])
    )


def test_stability_score():
    logits = torch.tensor([[[2.0, 0.5, -0.5, -2.0]], [[-9.0, -9.0, -9.0, -9.0]]])
    torch.testing.assert_close(m.stability_score(logits), torch.tensor([1 / 3, 1.0]))
    torch.testing.assert_close(m.stability_score(logits[0], offset=0.1), torch.tensor(1.0))


def test_box_is_half_open_and_inverts():
    mask = np.zeros((2, 20, 30), bool)
    mask[0, 4:9, 3:17] = True
    boxes = m.mask_to_box(mask)
    np.testing.assert_array_equal(boxes, [[3, 4, 17, 9], [0, 0, 0, 0]])
    np.testing.assert_array_equal(m.box_to_mask(boxes[0], (20, 30)), mask[0])
    np.testing.assert_array_equal(m.box_to_mask([2.6, 4, 16.6, 9.4], (20, 30)), mask[0])
    assert m.box_to_mask([-5, -5, 99, 99], (20, 30)).all()
    np.testing.assert_array_equal(m.mask_to_box(np.ones((5, 7), bool)), [0, 0, 7, 5])


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 1), (0, 4, 4), (9,)])
def test_packed_mask_round_trip(shape):
    mask = np.random.default_rng(1).random(shape) < 0.5
    packed = m.pack_mask(mask)
    assert packed.bits.nbytes == (mask.size + 7) // 8
    np.testing.assert_array_equal(m.unpack_mask(packed), mask)


def test_rle_round_trip_and_list_counts():
    mask = disk()[:, 10:50]
    rle = m.encode_rle(mask)
    assert rle["size"] == [64, 40]
    assert isinstance(rle["counts"], str)
    np.testing.assert_array_equal(m.decode_rle(rle), mask)
    np.testing.assert_array_equal(
        m.decode_rle({"size": [2, 3], "counts": [1, 2, 3]}), [[0, 1, 0], [1, 0, 0]]
    )


@pytest.mark.parametrize("density", [0, 0.02, 0.5, 1])
@pytest.mark.parametrize("shape", [(1, 1), (37, 61), (480, 700)])
def test_rle_is_what_coco_writes(shape, density):
    coco = pytest.importorskip("pycocotools.mask")
    mask = np.random.default_rng(3).random(shape) < density
    mask[: shape[0] // 3, shape[1] // 2 :] = True
    theirs = coco.encode(np.asfortranarray(mask, np.uint8))
    assert m.encode_rle(mask)["counts"] == theirs["counts"].decode()
    np.testing.assert_array_equal(m.decode_rle(theirs), mask)


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [2, 3]},
        {"size": 4, "counts": "x"},
        None,
        {"size": [2, 3], "counts": "~~~"},
        {"size": [2, 3], "counts": "5"},
        {"size": [2, 3], "counts": [9, -3]},
        {"size": [2, 3], "counts": "o" * 40},
        {"size": [2, 3], "counts": "é"},
    ],
)
def test_malformed_rle(rle):
    with pytest.raises(ValueError, match="COCO run lengths"):
        m.decode_rle(rle)


def test_contours_are_closed_and_xy():
    mask = np.zeros((10, 12), bool)
    mask[5, 3] = True
    (outline,) = m.contours(mask)
    np.testing.assert_array_equal(outline[0], outline[-1])
    np.testing.assert_allclose(outline.min(axis=0), [2.5, 4.5])
    np.testing.assert_allclose(outline.max(axis=0), [3.5, 5.5])
    ring = disk(size=32, centre=(0, 16), radius=10) & ~disk(size=32, centre=(0, 16), radius=3)
    assert all(np.array_equal(line[0], line[-1]) for line in m.contours(ring))
    assert m.contours(np.zeros((4, 4), bool)) == []


def test_region_properties():
    two_parts = np.zeros((20, 30), bool)
    two_parts[2:4, 5:9] = True
    two_parts[10:12, 5:9] = True
    dot = np.zeros_like(two_parts)
    dot[7, 11] = True
    image = np.arange(600.0).reshape(20, 30)
    table = m.region_properties(np.stack([two_parts, dot, np.zeros_like(dot)]), intensity=image)
    np.testing.assert_array_equal(table["area"], [16, 1, 0])
    np.testing.assert_array_equal(table["num_components"], [2, 1, 0])
    np.testing.assert_allclose(table["centroid_x"], [6.5, 11, np.nan])
    np.testing.assert_allclose(table["centroid_y"], [6.5, 7, np.nan])
    np.testing.assert_array_equal(table["y1"][:2], [12, 8])
    assert table["mean_intensity"][1] == image[7, 11]
    assert all(column.dtype == np.float64 for column in table.values())
    assert m.region_properties(np.zeros((0, 4, 4), bool))["area"].shape == (0,)
