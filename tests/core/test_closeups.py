import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import make_tiny

from sam2_plugins.core import ImagePredictor, load_model
from sam2_plugins.core.closeups import (
    again,
    extent_of,
    ladder,
    most_like,
    move_logits,
    whole,
    window_for,
)
from sam2_plugins.core.image_views import KnownWindows
from sam2_plugins.core.windows import Window

PLANE = (600, 800)


@pytest.fixture(scope="module")
def nano():
    return load_model("nano", device="cpu")


def discs(size=640, radius=9, seed=0):
    """A blurred picture of bright discs, too small for a small network to see as a whole."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    image = rng.normal(40, 5, (size, size))
    centres = [(80, 100), (300, 420), (520, 90), (333, 445), (560, 600)]
    masks = []
    for x, y in centres:
        mask = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
        image[mask] += 120
        masks.append(mask)
    blurred = ndimage.gaussian_filter(image, 1.5)
    # RGB, which is taken as it is: percentiles would make noise of what is so seldom.
    rgb = np.repeat(blurred[..., None], 3, axis=-1).clip(0, 255).astype(np.uint8)
    return rgb, centres, masks


def iou(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


def test_ladder_holds_the_clicks_and_ends_with_the_whole_image():
    windows = ladder((300, 200, 340, 230), PLANE)
    assert windows[-1] == whole(PLANE)
    assert all(w.holds((300, 200, 340, 230)) for w in windows)
    sides = [w.side for w in windows]
    assert sides == sorted(sides)
    assert len(windows) > 3


def test_a_click_at_the_border_is_looked_at_within_the_image():
    for window in ladder((0, 599, 0, 599), PLANE):
        assert window.holds((0, 599, 0, 599))
        assert whole(PLANE).holds(window)


def test_a_large_object_is_looked_at_in_the_whole_image():
    assert window_for((100, 50, 700, 500), PLANE) == whole(PLANE)
    assert window_for((100, 50, 140, 90), PLANE).side == 100


def test_a_window_is_kept_while_the_object_fits_it():
    window = window_for((100, 50, 140, 90), PLANE)
    assert again(window, (98, 48, 143, 91), PLANE) == window
    assert again(window, (60, 30, 200, 150), PLANE).side > window.side


def test_the_extent_of_a_mask_is_where_it_was_seen():
    logits = torch.full((1, 1, 64, 64), -5.0)
    logits[..., 16:32, 8:48] = 5
    extent = extent_of(logits, Window(100, 200, 228, 328), [])
    assert extent == (116, 232, 196, 264)
    assert extent_of(torch.full((1, 1, 8, 8), -1.0), whole(PLANE), []) is None


def test_logits_lie_on_the_same_pixels_through_another_window():
    logits = torch.full((1, 1, 64, 64), -10.0)
    logits[..., 16:32, 8:48] = 10
    before, window = Window(100, 200, 228, 328), Window(64, 180, 320, 436)
    moved = move_logits(logits, before, window)
    assert extent_of(moved, window, []) == pytest.approx((116, 232, 196, 264), abs=4)
    assert float(moved[0, 0, -1, -1]) == pytest.approx(-32)


def test_what_reaches_the_border_of_the_picture_does_so_through_another_window():
    before, window = Window(0, 0, 128, 128), Window(0, 0, 256, 256)
    moved = move_logits(torch.full((1, 1, 64, 64), 4.0), before, window)
    assert (moved[..., :32, :32] == 4).all()
    # Beyond what was seen nothing is known.
    assert (moved[..., 32:, :] < 0).all()
    assert (moved[..., :, 32:] < 0).all()
    # And back.
    assert (move_logits(moved, window, before)[..., :62, :62] > 0).all()


@pytest.mark.parametrize("prompt", ["click", "box"])
def test_small_objects_are_found_by_looking_closer(nano, prompt):
    image, centres, masks = discs(size=1600)
    found = {}
    for closeups in (False, True):
        predictor = ImagePredictor(nano, closeups=closeups)
        predictor.set_image(image)
        ious = []
        for (x, y), mask in zip(centres, masks, strict=True):
            if prompt == "click":
                prediction = predictor.predict(points=[[x, y]], point_labels=[1])
            else:
                prediction = predictor.predict(box=[x - 9, y - 9, x + 10, y + 10])
            assert prediction.best.shape == image.shape[:2]
            ious.append(iou(prediction.best, mask))
        found[closeups] = np.mean(ious)
    assert found[True] > 0.5
    assert found[True] > found[False] + 0.1


def test_boxes_together_are_as_boxes_one_by_one(nano):
    image, centres, _ = discs()
    predictor = ImagePredictor(nano)
    predictor.set_image(image)
    boxes = [[x - 9, y - 9, x + 10, y + 10] for x, y in centres]
    together = predictor.predict_boxes(boxes)
    for box, prediction in zip(boxes, together, strict=True):
        alone = predictor.predict(box=box, multimask=False)
        assert iou(alone.best, prediction.best) > 0.99


def test_a_prediction_is_refined_through_the_window_it_was_seen_through(nano, monkeypatch):
    image, centres, masks = discs()
    predictor = ImagePredictor(nano)
    predictor.set_image(image)
    (x, y), mask = centres[1], masks[1]
    first = predictor.predict(points=[[x, y]], point_labels=[1])
    asked = []
    decode = predictor._views.decode

    def watch(*arguments, **options):
        asked.append(options["window"])
        return decode(*arguments, **options)

    monkeypatch.setattr(predictor._views, "decode", watch)
    second = predictor.predict(
        points=[[x, y], [x + 3, y]],
        point_labels=[1, 1],
        mask_logits=first.low_res_logits[:1],
        multimask=False,
    )
    assert len(asked) == 1
    assert asked[0] != whole(image.shape[:2])
    assert iou(second.best, mask) > 0.6


def test_a_prediction_is_refined_as_well_after_many_others_and_on_the_image_set_again(nano):
    image, centres, _ = discs()
    predictor = ImagePredictor(nano)
    predictor.set_image(image)
    x, y = centres[1]
    box = [x - 9, y - 9, x + 10, y + 10]
    (first,) = predictor.predict_boxes([box])
    click = {"points": [[x, y]], "point_labels": [1], "multimask": False}
    at_once = predictor.predict(**click, mask_logits=first.low_res_logits)
    shifts = np.linspace(0.01, 1, 10)
    for x, y in centres[:3]:
        boxes = [[x - 9 - by, y - 9, x + 10, y + 10 + by] for by in shifts]
        predictor.predict_boxes(boxes, multimask=True)
    predictor._windows.remember(torch.rand(1000, 8, 8), whole(image.shape[:2]))
    later = predictor.predict(**click, mask_logits=first.low_res_logits)
    np.testing.assert_array_equal(later.best, at_once.best)
    predictor.set_image(image.copy())
    again = predictor.predict(**click, mask_logits=first.low_res_logits)
    np.testing.assert_array_equal(again.best, at_once.best)


@pytest.mark.parametrize("size", [640, 600])
def test_logits_of_a_part_that_is_not_known_are_refused(nano, size):
    image, centres, _ = discs()
    known, other = ImagePredictor(nano), ImagePredictor(nano)
    known.set_image(image)
    logits = known.predict(points=[centres[1]], point_labels=[1]).low_res_logits[0]
    if size == 640:
        other.set_image(image)
    else:
        other = known
        other.set_image(image[:size, :size])
    with pytest.raises(ValueError, match=r"side \d+ show a part of an image") as caught:
        other.predict(mask_logits=logits)
    assert "\n" not in str(caught.value)
    whole_logits = np.full((nano.image_size // 4,) * 2, -5, np.float32)
    whole_logits[20:40, 20:40] = 5
    assert other.predict(mask_logits=whole_logits).best.shape == (size, size)


def test_a_predictor_without_windows_takes_no_logits_of_parts(nano):
    image, centres, _ = discs()
    near, far = ImagePredictor(nano), ImagePredictor(nano, closeups=False)
    for predictor in (near, far):
        predictor.set_image(image)
    logits = near.predict(points=[centres[1]], point_labels=[1]).low_res_logits[0]
    with pytest.raises(ValueError, match="of side 96, not of shape"):
        far.predict(mask_logits=logits)


def test_windows_are_known_of_the_latest_logits(monkeypatch):
    monkeypatch.setattr("sam2_plugins.core.image_views._REMEMBERED", 3)
    windows = KnownWindows(PLANE)
    logits = torch.arange(5.0)[:, None, None].expand(5, 2, 2)
    first, second = Window(0, 0, 9, 9), Window(1, 1, 9, 9)
    windows.remember(logits[:3], first)
    windows.remember(logits[:1], first)
    windows.remember(logits[3:4], second)
    known = [windows.find(each) for each in logits]
    assert known == [first, None, first, second, None]


def test_clicks_on_the_background_alone_look_at_the_whole_image(nano):
    image, *_ = discs()
    predictor = ImagePredictor(nano)
    predictor.set_image(image)
    prediction = predictor.predict(points=[[10, 10]], point_labels=[0])
    assert prediction.masks.shape[1:] == image.shape[:2]


def test_models_that_were_not_trained_so_look_at_the_whole_image():
    assert not ImagePredictor(make_tiny()).closeups


def test_the_mask_most_like_another_is_found():
    part, whole_one, elsewhere = (np.zeros((64, 64), bool) for _ in range(3))
    part[20:24, 20:24], whole_one[20:32, 20:32], elsewhere[40:60, 40:60] = True, True, True
    assert most_like(np.stack([elsewhere, part, whole_one]), whole_one) == 2
