import numpy as np
import pytest
from scipy import ndimage

from sam2_plugins.core.evaluation import metrics
from sam2_plugins.core.evaluation.clicks import Click, centre_of, next_click


def blob(rng, shape=(60, 90)):
    return ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(1, 6)) > 0


def square(y, x, side=10, shape=(60, 90)):
    mask = np.zeros(shape, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def test_jaccard_and_dice_by_hand():
    a, b = square(10, 10), square(10, 15)
    assert metrics.jaccard(a, b) == 50 / 150
    assert metrics.dice(a, b) == 100 / 200
    empty = np.zeros_like(a)
    assert metrics.jaccard(a, empty) == metrics.dice(empty, a) == 0
    assert metrics.jaccard(empty, empty) == metrics.dice(empty, empty) == 1


def test_boundary_map_by_hand():
    mask = np.zeros((5, 6), bool)
    mask[2, 3] = True
    expected = np.zeros((5, 6), bool)
    expected[1:3, 2:4] = True
    np.testing.assert_array_equal(metrics.boundary_map(mask), expected)
    assert not metrics.boundary_map(np.ones((5, 6), bool)).any()
    left = np.zeros((4, 4), bool)
    left[:, :2] = True
    assert metrics.boundary_map(left).sum(axis=0).tolist() == [0, 4, 0, 0]


def test_boundary_f_by_hand():
    a = square(10, 10)
    assert metrics.boundary_f(a, a) == 1
    assert metrics.boundary_f(a, square(40, 70)) == 0
    assert metrics.boundary_f(a, square(10, 12), tolerance=2) == 1
    assert 0 < metrics.boundary_f(a, square(10, 12), tolerance=1) < 1
    empty = np.zeros_like(a)
    assert metrics.boundary_f(empty, empty) == 1
    assert metrics.boundary_f(a, empty) == metrics.boundary_f(empty, a) == 0


def test_tolerance_is_a_share_of_the_diagonal():
    assert metrics.boundary_tolerance((480, 854)) == 8
    assert metrics.boundary_tolerance((61, 57)) == 1


@pytest.mark.parametrize("shape", [(61, 57), (240, 320), (480, 720)])
def test_equal_to_the_published_benchmark(shape):
    published = pytest.importorskip("vos_benchmark.evaluator")
    rng = np.random.default_rng(5)
    evaluator = published.Evaluator()
    ours: dict[int, list[metrics.FrameScore]] = {1: [], 2: []}
    for t in range(6):
        truth = np.where(blob(rng, shape), 1, 2 * blob(rng, shape))
        mask = np.where(ndimage.shift(truth, (1, t), order=0) == 1, 1, 2 * blob(rng, shape))
        if t == 3:
            mask[:] = 0
        if t == 4:
            truth[truth == 2] = 0
            mask[mask == 2] = 0
        evaluator.feed_frame(mask, truth)
        for object_id, scores in ours.items():
            scores.append(metrics.score_frame(mask == object_id, truth == object_id))
    their_j, their_f = evaluator.conclude()
    for object_id, scores in ours.items():
        result = metrics.summarise(scores)
        assert result.j == pytest.approx(their_j[object_id] / 100, abs=1e-9)
        assert result.f == pytest.approx(their_f[object_id] / 100, abs=1e-9)
        assert result.j_and_f == pytest.approx((result.j + result.f) / 2)


def test_summary_separates_absence_from_agreement():
    a, empty = square(10, 10), np.zeros((60, 90), bool)
    scores = [metrics.score_frame(*pair) for pair in [(a, a), (empty, empty), (empty, a)]]
    result = metrics.summarise(scores)
    assert result.num_frames == 3
    assert result.j == result.f == result.j_and_f == 2 / 3
    assert result.visible_j_and_f == 0.5
    assert result.iou == 0.5
    assert result.dice == 2 / 3


def test_nothing_to_average_is_nan():
    nothing = metrics.summarise([])
    assert nothing.num_frames == 0
    assert np.isnan([nothing.j, nothing.f, nothing.j_and_f, nothing.iou, nothing.dice]).all()
    absent = metrics.summarise([metrics.score_frame(*[np.zeros((4, 4), bool)] * 2)])
    assert absent.j == absent.iou == 1
    assert np.isnan(absent.visible_j_and_f)
    assert metrics.nan_mean([1.0, float("nan"), 2.0]) == 1.5
    assert np.isnan(metrics.nan_mean([]))


def test_first_click_is_the_centre_of_the_object():
    assert next_click(square(10, 20, side=11)) == Click(25, 15, 1)
    corner = np.zeros((20, 20), bool)
    corner[:9, :9] = True  # the image border is an edge, so the centre is not the corner
    assert next_click(corner) == Click(4, 4, 1)


def test_later_clicks_go_to_the_deeper_error():
    truth = square(10, 10, side=20)
    missing = truth & ~square(10, 10, side=9)
    assert next_click(truth, missing) == Click(14, 14, 1)
    surplus = missing | square(40, 60, side=15)
    assert next_click(truth, surplus) == Click(67, 47, 0)
    assert next_click(truth, truth) is None


@pytest.mark.parametrize("seed", range(5))
def test_click_is_at_the_maximum_of_the_distance_transform(seed):
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(seed)
    truth, mask = blob(rng), blob(rng)
    click = next_click(truth, mask)
    missing, surplus = (
        cv2.distanceTransform(np.pad(m, 1).astype(np.uint8), cv2.DIST_L2, 0)[1:-1, 1:-1]
        for m in (truth & ~mask, mask & ~truth)
    )
    chosen = missing if missing.max() > surplus.max() else surplus
    assert click.point_label == (missing.max() > surplus.max())
    assert chosen[click.y, click.x] == pytest.approx(chosen.max(), abs=1e-3)


def test_centre_of_nothing():
    assert centre_of(np.zeros((4, 4), bool)) == ((0, 0), 0.0)
