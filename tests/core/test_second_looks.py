import numpy as np
import pytest
import torch

from sam2_plugins.core import ImagePredictor, load_model
from sam2_plugins.core.masks import resize_logits
from sam2_plugins.core.second_looks import Opinion, agreed, second_look
from sam2_plugins.core.windows import Window

WINDOW = Window(100, 200, 164, 264)


def drawn(*boxes, side=64, inside=4.0, outside=-4.0):
    """Logits (1, 1, side, side) with boxes (x0, y0, x1, y1) of cells in them."""
    logits = torch.full((1, 1, side, side), outside)
    for x0, y0, x1, y1 in boxes:
        logits[..., y0:y1, x0:x1] = inside
    return logits


def opinion(logits, iou=0.5):
    return Opinion(logits, torch.tensor([iou]))


def look_again(first, points, *, masks=None, boxes=None, again=None):
    again = again or opinion(drawn())

    def with_mask(mask):
        if masks is not None:
            masks.append(mask)
        return again

    def with_box(box):
        if boxes is not None:
            boxes.append(box)
        return again

    return second_look(first, points, window=WINDOW, with_mask=with_mask, with_box=with_box)


def test_the_answer_is_handed_back_as_mask_and_as_the_box_of_what_was_clicked():
    masks, boxes = [], []
    first = opinion(drawn((10, 20, 30, 25), (50, 50, 60, 60)))
    look_again(first, [(112, 222)], masks=masks, boxes=boxes)
    torch.testing.assert_close(masks[0], first.logits)
    # In pixels of the image; the piece that nobody clicked on is not in it.
    assert boxes == [(110, 220, 130, 225)]


def test_pieces_that_are_all_clicked_are_all_in_the_box():
    boxes = []
    first = opinion(drawn((10, 20, 30, 25), (50, 50, 60, 60)))
    look_again(first, [(112, 222), (155, 255)], boxes=boxes)
    assert boxes == [(110, 220, 160, 260)]


@pytest.mark.parametrize("beside", [(140, 240), (10, 10)])
def test_a_click_beside_the_mask_leaves_all_of_it_and_is_in_the_box(beside):
    boxes = []
    look_again(opinion(drawn((10, 20, 30, 25))), [beside], boxes=boxes)
    x0, y0, x1, y1 = boxes[0]
    assert (x0, y0) == (min(110, beside[0]), min(220, beside[1]))
    assert (x1, y1) == (max(130, beside[0]), max(225, beside[1]))


def test_the_mean_decides_and_no_opinion_overrules_the_two_others():
    sure = opinion(drawn((0, 0, 20, 20), inside=30.0, outside=-30.0), iou=0.9)
    again = opinion(drawn((0, 0, 10, 20), inside=5.0, outside=-5.0), iou=0.6)
    mean = look_again(sure, [(101, 201)], again=again)
    assert torch.equal(mean.logits > 0, again.logits > 0)
    assert mean.predicted_iou.item() == pytest.approx(0.7)


def test_an_empty_answer_stays_as_it_is():
    empty = opinion(drawn())
    assert look_again(empty, [(112, 222)], again=opinion(drawn((0, 0, 9, 9)))) is empty


def test_what_other_windows_show_counts_where_they_look_and_agree():
    window, inner = Window(0, 0, 64, 64), Window(16, 16, 48, 48)
    logits = drawn((20, 20, 40, 40), inside=0.5, outside=-0.5)[0, 0]
    # Through the smaller window each pixel has two cells: an edge between them is seen there.
    near = resize_logits(drawn((8, 8, 48, 44), inside=8.0, outside=-8.0)[0], inner.size)
    mask = agreed(logits, window, others=[(near, inner)]) > 0
    expected = np.zeros((64, 64), bool)
    expected[20:38, 20:40] = True
    np.testing.assert_array_equal(mask.numpy(), expected)


def test_another_object_through_another_window_counts_nothing():
    window, other = Window(0, 0, 64, 64), Window(0, 0, 128, 128)
    logits = drawn((20, 20, 40, 40))[0, 0]
    neighbour = drawn((25, 25, 45, 45), inside=8.0, outside=-8.0)[0]
    others = [(resize_logits(neighbour, other.size), other)]
    torch.testing.assert_close(agreed(logits, window, others=others), logits)


def test_of_several_candidates_the_one_that_is_like_it_is_taken():
    window = Window(0, 0, 64, 64)
    logits = drawn((20, 20, 40, 40))[0, 0]
    like, unlike = drawn((20, 20, 40, 39)), drawn((0, 0, 64, 64))
    mean = agreed(logits, window, others=[(torch.cat([unlike, like])[:, 0], window)])
    expected = (logits + 0.2 * like[0, 0]) / 1.2
    torch.testing.assert_close(mean, expected)


def test_a_click_on_an_image_is_asked_about_again_and_a_box_is_not():
    predictor = ImagePredictor(load_model("nano", device="cpu"))
    rows, columns = np.mgrid[:96, :96]
    disc = (columns - 40) ** 2 + (rows - 50) ** 2 < 15**2
    predictor.set_image(np.repeat((40 + 160 * disc).astype(np.uint8)[..., None], 3, -1))
    calls = []
    decode = predictor._views.decode

    def counted(points, labels, **options):
        if options["mirrored"]:
            calls.append((labels.tolist(), options["mask_logits"] is not None))
        return decode(points, labels, **options)

    predictor._views.decode = counted
    prediction = predictor.predict(points=[[40, 50]], point_labels=[1])
    assert calls == [([[1]], False), ([[1]], True), ([[2, 3, 1]], False)]
    assert (prediction.best & disc).sum() / (prediction.best | disc).sum() > 0.9
    calls.clear()
    predictor.predict(box=[25, 35, 56, 66], multimask=False)
    assert calls == [([[2, 3]], False)]
