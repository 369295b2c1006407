import numpy as np
import pytest
import torch

from sam2_plugins.core import ImagePredictor, VideoTracker, load_model
from sam2_plugins.core.checkpoints import blank_model
from sam2_plugins.core.config import MODELS
from sam2_plugins.core.heeded_clicks import heed_clicks

CELLS, SIDE = 32, 128
DARK, LIGHT = -1.0, 1.0


@pytest.fixture(scope="module")
def model():
    return load_model()


def picture(*boxes):
    """(3, S, S), dark, with light boxes (x0, y0, x1, y1) of cells."""
    image = torch.full((3, SIDE, SIDE), DARK)
    for box in boxes:
        x0, y0, x1, y1 = (4 * edge for edge in box)
        image[:, y0:y1, x0:x1] = LIGHT
    return image


def drawn(*boxes, inside=4.0):
    """(1, 1, h, w) logits of a mask of boxes."""
    logits = torch.full((1, 1, CELLS, CELLS), -inside)
    for x0, y0, x1, y1 in boxes:
        logits[..., y0:y1, x0:x1] = inside
    return logits


def mask_after(logits, image, clicks):
    """The mask (h, w) after clicks (column, row, label) on cells."""
    points = [(4 * column + 2, 4 * row + 2) for column, row, _ in clicks]
    heeded = heed_clicks(logits, image, points=points, labels=[label for *_, label in clicks])
    return (heeded[0, 0] > 0).numpy()


@pytest.mark.parametrize("label", [0, 1])
def test_a_click_is_right_about_its_place_however_sure_the_network_was(label):
    box = (4, 4, 28, 28)
    logits = drawn(box, inside=20.0) if label == 0 else drawn(inside=20.0)
    assert mask_after(logits, picture(), [(16, 16, label)])[16, 16] == label


def test_a_mask_that_leaks_gives_way_up_to_the_edge_of_the_object():
    left, right = (4, 8, 14, 24), (18, 8, 28, 24)
    mask = mask_after(
        drawn(left, right, (14, 12, 18, 20)),
        picture(left, right),
        [(9, 16, 1), (23, 16, 0)],
    )
    assert mask[8:24, 4:14].mean() > 0.95
    assert mask[14:18, 21:25].mean() < 0.05


def test_a_click_says_nothing_across_an_edge():
    left, right = (4, 8, 16, 24), (16, 8, 28, 24)
    image = picture(left)
    found = mask_after(drawn(inside=1.0), image, [(13, 16, 1)])
    on_object, beyond = found[8:24, 4:16].sum(), found[8:24, 16:28].sum()
    assert on_object > 4 * max(beyond, 1)
    assert beyond < found[8:24, 16:28].size / 10
    # Without the edge the same click reaches as far to both sides.
    even = mask_after(drawn(inside=1.0), picture(left, right), [(13, 16, 1)])
    assert even[8:24, 16:28].sum() > 2 * max(beyond, 1)


def test_what_a_click_agrees_with_hardly_changes():
    box = (8, 8, 24, 24)
    logits = drawn(box)
    mask = mask_after(logits, picture(box), [(16, 16, 1), (3, 3, 0)])
    assert np.array_equal(mask, (logits[0, 0] > 0).numpy())


def test_corners_of_boxes_and_clicks_beside_the_picture_say_nothing():
    logits = drawn((8, 8, 24, 24))
    points = [(32.0, 32.0), (96.0, 96.0), (-5.0, 10.0), (10.0, 500.0)]
    heeded = heed_clicks(logits, picture(), points=points, labels=[2, 3, 1, 0])
    torch.testing.assert_close(heeded, logits)


def two_things():
    """(96, 96) two touching discs of different grey, as a mask is drawn over both."""
    y, x = np.mgrid[:96, :96]
    image = np.full((96, 96), 30, np.uint8)
    first, second = (y - 48) ** 2 + (x - 34) ** 2 < 256, (y - 48) ** 2 + (x - 64) ** 2 < 256
    image[first], image[second] = 150, 210
    return image, first, second


def test_a_correction_on_a_tracked_slice_holds_where_it_was_clicked(model):
    image, first, second = two_things()
    tracker = VideoTracker(model, np.stack([image] * 3))
    tracker.set_mask(0, 1, first | second)
    list(tracker.propagate())
    assert tracker.masks(2).masks[0][48, 64], "both are followed, or nothing is corrected"
    mask = tracker.add_points(2, 1, [(64, 48)], [0]).masks[0]
    assert not mask[48, 64]
    assert mask[48, 30]


def test_only_networks_that_need_it_are_helped_and_not_by_published_rules(model):
    published = blank_model(MODELS["sam2.1-tiny"], image_size=128)
    frames = np.zeros((2, 64, 64), np.uint8)
    assert VideoTracker(model, frames)._segmenter.rules.heeds_prompts
    assert not VideoTracker(model, frames, exact=True)._segmenter.rules.heeds_prompts
    assert not VideoTracker(published, frames)._segmenter.rules.heeds_prompts


def test_images_heed_clicks_after_the_first(model):
    image, *_ = two_things()
    predictor = ImagePredictor(model)
    predictor.set_image(image)
    both = predictor.predict(points=[(34, 48), (64, 48)], point_labels=[1, 1], multimask=False)
    assert both.best[48, 34]
    assert both.best[48, 64]
    one = predictor.predict(
        points=[(34, 48), (64, 48), (64, 60)],
        point_labels=[1, 0, 0],
        mask_logits=both.low_res_logits[0],
        multimask=False,
    )
    assert one.best[48, 30]
    assert not one.best[48, 64]
    assert not one.best[60, 64]
