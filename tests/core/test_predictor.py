import numpy as np
import pytest
import torch
from tiny import counted, make_tiny

from sam2_plugins.core.predictor import ImagePredictor
from sam2_plugins.core.tracker import VideoTracker
from synthetic import nuclei_stack, two_discs_crossing

CLIP = two_discs_crossing(1)
IMAGE = CLIP.frames[0]
BOX = CLIP.box(0, 1)
MODEL = make_tiny()
SIDE = MODEL.image_size // 4


@pytest.fixture
def predictor():
    predictor = ImagePredictor(MODEL)
    predictor.set_image(IMAGE)
    return predictor


@pytest.mark.parametrize(("multimask", "count"), [(True, 3), (False, 1)])
def test_what_a_prediction_holds(predictor, multimask, count):
    found = predictor.predict(points=[[12, 16]], point_labels=[1], multimask=multimask)
    assert (found.masks.shape, found.masks.dtype) == ((count, 40, 56), bool)
    assert (found.predicted_iou.shape, found.predicted_iou.dtype) == ((count,), np.float32)
    assert found.low_res_logits.shape == (count, SIDE, SIDE)
    assert np.abs(found.low_res_logits).max() <= 32
    assert ((found.predicted_iou >= 0) & (found.predicted_iou <= 1)).all()
    assert isinstance(found.object_score_logit, float)
    assert found.masks.any()
    assert not found.masks.all()


def test_the_best_candidate_comes_first(predictor):
    found = predictor.predict(points=[[12, 16]], point_labels=[1])
    assert list(found.predicted_iou) == sorted(found.predicted_iou, reverse=True)
    np.testing.assert_array_equal(found.best, found.masks[0])
    assert len({mask.tobytes() for mask in found.masks}) == 3


def test_an_image_is_encoded_once(predictor):
    with counted(MODEL) as calls:
        predictor.predict(box=BOX)
        predictor.predict(points=[[12, 16]], point_labels=[1])
    assert calls == {"decode": 2}


@pytest.mark.parametrize(
    "prompts",
    [
        {"points": [[12, 16]], "point_labels": [1]},
        {"points": [[12, 16]], "point_labels": [0]},
        {"points": [[30, 30]], "point_labels": [1]},
        {"points": [[12, 16], [30, 30]], "point_labels": [1, 0]},
        {"box": BOX},
        {"box": BOX, "points": [[12, 16]], "point_labels": [0]},
        {"mask_logits": np.full((SIDE, SIDE), 5, np.float32)},
        {"mask_logits": np.full((1, SIDE, SIDE), -5, np.float32), "box": BOX},
    ],
)
def test_every_prompt_counts(predictor, prompts):
    found = predictor.predict(**prompts, multimask=False).low_res_logits
    others = predictor.predict(box=[0, 0, 56, 40], multimask=False).low_res_logits
    assert not np.allclose(found, others)


def test_a_prediction_can_be_refined(predictor):
    first = predictor.predict(box=BOX, multimask=False)
    refined = predictor.predict(box=BOX, mask_logits=first.low_res_logits[0], multimask=False)
    assert not np.allclose(first.low_res_logits, refined.low_res_logits)


def test_the_first_click_of_a_tracker_finds_the_same(predictor):
    tracker = VideoTracker(MODEL, CLIP.frames, fill_hole_area=0)
    preview = tracker.add_points(0, 1, [[12, 16]], [1])
    found = predictor.predict(points=[[12, 16]], point_labels=[1])
    # The tracker keeps logits as float16.
    assert (preview.masks[0] != found.best).mean() < 0.01
    np.testing.assert_allclose(preview.predicted_iou[0], found.predicted_iou[0], atol=1e-6)


def test_boxes_are_predicted_together(predictor):
    boxes = np.array([BOX, [20, 4, 50, 30], [0, 0, 56, 40]])
    with counted(MODEL) as calls:
        together = predictor.predict_boxes(boxes)
    assert calls == {"decode": 1}
    for box, found in zip(boxes, together, strict=True):
        alone = predictor.predict(box=box, multimask=False)
        np.testing.assert_allclose(found.low_res_logits, alone.low_res_logits, atol=1e-3)
        assert found.masks.shape == (1, 40, 56)
    assert predictor.predict_boxes(boxes, multimask=True)[1].masks.shape == (3, 40, 56)


