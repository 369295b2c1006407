import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from in_this_process import InThisProcess
from sam2_plugins.core import load_model
from sam2_plugins.core.prompts import OBJECT
from sam2_plugins.core.retouch_network import CHANNELS, SIDE, RetouchNetwork
from sam2_plugins.core.rgb_frames import image_to_rgb
from sam2_plugins.core.samples import nuclei_stack
from sam2_plugins.core.training import attempts, recipes, retouch, retouch_learning
from sam2_plugins.core.training.attempts import (
    Attempt,
    carried_on,
    click_on,
    draw_box,
    move_one,
    shaken,
    spoil_one,
    spoiled,
    walk_on,
)
from sam2_plugins.core.training.clips import make_clip
from sam2_plugins.core.training.labelled import (
    LabelledImage,
    LabelledVolume,
    TrainingData,
    find_instances,
)
from sam2_plugins.core.training.retouch import Attempts, Found, follow, prompt_image
from sam2_plugins.core.training.retouch_learning import example_of, learn_to_retouch, retouch_loss

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def sample():
    return nuclei_stack()


@pytest.fixture
def image(sample):
    labels = sample.labels[10].astype(np.uint16)
    return LabelledImage("one", image_to_rgb(sample.images[10]), labels, find_instances(labels))


@pytest.fixture
def volume(sample):
    return LabelledVolume("one", sample.images.astype(np.uint8), sample.labels.astype(np.uint16))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def iou(first, second):
    return (first & second).sum() / max((first | second).sum(), 1)


def blob(rng, *, side=48):
    """A bright ellipse, and a mask that is shifted and of another size."""
    drawn = np.zeros((side, side), np.uint8)
    middle = rng.integers(18, 30, 2).tolist()
    axes = rng.integers(7, 13, 2).tolist()
    truth = cv2.ellipse(drawn, middle, axes, 0, 0, 360, 1, -1) > 0
    grey = (40 + 150 * truth + rng.normal(0, 10, truth.shape)).clip(0, 255).astype(np.uint8)
    mask = shaken(truth, rng, resized=0.2, shifted=0.15)
    return Attempt(grey[..., None].repeat(3, -1), mask, truth, (click_on(truth, rng),))


def test_it_learns_to_find_outlines(monkeypatch):
    monkeypatch.setattr(retouch_learning, "_BATCH", 8)
    monkeypatch.setattr(retouch_learning, "_WARM_UP", 5)
    monkeypatch.setattr(retouch_learning, "_AVERAGED", 0.9)
    monkeypatch.setattr(retouch_learning, "_varied", lambda pictures, rng: pictures)
    networks = [learn_to_retouch(blob, steps=steps) for steps in (1, 60)]
    rng = np.random.default_rng(1)
    shown = torch.from_numpy(np.stack([example_of(blob(rng), rng) for _ in range(24)]))
    truth = shown[:, CHANNELS].numpy() > 0.5
    with torch.inference_mode():
        masks = [network(shown[:, :CHANNELS]).numpy() > 0 for network in networks]
    before, after = (np.mean([iou(*pair) for pair in zip(m, truth, strict=True)]) for m in masks)
    assert before < 0.35
    assert after > 0.5


def test_the_loss_is_that_of_its_formula_and_what_is_beyond_the_picture_costs_nothing():
    logits = torch.tensor([[[2.0, -1.0], [0.5, 3.0]]])
    truth = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    inside = torch.tensor([[[True, True], [True, False]]])
    p = 1 / (1 + np.exp(-np.array([2.0, -1.0, 0.5])))
    entropy = -(np.log(p[0]) + np.log(1 - p[1]) + np.log(p[2])) / 4
    dice = 1 - (2 * (p[0] + p[2]) + 1) / (p.sum() + 2 + 1)
    assert float(retouch_loss(logits, truth, inside)) == pytest.approx(2 * entropy + dice, abs=1e-5)


