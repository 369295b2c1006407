"""SEG and DET, by the published package, on results whose scores are known by hand."""

import sys

import numpy as np
import pytest

from sam2_plugins.core.evaluation import VosSequence, evaluate_vos
from sam2_plugins.core.masks import FrameMasks

SIZE = (40, 60)


def labels(num_frames=4):
    stack = np.zeros((num_frames, *SIZE), np.uint8)
    stack[:, 5:15, 5:15] = 1
    stack[:, 20:30, 30:50] = 7
    return stack


def tracker_of(stack):
    class Fixed:
        def __init__(self, frames):
            pass

        def set_mask(self, frame_index, object_id, mask):
            pass

        def propagate(self, *, direction):
            return (FrameMasks.from_labels(t, image) for t, image in enumerate(stack))

    return Fixed


def cells(found, *, is_volume=False, truth=None, **options):
    truth = labels() if truth is None else truth
    frames = np.zeros(truth.shape, np.uint8)
    sequence = VosSequence.from_arrays("cells", frames, truth, is_volume=is_volume)
    result = evaluate_vos(
        tracker_of(found), [sequence], baselines=(), cell_tracking=True, **options
    )
    (row,) = (row for row in result.rows if row.object_id == 0)
    # what is measured of the whole is no object
    assert result.interval("sam2").count < len(result.rows)
    return row.metrics


@pytest.fixture(autouse=True)
def _published():
    pytest.importorskip("ctc_metrics", reason="pip install py-ctcmetrics")


@pytest.mark.parametrize("is_volume", [False, True])
def test_the_truth_scores_one(is_volume):
    assert cells(labels(), is_volume=is_volume) == {"seg": 1, "det": 1}


@pytest.mark.parametrize("is_volume", [False, True])
def test_half_an_object_and_a_lost_one(is_volume):
    found = labels()
    found[:, 20:30, 42:] = 0  # 12 of 20 columns are left: more than half, so still a match
    assert cells(found, is_volume=is_volume)["seg"] == pytest.approx((1 + 12 / 20) / 2)
    found[found == 7] = 0
    scores = cells(found, is_volume=is_volume)
    # of the costs of DET only those of the missing object are left: half
    assert scores == {"seg": pytest.approx(0.5), "det": pytest.approx(0.5)}


def test_objects_that_return_and_nothing_at_all():
    truth = labels()
    truth[1:3][truth[1:3] == 7] = 0
    assert cells(truth, truth=truth) == {"seg": 1, "det": 1}
    assert cells(np.zeros_like(truth), truth=truth) == {"seg": 0, "det": 0}


def test_only_objects_that_were_tracked_are_missed():
    found = np.where(labels() == 1, 1, 0)
    assert cells(found, max_objects=1) == {"seg": 1, "det": 1}


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ctc_metrics.scripts.evaluate", None)
    with pytest.raises(ModuleNotFoundError, match="SEG and DET need py-ctcmetrics: pip install"):
        cells(labels())
