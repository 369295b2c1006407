"""The bundled model on a small stack: what a person sees first."""

import numpy as np
import pytest
from scipy import ndimage

from sam2_plugins.core import closeup_segmenting, weights
from sam2_plugins.core.config import NANO
from sam2_plugins.core.samples import nuclei_stack as demo_stack
from sam2_plugins.core.tracker import VideoTracker
from synthetic import nuclei_stack

BUNDLED = weights._ASSETS / f"{NANO.name}.safetensors"
pytestmark = pytest.mark.skipif(not BUNDLED.exists(), reason="the model is not bundled yet")

CLIP = nuclei_stack((7, 96, 96))
MIDDLE = 3


@pytest.fixture(scope="module")
def model():
    return weights.load_model(device="cpu")


def iou(first, second):
    union = (first | second).sum()
    return (first & second).sum() / union if union else 1.0


@pytest.fixture(scope="module")
def tracked(model):
    """Every nucleus of the middle slice, from its box."""
    tracker = VideoTracker(model, CLIP.frames)
    ids, areas = np.unique(CLIP.labels[MIDDLE], return_counts=True)
    for object_id in ids[(ids > 0) & (areas > 60)]:
        tracker.set_box(MIDDLE, int(object_id), CLIP.box(MIDDLE, object_id))
    list(tracker.propagate())
    return tracker


def overlaps(tracker, frame):
    result = tracker.masks(frame)
    return [
        iou(mask, CLIP.mask(frame, object_id))
        for object_id, mask in zip(result.object_ids, result.masks, strict=True)
    ]


def test_nuclei_are_found_from_boxes_and_followed_to_the_next_slices(tracked):
    assert len(tracked.object_ids) >= 3
    assert np.mean(overlaps(tracked, MIDDLE)) > 0.7
    assert np.mean(overlaps(tracked, MIDDLE - 1) + overlaps(tracked, MIDDLE + 1)) > 0.6


def test_every_slice_has_every_nucleus_with_scores(tracked):
    for frame in range(len(CLIP.frames)):
        result = tracked.masks(frame)
        assert result.object_ids.tolist() == tracked.object_ids
        assert ((result.predicted_iou >= 0) & (result.predicted_iou <= 1)).all()
        assert np.isfinite(result.object_score_logits).all()


def test_a_given_mask_of_another_nucleus_leads_to_that_nucleus(model):
    tracker = VideoTracker(model, CLIP.frames)
    first, second = sorted(np.unique(CLIP.labels[MIDDLE]))[1:3]
    tracker.set_box(MIDDLE, 1, CLIP.box(MIDDLE, first))
    list(tracker.propagate())
    tracker.set_mask(MIDDLE, 1, CLIP.mask(MIDDLE, second))
    list(tracker.propagate())
    neighbour = tracker.masks(MIDDLE + 1).masks[0]
    assert iou(neighbour, CLIP.mask(MIDDLE + 1, second)) > 0.5
    assert iou(neighbour, CLIP.mask(MIDDLE + 1, first)) < 0.2


def test_a_click_does_not_select_pieces_that_it_is_not_on(model):
    sample, middle = demo_stack(), 10
    object_id, x, y = 16, 65, 33
    tracker = VideoTracker(model, sample.images)
    mask = tracker.add_points(middle, object_id, [(x, y)], [1]).masks[0]
    assert ndimage.label(mask)[1] == 1
    assert mask[y, x]
    assert iou(mask, sample.labels[middle] == object_id) > 0.85


def test_pieces_that_are_clicked_too_are_kept(model):
    frames = np.full((1, 96, 96), 20, np.uint8)
    frames[0, 30:46, 20:36] = frames[0, 30:46, 60:76] = 200
    tracker = VideoTracker(model, frames)
    tracker.add_points(0, 1, [(28, 38)], [1])
    mask = tracker.add_points(0, 1, [(68, 38)], [1]).masks[0]
    assert mask[38, 28]
    assert mask[38, 68]


