import numpy as np
import pytest
from test_training_retouch import blob, iou

from sam2_plugins.core.training import attempt_variations
from sam2_plugins.core.training.attempt_variations import (
    clicked_often,
    seen_from_further,
    sliced_anew,
)
from sam2_plugins.core.training.attempts import Attempt
from sam2_plugins.core.training.labelled import LabelledVolume


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def pixel(point):
    return int(point[1]), int(point[0])


def test_clicks_are_where_the_mask_was_wrong_and_it_has_moved_towards_the_truth(rng, monkeypatch):
    monkeypatch.setattr(attempt_variations, "_SHAKEN_TRUTH", 0)
    monkeypatch.setattr(attempt_variations, "_HEEDED", 1)
    gains, counts = [], set()
    for _ in range(20):
        one = blob(rng)
        often = clicked_often(one, rng)
        counts.add(len(often.on_object) + len(often.on_background))
        gains.append(iou(often.mask, often.truth) - iou(one.mask, one.truth))
        assert often.on_object[0] == one.on_object[0]
        for point in often.on_object:
            assert often.truth[pixel(point)]
        for point in often.on_background:
            assert not often.truth[pixel(point)]
        for point in (*often.on_object[1:], *often.on_background):
            assert one.mask[pixel(point)] != one.truth[pixel(point)]
            assert often.mask[pixel(point)] == often.truth[pixel(point)]
    assert min(gains) >= 0
    assert np.mean(gains) > 0.05
    assert min(counts) <= 2
    assert max(counts) >= 5


def test_clicks_may_begin_with_nearly_the_right_mask_and_may_not_be_heeded(rng, monkeypatch):
    monkeypatch.setattr(attempt_variations, "_SHAKEN_TRUTH", 1)
    monkeypatch.setattr(attempt_variations, "_HEEDED", 0)
    one = blob(rng)
    nothing = Attempt(one.picture, np.zeros_like(one.mask), one.truth)
    often = clicked_often(nothing, rng)
    assert iou(often.mask, one.truth) > 0.4
    assert any(often.mask[pixel(point)] for point in often.on_background) or any(
        not often.mask[pixel(point)] for point in often.on_object[1:]
    )
    gone = Attempt(one.picture, one.mask, np.zeros_like(one.truth), one.on_object)
    assert clicked_often(gone, rng) is gone


def test_what_is_seen_from_further_is_the_same_and_smaller(rng):
    one = blob(rng, side=48)
    both = Attempt(one.picture, one.mask, one.truth, one.on_object, box=(10.0, 12.0, 40.0, 36.0))
    both = Attempt(
        *[getattr(both, n) for n in ("picture", "mask", "truth", "on_object")],
        box=both.box,
        earlier=one.picture,
    )
    sizes = set()
    for _ in range(20):
        further = seen_from_further(both, rng)
        height, width = further.mask.shape
        sizes.add(width)
        assert further.picture.shape == further.earlier.shape == (height, width, 3)
        assert further.truth.sum() / further.truth.size == pytest.approx(
            one.truth.sum() / one.truth.size, rel=0.2
        )
        (x, y), (a, b) = further.on_object[0], one.on_object[0]
        assert (x / width, y / height) == pytest.approx((a / 48, b / 48))
        assert np.array(further.box) == pytest.approx(np.array(both.box) * width / 48)
    assert min(sizes) < 24
    assert max(sizes) <= 48


def test_slices_are_thicker_and_further_apart_and_labels_stay_with_them(rng, monkeypatch):
    monkeypatch.setattr(attempt_variations, "_APART", (2,))
    monkeypatch.setattr(attempt_variations, "_NOISE", 0)
    labels = np.zeros((12, 14, 16), np.uint16)
    labels[4:9, 3:9, 5:11] = 7
    volume = LabelledVolume("one", (200 * (labels > 0)).astype(np.uint8), labels)
    others = sliced_anew(volume, rng)
    assert [each.volume.shape for each in others] == [(6, 14, 16), (7, 12, 16), (8, 12, 14)]
    for axis, each in enumerate(others):
        assert (each.labels == np.moveaxis(labels, axis, 0)[::2]).all()
        inside = each.volume[each.labels > 0].mean()
        assert 120 < inside <= 200
        assert len(np.unique(each.volume)) > 2
