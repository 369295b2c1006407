import cv2
import numpy as np
import pytest
import torch

from sam2_plugins.core import ImagePredictor, VideoTracker, load_model
from sam2_plugins.core.box_fitting import fit_to_box
from sam2_plugins.core.heeded_prompts import Statement, heed_prompts
from sam2_plugins.core.transforms import image_to_tensor

CELLS, SIDE = 32, 128
BOX = (24.0, 32.0, 104.0, 96.0)
GREY = np.full((SIDE, SIDE, 3), 120, np.uint8)


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


def ellipse(box=BOX, *, cells=SIDE):
    """(cells, cells) bool: what touches the four sides of a box."""
    middles = (np.arange(cells) + 0.5) * (SIDE / cells)
    x, y = (
        (middles - (low + high) / 2) / ((high - low) / 2) for low, high in (box[0::2], box[1::2])
    )
    return x[None, :] ** 2 + y[:, None] ** 2 < 1


def hill(box=BOX):
    """(1, 1, h, w) logits, highest in the middle of a box and 0 on the ellipse in it."""
    middles = (np.arange(CELLS) + 0.5) * (SIDE / CELLS)
    x, y = (
        (middles - (low + high) / 2) / ((high - low) / 2) for low, high in (box[0::2], box[1::2])
    )
    far = np.sqrt(x[None, :] ** 2 + y[:, None] ** 2)
    return torch.from_numpy(4 * (1 - far)).float()[None, None]


def fitted(logits, image=GREY, box=BOX):
    return (fit_to_box(logits, image_to_tensor(image, SIDE), box)[0, 0] > 0).numpy()


@pytest.mark.parametrize("error", [-2.0, -1.0, 1.5])
def test_a_mask_that_is_too_small_or_too_large_is_cut_where_it_reaches_the_sides(error):
    logits = hill() + error
    truth = ellipse(cells=CELLS)
    assert iou((logits[0, 0] > 0).numpy(), truth) < 0.65
    assert iou(fitted(logits), truth) > 0.85


def test_a_network_that_is_sure_is_believed():
    truth = ellipse((24, 32, 64, 96), cells=CELLS)
    logits = torch.where(torch.from_numpy(truth), 12.0, -12.0)[None, None]
    np.testing.assert_array_equal(fitted(logits), truth)


def test_colours_mend_a_mask_that_spills_over_what_else_is_in_the_box():
    truth = ellipse()
    rng = np.random.default_rng(0)
    image = np.where(truth[..., None], [200, 60, 60], [60, 60, 200]) + rng.normal(0, 8, GREY.shape)
    image = image.clip(0, 255).astype(np.uint8)
    whole_box = np.zeros((CELLS, CELLS), np.float32)
    whole_box[8:24, 6:26] = 1
    logits = torch.from_numpy(2 * whole_box - 1)[None, None]
    small = ellipse(cells=CELLS)
    assert iou(fitted(logits, image), small) > iou(fitted(logits), small) + 0.1
    assert iou(fitted(logits, image), small) > 0.85


def test_colours_that_end_far_from_the_sides_say_nothing():
    image = GREY.copy()
    image[56:72, 56:72] = 255
    np.testing.assert_array_equal(fitted(hill(), image), fitted(hill()))


def test_the_same_is_found_every_time():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, GREY.shape).astype(np.uint8)
    first = fitted(hill(), image)
    cv2.setRNGSeed(7)
    np.testing.assert_array_equal(fitted(hill(), image), first)


@pytest.mark.parametrize("box", [(0, 0, SIDE, SIDE), (60, 60, 61, 61), (-20, -20, 300, 300)])
@pytest.mark.parametrize("level", [-9.0, 0.0, 9.0])
def test_boxes_and_masks_of_any_size_are_answered(box, level):
    logits = torch.full((1, 1, CELLS, CELLS), level)
    answer = fit_to_box(logits, image_to_tensor(GREY, SIDE), box)
    assert answer.shape == logits.shape
    assert answer.isfinite().all()


@pytest.fixture(scope="module")
def model():
    return load_model(device="cpu")


def dim_disc():
    """A disc that hardly differs from what is around it, and the box around it."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:96, :96] + 0.5
    truth = np.hypot(x - 50, y - 46) < 24
    image = 120 + 12 * truth + rng.normal(0, 10, truth.shape)
    return image.clip(0, 255).astype(np.uint8), truth, (26, 22, 74, 70)


def test_low_contrast_is_found_from_a_box_in_images_and_stacks_alike(model):
    image, truth, box = dim_disc()
    predictor = ImagePredictor(model)
    predictor.set_image(image)
    assert iou(predictor.predict(box=box).best, truth) > 0.85
    assert iou(predictor.predict_boxes([box])[0].best, truth) > 0.85
    tracker = VideoTracker(model, np.stack([image] * 2))
    assert iou(tracker.set_box(0, 1, box).masks[0], truth) > 0.85


def test_a_click_after_a_box_changes_what_the_box_gave_and_no_more(model):
    image, truth, box = dim_disc()
    tracker = VideoTracker(model, np.stack([image] * 2))
    tracker.set_box(0, 1, box)
    mask = tracker.add_points(0, 1, [(50, 30)], [0]).masks[0]
    assert not mask[30, 50]
    assert iou(mask, truth) > 0.6


def test_what_a_box_found_is_followed_nearly_as_surely_as_the_same_mask(model):
    """The network is not sure of dim things; but a person has seen them."""
    frames = np.stack([dim_disc()[0]] * 6)
    rng = np.random.default_rng(0)
    frames = (frames + rng.normal(0, 6, frames.shape)).clip(0, 255).astype(np.uint8)
    _, truth, box = dim_disc()
    from_box, from_mask = VideoTracker(model, frames), VideoTracker(model, frames)
    mask = from_box.set_box(0, 1, box).masks[0]
    from_mask.set_mask(0, 1, mask)
    for tracker in (from_box, from_mask):
        list(tracker.propagate())
    scores = [t.masks(3).object_score_logits[0] for t in (from_box, from_mask)]
    assert scores[0] > scores[1] - 1.5
    assert iou(from_box.masks(3).masks[0], truth) > 0.8


def test_a_box_drawn_over_a_wrong_mask_is_fitted_like_any_other(model):
    image, truth, box = dim_disc()
    tracker = VideoTracker(model, np.stack([image] * 3))
    wrong = np.zeros(truth.shape, bool)
    wrong[40:52, 20:40] = True
    tracker.set_mask(0, 1, wrong)
    list(tracker.propagate())
    assert tracker.masks(2).masks[0].any(), "there is a mask to draw over"
    found = tracker.set_box(2, 1, box).masks[0]
    assert iou(found, truth) > 0.8
    clicked = tracker.add_points(2, 1, [(50, 30)], [0]).masks[0]
    assert not clicked[30, 50]
    assert tracker.undo()
    np.testing.assert_array_equal(tracker.masks(2).masks[0], found)
    tracker.clear_prompts(2, 1)
    assert iou(tracker.masks(2).masks[0], truth) < 0.5


def test_only_what_a_box_says_for_the_first_time_is_fitted():
    image = image_to_tensor(GREY, SIDE)
    corners, labels = [(24.0, 32.0), (104.0, 96.0)], [2, 3]
    logits = hill() - 1
    new = heed_prompts(logits, image, Statement(corners, labels, False, has_new_box=True))
    assert torch.equal(new, fit_to_box(logits, image, BOX))
    known = Statement(corners, labels, True, has_new_box=False)
    assert not known.says_more
    assert torch.equal(heed_prompts(logits, image, known), logits)
