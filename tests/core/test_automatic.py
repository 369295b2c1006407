import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import frames_of, make_tiny

from sam2_plugins.core.automatic import GeneratedMask, MaskGenerator, auto_masklets
from sam2_plugins.core.crops import crop_windows, suppress
from sam2_plugins.core.masks import mask_to_box
from sam2_plugins.core.model.mask_decoder import Decoding
from sam2_plugins.core.samples import nuclei_stack
from sam2_plugins.core.tracker import VideoTracker
from sam2_plugins.core.weights import load_model
from synthetic import two_discs_crossing

CLIP = two_discs_crossing(4)
IMAGE = CLIP.frames[0]
MODEL = make_tiny()
LOOSE = {"points_per_side": 4, "min_predicted_iou": 0.0, "min_stability": 0.0}


def generated(box, iou=0.9):
    x0, y0, x1, y1 = box
    mask = np.zeros((40, 56), bool)
    mask[y0:y1, x0:x1] = True
    return GeneratedMask(mask, int(mask.sum()), box, iou, 1.0, (x0, y0))


def test_what_is_found_fits_together():
    found = MaskGenerator(MODEL, **LOOSE).generate(IMAGE)
    assert found
    for each in found:
        assert each.mask.shape == (40, 56)
        assert each.area == each.mask.sum() > 0
        assert each.box == tuple(mask_to_box(each.mask[None])[0])
        assert 0 <= each.predicted_iou <= 1
        assert 0 <= each.stability <= 1
        x, y = each.point
        assert 0 < x < 56
        assert 0 < y < 40
    ious = [each.predicted_iou for each in found]
    assert ious == sorted(ious, reverse=True)