@pytest.fixture(scope="module")
def lost_once(model, tmp_path_factory):
    """Object 10 of slice 10 is lost after it: four slices are empty, and then it is there again."""
    sample = demo_stack()
    images = sample.images[[10, 10, 10, 10, 10, 10]].copy()
    images[1:5] = np.median(images)
    tracker = VideoTracker(model, images)
    tracker.set_mask(0, 10, sample.labels[10] == 10)
    list(tracker.propagate())
    assert not tracker.masks(5).masks.any()
    path = tmp_path_factory.mktemp("lost") / "session"
    tracker.save(path)
    return path, images, sample.labels[10]


@pytest.fixture
def lost(model, lost_once):
    """The same for each test, which it may change."""
    path, images, truth = lost_once
    return VideoTracker.load(path, model, images), truth


def test_a_click_finds_an_object_that_was_lost_as_on_a_first_frame(lost):
    tracker, truth = lost
    mask = tracker.add_points(5, 10, [(128, 133)], [1]).masks[0]
    assert iou(mask, truth == 10) > 0.85
    further = tracker.add_points(5, 10, [(129, 135)], [1]).masks[0]
    list(tracker.propagate())
    np.testing.assert_array_equal(tracker.masks(5).masks[0], further)
    assert iou(further, truth == 10) > 0.85
    tracker.undo()
    np.testing.assert_array_equal(tracker.masks(5).masks[0], mask)


def test_clicks_on_a_lost_object_may_come_together(lost):
    tracker, _ = lost
    tracker.add_points(5, 10, [(128, 133)], [1])
    one_by_one = tracker.add_points(5, 10, [(128, 150)], [0]).masks[0]
    assert tracker.undo()
    assert tracker.undo()

    together = tracker.add_points(5, 10, [(128, 133), (128, 150)], [1, 0]).masks[0]
    np.testing.assert_array_equal(together, one_by_one)


def test_clicks_on_the_background_find_nothing_that_was_lost(lost):
    tracker, _ = lost
    assert not tracker.add_points(5, 10, [(128, 133)], [0]).masks.any()


@pytest.mark.parametrize("preferred", [0, 1, 2])
def test_of_the_masks_that_answer_a_click_the_one_that_is_chosen_stays(
    model, monkeypatch, preferred
):
    seen = []

    def choose(candidates, clicks, *, plane, read):
        seen.append((candidates, clicks, plane))
        return preferred if len({c.window for c in candidates}) == 1 else 0

    monkeypatch.setattr(closeup_segmenting, "choose", choose)
    tracker = VideoTracker(model, CLIP.frames, retouch=False)
    x0, y0, x1, y1 = CLIP.box(MIDDLE, int(CLIP.labels[MIDDLE].max()))
    click = [(x0 + x1) // 2, (y0 + y1) // 2]
    result = tracker.add_points(MIDDLE, 1, [click], [1])
    candidates, clicks, plane = seen[0]
    assert plane == (96, 96)
    assert np.allclose(clicks, [click])
    assert len(candidates) == 3
    assert sum(candidate.is_best for candidate in candidates) == 1
    # Holes are filled since, and what was not clicked is left out.
    alike = [iou(result.masks[0][found.window.slices], found.mask) for found in candidates]
    assert alike[preferred] == max(alike) > 0.8


def test_where_tracking_remembers_an_object_its_masks_are_not_chosen_anew(
    tracked, model, monkeypatch
):
    tracker = VideoTracker(model, CLIP.frames)
    object_id = tracked.object_ids[0]
    tracker.set_box(MIDDLE, object_id, CLIP.box(MIDDLE, object_id))
    list(tracker.propagate())
    monkeypatch.setattr(closeup_segmenting, "choose", None)
    x0, y0, x1, y1 = CLIP.box(MIDDLE, object_id)
    assert tracker.add_points(MIDDLE + 1, object_id, [[(x0 + x1) // 2, (y0 + y1) // 2]], [1])