def test_more_boxes_than_fit_in_a_batch(predictor):
    boxes = [[x, 2, x + 5, 30] for x in np.linspace(0, 50, 70)]
    with counted(MODEL) as calls:
        assert len(predictor.predict_boxes(boxes)) == 70
    assert calls == {"decode": 2}


def test_no_boxes(predictor):
    assert predictor.predict_boxes([]) == []


IMAGES = {
    "grey": IMAGE,
    "RGB": np.stack([IMAGE] * 3, axis=-1),
    "uint16": nuclei_stack((1, 40, 56), num_nuclei=3).frames[0],
    "float": IMAGE / np.float32(77),
    "boolean": CLIP.labels[0] > 0,
    "two channels": np.stack([IMAGE, IMAGE], axis=-1),
    "five channels of int16": np.stack([IMAGE] * 5, axis=-1).astype(np.int16),
    "a row": IMAGE[:1],
    "a pixel": IMAGE[:1, :1],
}


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES.keys())
def test_images_of_every_kind(image):
    predictor = ImagePredictor(MODEL)
    predictor.set_image(image)
    height, width = image.shape[:2]
    assert predictor.image_size == (height, width)
    found = predictor.predict(box=[0, 0, width, height])
    assert found.masks.shape == (3, height, width)
    assert np.isfinite(found.predicted_iou).all()


def test_three_channels_are_colours_only_where_they_are_bytes():
    seen = []
    predictor = ImagePredictor(MODEL)
    predictor.set_rgb = seen.append
    colours = np.stack([IMAGE, IMAGE // 2, IMAGE // 3], axis=-1)
    predictor.set_image(colours)
    np.testing.assert_array_equal(seen[-1], colours)
    predictor.set_image(colours, rgb=False)
    # Channels, each with limits of its own.
    np.testing.assert_allclose(seen[-1][..., 0], seen[-1][..., 1], atol=0.02)
    predictor.set_image(colours, rgb=False, limits=(0, 510))
    np.testing.assert_allclose(seen[-1], colours / 510, atol=1e-6)


def test_a_new_image_replaces_the_one_before(predictor):
    first = predictor.predict(box=BOX)
    predictor.set_image(255 - IMAGE)
    assert not np.allclose(predictor.predict(box=BOX).low_res_logits, first.low_res_logits)
    predictor.set_image(IMAGE)
    np.testing.assert_array_equal(predictor.predict(box=BOX).low_res_logits, first.low_res_logits)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({}, "needs a prompt: points, box or mask_logits"),
        ({"points": [[12, 16]]}, "1 points need as many labels, not 0"),
        ({"points": [[12, 46]], "point_labels": [1]}, r"point \(12, 46\) is outside the frame"),
        ({"box": [5, 5, 5, 9]}, "is empty"),
        (
            {"mask_logits": np.zeros((3, 3))},
            r"mask_logits must be .* of side 16, not of shape \(3, 3\)",
        ),
    ],
)
def test_mistakes(predictor, prompts, message):
    with pytest.raises(ValueError, match=message):
        predictor.predict(**prompts)


def test_a_wrong_box_among_many(predictor):
    with pytest.raises(ValueError, match="is outside the frame"):
        predictor.predict_boxes([BOX, [100, 100, 120, 120]])


@pytest.mark.parametrize("image", [np.zeros(5), np.zeros((0, 4)), np.zeros((2, 3, 4, 5))])
def test_no_image(image):
    with pytest.raises(ValueError, match=r"an image is \(H, W\) or \(H, W, C\), not of shape"):
        ImagePredictor(MODEL).set_image(image)


def test_an_image_comes_first():
    predictor = ImagePredictor(MODEL)
    for call in (
        lambda: predictor.predict(box=BOX),
        lambda: predictor.predict_boxes([BOX]),
        lambda: predictor.image_size,
    ):
        with pytest.raises(RuntimeError, match="call set_image first"):
            call()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    predictor = ImagePredictor(make_tiny().cast(dtype))
    predictor.set_image(IMAGE)
    found = predictor.predict(box=BOX, points=[[12, 16]], point_labels=[1])
    assert found.low_res_logits.dtype == found.predicted_iou.dtype == np.float32
    assert np.isfinite(found.low_res_logits).all()