def test_candidates_take_little_memory_until_they_are_kept():
    """Each of thousands may be as large as the image, and few stay."""
    image = np.zeros((1000, 1200), np.uint8)
    options = {**LOOSE, "points_per_side": 8, "max_box_iou": 0.1}
    MaskGenerator(MODEL, **options).generate(image[:64, :64])
    tracemalloc.start()
    found = MaskGenerator(MODEL, **options).generate(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found
    assert all(each.mask.shape == image.shape for each in found)
    # All 8 x 8 x 3 candidates whole would take 192 times the image.
    assert peak < (40 + len(found)) * image.size


def test_the_grid_covers_the_image_evenly(monkeypatch):
    generator = MaskGenerator(MODEL, points_per_side=4, points_per_batch=5)
    seen = []
    decode = generator._predictor.decode

    def call(points, labels):
        seen.append(points[:, 0])
        assert (labels == 1).all()
        return decode(points, labels)

    monkeypatch.setattr(generator._predictor, "decode", call)
    generator.generate(IMAGE)
    assert [len(batch) for batch in seen] == [5, 5, 5, 1]
    points = np.concatenate(seen)
    assert sorted({x for x, _ in points.tolist()}) == [7, 21, 35, 49]
    assert sorted({y for _, y in points.tolist()}) == [5, 15, 25, 35]
    assert len({tuple(point) for point in points.tolist()}) == 16


def test_masks_below_the_thresholds_are_dropped():
    everything = MaskGenerator(MODEL, **LOOSE, max_box_iou=1.0).generate(IMAGE)
    middle = float(np.median([each.predicted_iou for each in everything]))
    options = {**LOOSE, "min_predicted_iou": middle, "max_box_iou": 1.0}
    good = MaskGenerator(MODEL, **options).generate(IMAGE)
    assert 0 < len(good) < len(everything)
    assert all(each.predicted_iou >= middle for each in good)
    options = {**LOOSE, "min_stability": 0.9, "max_box_iou": 1.0}
    assert all(each.stability >= 0.9 for each in MaskGenerator(MODEL, **options).generate(IMAGE))
    share = float(np.median([each.area for each in everything])) / IMAGE.size
    options = {**LOOSE, "max_area_share": share, "max_box_iou": 1.0}
    small = MaskGenerator(MODEL, **options).generate(IMAGE)
    assert 0 < len(small) < len(everything)
    assert all(each.area <= share * IMAGE.size for each in small)


def test_small_specks_and_masks_are_removed():
    for each in MaskGenerator(MODEL, **LOOSE, min_area=60).generate(IMAGE):
        assert each.area >= 60
        assert MaskGenerator(MODEL)._predictor is not None


def test_batches_do_not_show_in_the_result():
    results = [
        MaskGenerator(MODEL, **LOOSE, points_per_batch=size).generate(IMAGE) for size in (3, 16)
    ]
    assert len(results[0]) == len(results[1])
    for first, second in zip(*results, strict=True):
        assert first.point == second.point
        assert (first.mask != second.mask).mean() < 0.01


def decoding_a_square(first, last):
    """A decoder that finds the cells from `first` to `last`, both ways, wherever it is asked."""

    def decode(points, labels):
        logits = torch.full((len(points), 3, 16, 16), -10.0)
        logits[..., first:last, first:last] = 10
        iou = torch.full((len(points), 3), 0.9)
        return Decoding(logits, iou, torch.zeros(len(points), 3, 32), torch.ones(len(points), 1))

    return decode


def test_crops_are_looked_at_again_and_masks_are_of_the_whole_image(monkeypatch):
    generator = MaskGenerator(MODEL, points_per_side=2, crop_layers=1, crop_overlap=0.0)
    monkeypatch.setattr(generator._predictor, "decode", decoding_a_square(4, 12))
    found = {each.box: each.point for each in generator.generate(np.zeros((64, 64), np.uint8))}
    assert found == {
        (16, 16, 48, 48): (16, 16),
        (8, 8, 24, 24): (16, 16),
        (40, 8, 56, 24): (48, 16),
        (8, 40, 24, 56): (16, 48),
        (40, 40, 56, 56): (48, 48),
    }


def test_objects_cut_by_a_crop_are_left_to_others(monkeypatch):
    generator = MaskGenerator(MODEL, points_per_side=2, crop_layers=1, crop_overlap=0.0)
    monkeypatch.setattr(generator._predictor, "decode", decoding_a_square(0, 8))
    found = {each.box for each in generator.generate(np.zeros((64, 64), np.uint8))}
    # Only of the first crop are upper and left border the image's own.
    assert found == {(0, 0, 32, 32), (0, 0, 16, 16)}


@pytest.mark.parametrize("image", [IMAGE[:7, :5], np.stack([IMAGE] * 3, -1), IMAGE * 1.0])
def test_images_of_other_kinds(image):
    for each in MaskGenerator(MODEL, **LOOSE).generate(image):
        assert each.mask.shape == image.shape[:2]


def test_mistakes():
    with pytest.raises(ValueError, match="points_per_side must be 1 or more, not 0"):
        MaskGenerator(MODEL, points_per_side=0)
    with pytest.raises(TypeError, match="unknown"):
        MaskGenerator(MODEL, unknown=1)
    with pytest.raises(ValueError, match="an image is"):
        MaskGenerator(MODEL).generate(np.zeros(3))


# Crops and suppression


@settings(deadline=None)
@given(st.integers(8, 300), st.integers(8, 300), st.integers(0, 3), st.floats(0, 0.5))
def test_crops_cover_the_image_and_stay_in_it(height, width, layer, overlap):
    windows = crop_windows((height, width), layer, overlap)
    assert len(windows) == 4**layer
    covered = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in windows:
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        covered[y0:y1, x0:x1] = True
    assert covered.all()
    assert len({(x1 - x0, y1 - y0) for x0, y0, x1, y1 in windows}) == 1


def test_neighbouring_crops_overlap():
    first, second, *_ = crop_windows((100, 200), 1, 1 / 3)
    assert first[2] - second[0] >= 30


def test_the_better_of_two_masks_stays():
    same, other = generated((10, 10, 30, 30)), generated((40, 5, 50, 20))
    worse = generated((11, 10, 30, 30))
    assert suppress([same, worse, other], 0.7) == [same, other]
    assert suppress([same, worse, other], 0.99) == [same, worse, other]
    assert suppress([], 0.7) == []


# Masklets


def fake_generator(by_frame):
    """Finds given boxes on frames, told apart by their pixels."""

    def generate_rgb(image):
        for frame, boxes in by_frame.items():
            if np.array_equal(image, tracker_image(frame)):
                return [generated(box) for box in boxes]
        raise AssertionError("another frame")

    def tracker_image(frame):
        return VideoTracker(MODEL, CLIP.frames).read_rgb(frame)

    return SimpleNamespace(generate_rgb=generate_rgb)


def test_everything_is_followed_from_its_key_frame():
    tracker = VideoTracker(MODEL, CLIP.frames)
    tracker.set_mask(0, 4, generated((0, 0, 6, 6)).mask)
    generator = fake_generator(
        {0: [(1, 1, 5, 5), (20, 20, 30, 30), (8, 20, 32, 32)], 3: [(50, 1, 55, 6)]}
    )
    # What tracking finds on frame 3 must not hide the last box.
    tracker_masks = tracker.masks

    def masks(frame_index):
        result = tracker_masks(frame_index)
        if frame_index == 3:
            result.masks[:, :, 48:] = False
        return result

    tracker.masks = masks
    frames = frames_of(auto_masklets(tracker, generator, key_frames=[0, 3]))
    # The first is known; the small one inside the large one is an object of its own.
    assert tracker.object_ids == [4, 5, 6, 7]
    assert tracker.prompts[5].keys() == {0}
    assert tracker.prompts[5][0].mask.mask.sum() == 100
    assert tracker.prompts[7].keys() == {3}
    assert tracker.known_frames(7) == [0, 1, 2, 3]
    assert frames[:4] == [0, 1, 2, 3]


def test_a_frame_with_nothing_new():
    tracker = VideoTracker(MODEL, CLIP.frames)
    assert list(auto_masklets(tracker, fake_generator({1: []}), key_frames=[1])) == []


def test_masklets_of_what_is_really_found():
    tracker = VideoTracker(MODEL, CLIP.frames)
    generator = MaskGenerator(MODEL, **{**LOOSE, "points_per_side": 2}, max_box_iou=0.5)
    count = len(generator.generate_rgb(tracker.read_rgb(0)))
    list(auto_masklets(tracker, generator, key_frames=[0], max_known_share=1.0))
    assert tracker.object_ids == list(range(1, count + 1))
    assert all(tracker.known_frames(i) == [0, 1, 2, 3] for i in tracker.object_ids)


def test_nano_finds_small_things_in_a_small_plane():
    sample = nuclei_stack((12, 96, 96), num_nuclei=8)
    plane, labels = sample.images[4], sample.labels[4]
    found = MaskGenerator(load_model("nano"), points_per_side=16).generate(plane)
    true = [labels == i for i in np.unique(labels) if i]
    assert len(true) == 3
    best = [max(iou(each.mask, mask) for each in found) for mask in true]
    assert min(best) > 0.5
    assert len(found) <= 4


def iou(one, other):
    return (one & other).sum() / (one | other).sum()