def test_examples_are_varied_but_all_that_belongs_together_stays_together(rng):
    seen = set()
    for _ in range(12):
        one = blob(rng)
        example = example_of(Attempt(one.picture, one.truth, one.truth, one.on_object), rng)
        assert example.shape == (CHANNELS + 1, SIDE, SIDE)
        mask, truth = example[3] > 0, example[CHANNELS] > 0.5
        assert iou(mask, truth) > 0.97
        assert truth[np.unravel_index(example[4].argmax(), truth.shape)]
        inside = example[:3][:, truth].mean(), example[:3][:, ~truth].mean()
        seen.add(inside[0] > inside[1])
        assert not example[7].any()
    assert seen == {True, False}


def test_an_earlier_look_is_shown_in_the_same_colours(rng):
    one = blob(rng)
    for _ in range(6):
        both = Attempt(one.picture, one.mask, one.truth, earlier=one.picture)
        example = example_of(both, rng)
        assert np.corrcoef(example[7].ravel(), example[:3].mean(0).ravel())[0, 1] > 0.8


def test_what_is_kept_of_an_attempt_is_all_that_is_ever_shown_of_it(rng):
    wide = np.zeros((200, 300), bool)
    wide[90:110, 150:180] = True
    picture = rng.integers(0, 255, (200, 300, 3)).astype(np.uint8)
    one = Attempt(
        picture, wide, wide, ((160.5, 95.5),), ((185.5, 100.5),), (148.0, 88.0, 182.0, 112.0)
    )
    kept = one.cropped()
    assert kept.picture.shape[:2] < (200, 300)
    shows = [example_of(each, np.random.default_rng(3)) for each in (one, kept)]
    np.testing.assert_allclose(*shows, atol=1e-5)


def test_corrections_are_where_the_mask_is_wrong(image):
    truth = image.labels == image.instances[0].object_id
    rows, _columns = np.nonzero(truth)
    half = truth.copy()
    half[: int(rows.mean())] = False
    (point,) = Attempt(image.image, half, truth).corrected().on_object
    assert truth[int(point[1]), int(point[0])]
    assert not half[int(point[1]), int(point[0])]
    (point,) = Attempt(image.image, truth, half).corrected().on_background
    assert truth[int(point[1]), int(point[0])]
    assert not half[int(point[1]), int(point[0])]
    right = Attempt(image.image, truth, truth)
    assert right.corrected() is right
    assert OBJECT == 1


def test_masks_are_spoiled_in_many_ways_but_stay_near(image, rng):
    overlaps = []
    for _ in range(60):
        one = spoil_one(image, rng)
        assert one.truth.any()
        assert (one.box is None) == bool(one.on_object)
        overlaps.append(iou(one.mask, one.truth))
    assert 0.5 < np.mean(overlaps) < 0.9
    assert np.std(overlaps) > 0.1


def test_a_spoiled_mask_may_have_a_neighbour(rng):
    labels = np.zeros((40, 60), np.uint16)
    labels[10:30, 10:30], labels[10:30, 30:50] = 1, 2
    areas = [spoiled(labels == 1, labels, rng)[:, 31:].sum() for _ in range(80)]
    assert 2 <= sum(area > 200 for area in areas) <= 30


def test_boxes_are_drawn_around_objects_with_errors(rng):
    truth = np.zeros((100, 100), bool)
    truth[20:60, 30:80] = True
    assert draw_box(truth, rng, error=0) == (30, 20, 80, 60)
    boxes = np.array([draw_box(truth, rng) for _ in range(200)])
    assert np.abs(boxes.mean(0) - (30, 20, 80, 60)).max() < 1
    assert 1.5 < boxes.std(0).min() < boxes.std(0).max() < 3.5
    speck = np.zeros((9, 9), bool)
    speck[4, 4] = True
    assert draw_box(speck, rng) is None


def test_walks_go_from_slice_to_slice_along_every_axis_and_to_where_objects_are_gone(volume, rng):
    walked = [one for one in (walk_on(volume, rng) for _ in range(120)) if one is not None]
    assert len({one.mask.shape for one in walked}) >= 2
    there = [one for one in walked if one.truth.any()]
    gone = len(walked) - len(there)
    assert 0.1 < gone / len(walked) < 0.6
    assert np.mean([iou(one.mask, one.truth) for one in there]) > 0.5
    assert all(one.earlier is not None and one.earlier.shape == one.picture.shape for one in walked)


def test_an_object_that_moved_is_where_the_picture_says(image, rng):
    for _ in range(10):
        one = move_one(image, rng)
        assert iou(one.mask, one.truth) > 0.4
        assert one.picture.shape == one.earlier.shape
        assert (one.picture != one.earlier).any()


def test_clips_are_carried_both_ways(sample, rng):
    data = TrainingData({}, {})
    clip = make_clip(data, 3, size=64, num_frames=3, num_objects=2, kinds={"blobs": 1.0})
    carried = carried_on(clip, rng)
    assert len(carried) >= 4
    there = [one for one in carried if one.truth.any()]
    assert np.mean([iou(one.mask, one.truth) for one in there]) > 0.5
    assert attempts._LEAST_PIXELS > 0


def test_the_model_is_prompted_and_tracks(image, sample, rng):
    model = load_model(device="cpu")
    prompted = prompt_image(model, image, rng, num_objects=2)
    assert sum(one.box is not None for one in prompted) in (1, 2)
    assert sum(bool(one.on_object) for one in prompted) == 6
    assert max(iou(one.mask, one.truth) for one in prompted) > 0.6
    tracked = list(follow(model, sample.images[8:12], sample.labels[8:12].astype(np.uint16), rng))
    assert len(tracked) > 5
    assert all(one.earlier is not None and one.mask.any() for one in tracked)
    assert np.mean([iou(one.mask, one.truth) for one in tracked if one.truth.any()]) > 0.3


def test_every_kind_of_attempt_is_drawn(image, volume, rng):
    data = TrainingData({"dsb2018": (image,)}, {"plant_nuclei_3d": (volume,)})
    mark = Attempt(image.image, *[image.labels > 0] * 2, on_background=((1.0, 1.0),))
    kinds = Attempts(
        data, Found({"dsb2018": [mark]}, walked=[mark], followed=[mark], carried=[mark])
    )
    drawn = [kinds.draw(rng) for _ in range(200)]
    assert any(one is None for one in drawn) or all(drawn)
    drawn = [one for one in drawn if one is not None]
    assert any(one.on_background == mark.on_background for one in drawn)
    assert any(one.earlier is not None and one.earlier.shape != image.image.shape for one in drawn)
    assert any(one.box is not None for one in drawn)
    bare = Attempts(data, Found())
    assert sum(bare.draw(rng) is not None for _ in range(50)) > 30


def test_what_is_learnt_is_written_as_it_is_read(tmp_path, monkeypatch, image):
    monkeypatch.setattr(recipes, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(retouch, "_gather_part", lambda part: Found())
    monkeypatch.setattr(
        retouch, "load_training_data", lambda root: TrainingData({"dsb2018": (image,)}, {})
    )
    monkeypatch.setattr(retouch_learning, "_BATCH", 2)
    target = tmp_path / "retouch.safetensors"
    retouch.train_retouch("nowhere", target, num_processes=1, steps=2)
    network = RetouchNetwork()
    network.load_state_dict({k: v.float() for k, v in load_file(target).items()})
    assert target.stat().st_size < 1_200_000


def test_every_process_has_its_part(monkeypatch, image, volume):
    data = TrainingData({"dsb2018": (image,) * 4, "clothing": (image,) * 8}, {"x": (volume,)})
    monkeypatch.setattr(retouch, "load_training_data", lambda root: data)
    monkeypatch.setattr(retouch, "load_model", lambda **_: None)
    monkeypatch.setattr(retouch, "prompt_image", lambda *_, num_objects: [num_objects])
    monkeypatch.setattr(retouch, "follow", lambda *_: ["walk"])
    monkeypatch.setattr(retouch, "carried_on", lambda *_: ["carried"])
    monkeypatch.setattr(retouch, "_CLIPS", 4)
    monkeypatch.setattr(retouch, "_CLIP_SIZE", 64)
    found = Found()
    for part in range(2):
        found.add(retouch._gather_part(("", part, 2, 0)))
    assert found.prompted["dsb2018"] == [10] * 4
    assert found.prompted["clothing"] == [2] * 4
    assert len(found.walked) == retouch._WALKS
    assert len(found.carried) == len(found.followed) == 4
