from functools import cache

import cv2
import numpy as np
import pytest
import torch

from sam2_plugins.core import (
    ImagePredictor,
    VideoTracker,
    image_answers,
    load_model,
    redrawing,
)
from sam2_plugins.core.closeups import whole
from sam2_plugins.core.heeded_prompts import Statement
from sam2_plugins.core.image_answers import answer_from_near, mask_of
from sam2_plugins.core.image_views import Said
from sam2_plugins.core.knowing import agreement, restoration
from sam2_plugins.core.model.mask_decoder import Decoding
from sam2_plugins.core.retouch_network import CHANNELS, SIDE, WEIGHTS, RetouchNetwork, draw_anew
from sam2_plugins.core.retouching import (
    assemble,
    is_to_be_drawn_anew,
    paste,
    planes_of,
    redrawn,
    retouch,
    shown,
    to_cells,
)
from sam2_plugins.core.samples import nuclei_stack
from sam2_plugins.core.transforms import image_to_tensor
from sam2_plugins.core.windows import Window

pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def nano():
    return load_model(device="cpu")


INPUT = 128
MIDDLE = (60, 70)
WHOLE = Window(0, 0, INPUT, INPUT)


def iou(first, second):
    return (first & second).sum() / max((first | second).sum(), 1)


def disc(radius, middle=MIDDLE):
    canvas = np.zeros((INPUT, INPUT), np.uint8)
    return cv2.ellipse(canvas, middle, (radius, round(0.8 * radius)), 20, 0, 360, 1, -1) > 0


def scene(truth):
    """A bright soft object on a dark noisy ground."""
    rng = np.random.default_rng(0)
    grey = 60 + 120 * cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 1.5)
    noisy = np.clip(grey + rng.normal(0, 8, grey.shape), 0, 255).astype(np.uint8)
    return np.repeat(noisy[..., None], 3, -1)


def said(*, on_object=(MIDDLE,), on_background=(), box=None):
    corners = [] if box is None else [box[:2], box[2:]]
    points = [*corners, *on_object, *on_background]
    labels = [2, 3][: len(corners)] + [1] * len(on_object) + [0] * len(on_background)
    return Statement(points, labels, goes_on=False, has_new_box=box is not None)


def logits_of(mask):
    cells = cv2.resize(mask.astype(np.float32), (32, 32), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(10 * cells - 5)[None, None]


@pytest.mark.parametrize("radius", [12, 16, 26])
def test_a_mask_that_is_too_small_or_too_large_gets_the_outline_that_is_there(radius):
    truth, spoiled = disc(20), disc(radius)
    picture = image_to_tensor(scene(truth), INPUT)
    drawn = retouch(spoiled, picture, said()) > 0
    assert iou(spoiled, truth) < 0.75
    assert iou(drawn, truth) > 0.85
    cells = to_cells(retouch(spoiled, picture, said()), logits_of(truth))[0, 0] > 0
    assert iou(cells.numpy(), logits_of(truth)[0, 0].numpy() > 0) > 0.8


def test_a_box_tells_which_of_two_that_touch_is_meant():
    one, other = disc(14, (50, 64)), disc(14, (77, 64))
    picture = image_to_tensor(scene(one | other), INPUT)
    drawn = retouch(one | other, picture, said(on_object=(), box=(36, 52, 64, 76))) > 0
    assert iou(one | other, one) < 0.55
    assert iou(drawn, one) > 0.75


def test_every_click_is_heeded_however_little_the_picture_says_for_it():
    truth = disc(20)
    picture = image_to_tensor(scene(truth), INPUT)
    beside, within = (100, 70), (66, 76)
    drawn = retouch(disc(18), picture, said(on_object=[beside], on_background=[within]))
    assert drawn[beside[::-1]] > 0
    assert drawn[within[::-1]] < 0


def test_masks_that_are_mended_or_of_which_nobody_said_where_they_are_are_left_alone():
    assert is_to_be_drawn_anew(said())
    assert is_to_be_drawn_anew(said(on_object=(), box=(10, 10, 20, 20)))
    assert not is_to_be_drawn_anew(said()._replace(goes_on=True))
    assert not is_to_be_drawn_anew(said(on_object=(), on_background=[(20, 20)]))


def test_nothing_is_drawn_where_nothing_was_found():
    picture = image_to_tensor(scene(disc(20)), INPUT)
    nothing = torch.full((1, 1, 32, 32), -5.0)
    given, black = decoding(nothing), np.zeros((INPUT, INPUT), np.uint8)
    assert redrawn(given, picture, black, things_stay=False) is given


def decoding(logits):
    """Three masks of which the second is believed; the first is much like it."""
    three = torch.cat([logits - 0.5, logits, -logits.abs()], 1)
    return Decoding(three, torch.tensor([[0.1, 0.9, 0.2]]), torch.zeros(1, 3, 4), torch.ones(1, 1))


def test_a_tracked_mask_that_drifted_comes_back_and_the_others_stay():
    truth = disc(20, (62, 72))
    drifted, before = disc(20, (55, 70)), scene(disc(20))[..., 0]
    picture = image_to_tensor(scene(truth), INPUT)
    given = decoding(logits_of(drifted))
    found = redrawn(given, picture, before, things_stay=False)
    film = redrawn(given, picture, before, things_stay=True)
    cells = logits_of(truth)[0, 0].numpy() > 0
    old, new = (of.low_res_logits[0, 1].numpy() > 0 for of in (given, found))
    assert iou(new, cells) > iou(old, cells) + 0.05
    changes = [(of.low_res_logits - given.low_res_logits).abs().sum() for of in (film, found)]
    assert 0 < changes[0] < changes[1]
    for other in (0, 2):
        assert found.low_res_logits[0, other].equal(given.low_res_logits[0, other])
    assert given.low_res_logits[0, 1].equal(logits_of(drifted)[0, 0])


@pytest.mark.parametrize("part", [Window(-20, 30, 41, 91), Window(34, 60, 53, 79), WHOLE])
def test_what_is_drawn_of_a_square_is_pasted_where_it_was(part):
    mask = disc(20) | disc(6, (8, 60))
    plane = planes_of(mask, part)[0].astype(np.float32)
    pasted = paste(plane, part, mask.shape) > 0
    inside = part.shared(WHOLE)
    assert iou(pasted[inside.slices], mask[inside.slices]) > 0.9
    pasted[inside.slices] = False
    assert not pasted.any()


def test_planes_tell_clicks_the_box_and_where_the_picture_ends():
    part = Window(-32, 0, 96, 128)
    mask, clicks, box, inside = planes_of(
        disc(20), part, on_object=[(20, 50)], on_background=[(60, 90)], box=(0, 32, 64, 96)
    )
    assert clicks.max() > 1.7
    assert clicks.min() < -1.7
    assert np.unravel_index(clicks.argmax(), clicks.shape)[0] in (24, 25)
    assert box.sum() / 2 == pytest.approx(32 * 32)
    np.testing.assert_array_equal(box[16:48, 16:48], 2)
    np.testing.assert_array_equal(inside[:, :16], -1)
    np.testing.assert_array_equal(inside[:, 16:], 1)
    assert mask.min() == -1
    assert mask.max() == 1


def test_brightness_and_contrast_of_the_picture_make_no_difference():
    picture = scene(disc(20))
    planes = planes_of(disc(18), WHOLE, on_object=[MIDDLE])
    dim = (40 + picture // 4).astype(np.uint8)
    results = [draw_anew(assemble([shown(p, WHOLE)], planes)[None])[0] for p in (picture, dim)]
    assert iou(results[0] > 0, results[1] > 0) > 0.95


def test_the_bundled_weights_fit_and_are_small():
    network = RetouchNetwork()
    assert sum(p.numel() for p in network.parameters()) < 600_000
    assert WEIGHTS.stat().st_size < 1_200_000
    assert draw_anew(np.zeros((2, CHANNELS, SIDE, SIDE), np.float32)).shape == (2, SIDE, SIDE)


def test_masks_of_images_are_drawn_anew():
    sample = nuclei_stack()
    labels, predictor = sample.labels[10], ImagePredictor(nano())
    predictor.set_image(sample.images[10])
    before, after = [], []
    for object_id in np.unique(labels[labels > 0])[:8]:
        truth = labels == object_id
        depth = cv2.distanceTransform(np.pad(truth, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        views = predictor._views
        answer = answer_from_near(views, Said([(x, y)], [1], None, whole(views.size), True))
        before.append(iou(mask_of(answer, views.size), truth))
        found = predictor.predict(points=[(x, y)], point_labels=[1])
        after.append(iou(found.best, truth))
    assert not np.allclose(before, after)
    assert np.mean(after) > 0.8


def test_a_tracker_draws_anew_unless_told_not_to():
    sample = nuclei_stack()
    frames = sample.images[6:9]
    labels = sample.labels[6:9]
    object_id = np.bincount(labels[0][labels[0] > 0]).argmax()
    model = nano()

    def masks(**options):
        tracker = VideoTracker(model, frames, **options)
        tracker.set_mask(0, 1, labels[0] == object_id)
        return np.stack([found.masks[0] for found in tracker.propagate()])

    usual, plain = masks(), masks(retouch=False)
    assert (usual == masks(retouch=True)).all()
    assert (usual != plain).any()
    exact = masks(exact=True)
    assert (exact == masks(exact=True, retouch=False)).all()


def test_objects_of_a_kind_that_is_not_known_are_tracked_as_they_are(monkeypatch):
    frames, asked = nuclei_stack().images[7:10], []
    labels = nuclei_stack().labels[7:10]
    object_id = np.bincount(labels[1][labels[1] > 0]).argmax()
    model = nano()

    def masks(shared, restored=1.0, **options):
        asked.clear()
        monkeypatch.setattr(redrawing, "agreement", lambda *_: asked.append(1) or shared)
        monkeypatch.setattr(redrawing, "restoration", lambda *_: restored)
        tracker = VideoTracker(model, frames, **options)
        tracker.set_mask(1, 1, labels[1] == object_id)
        found = {f.frame_index: f.masks[0] for f in tracker.propagate()}
        return np.stack([found[n] for n in sorted(found)])

    plain = masks(0.5, retouch=False)
    assert (masks(0.5) == plain).all()
    # Once, for both ways.
    assert len(asked) == 1
    assert (masks(0.9) != plain).any()
    # It agrees with itself, and yet what is a little off is not put right.
    assert (masks(0.9, restored=0.7) == plain).all()


def test_only_of_what_a_person_has_drawn_it_is_asked_whether_it_is_put_right(monkeypatch):
    frames, labels = nuclei_stack().images[9:12], nuclei_stack().labels[10]
    truth = labels == np.bincount(labels[labels > 0]).argmax()
    rows, columns = np.nonzero(truth)
    asked = []
    monkeypatch.setattr(redrawing, "restoration", lambda *_: asked.append(1) or 1.0)
    model = nano()

    def num_asked(prompt):
        asked.clear()
        tracker = VideoTracker(model, frames)
        prompt(tracker)
        list(tracker.propagate())
        return len(asked)

    def click(tracker):
        tracker.set_mask(1, 1, truth)
        tracker.add_points(1, 1, [(columns.mean(), rows.mean())], [1])

    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert num_asked(lambda tracker: tracker.set_mask(1, 1, truth)) == 1
    assert num_asked(lambda tracker: tracker.set_box(1, 1, box)) == 0
    assert num_asked(click) == 0


def test_prompts_of_a_tracker_are_drawn_anew_where_the_object_is_known(monkeypatch):
    frames, labels = nuclei_stack().images[9:12], nuclei_stack().labels[10]
    object_id = np.bincount(labels[labels > 0]).argmax()
    truth, model = labels == object_id, nano()
    rows, columns = np.nonzero(truth)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)

    def answers(shared, **options):
        monkeypatch.setattr(redrawing, "agreement", lambda *_: shared)
        tracker = VideoTracker(model, frames, **options)
        boxed = tracker.set_box(1, 1, box).masks[0]
        middle = (columns.mean(), rows.mean())
        return boxed, tracker.add_points(1, 2, [middle], [1]).masks[1]

    plain, unknown = answers(1.0, retouch=False), answers(0.7)
    assert all((first == second).all() for first, second in zip(plain, unknown, strict=True))
    known = answers(0.9)
    for before, after in zip(plain, known, strict=True):
        assert (before != after).any()
        assert iou(after, truth) > 0.75
    assert np.mean([iou(m, truth) for m in known]) > np.mean([iou(m, truth) for m in plain])


def test_what_mends_a_mask_of_a_tracker_is_not_drawn_anew(monkeypatch):
    frames, labels = nuclei_stack().images[9:12], nuclei_stack().labels[10]
    truth = labels == np.bincount(labels[labels > 0]).argmax()
    asked = []
    monkeypatch.setattr(redrawing, "agreement", lambda *_: asked.append(1) or 1.0)
    tracker = VideoTracker(nano(), frames)
    tracker.set_mask(1, 1, truth)
    rows, columns = np.nonzero(truth)
    tracker.add_points(1, 1, [(columns.min(), rows.mean())], [0])
    assert not asked


def test_a_mask_agrees_with_what_is_drawn_anew_of_it_if_the_picture_says_so():
    truth = disc(20)
    image = scene(truth)
    picture, grey = image_to_tensor(image, INPUT), image[..., 0]
    right = agreement(logits_of(truth), picture, grey)
    wrong = agreement(logits_of(disc(14)), picture, grey)
    assert right > 0.8
    assert wrong < right - 0.1
    assert agreement(torch.full((1, 1, 32, 32), -5.0), picture, grey) == 0


def test_what_is_known_is_put_right_however_its_mask_is_off():
    truth = disc(20)
    image = scene(truth)
    picture, grey = image_to_tensor(image, INPUT), image[..., 0]
    # Of a mask that has no outline to be found, what is drawn anew goes elsewhere.
    plain = np.full_like(image, 90)
    nothing, dark = image_to_tensor(plain, INPUT), plain[..., 0]
    known = restoration(logits_of(truth), picture, grey)
    assert known > 0.84
    assert restoration(logits_of(truth), nothing, dark) < known - 0.05
    assert restoration(torch.full((1, 1, 32, 32), -5.0), picture, grey) == 0


def test_a_mask_too_thin_to_be_made_smaller_is_drawn_anew_as_it_is():
    line = np.zeros((INPUT, INPUT), bool)
    line[60:64, 30:90] = True
    image = scene(line)
    assert restoration(logits_of(line), image_to_tensor(image, INPUT), image[..., 0]) > 0


def middle_nucleus():
    """A slice, the largest nucleus on it, and a place on its edge."""
    sample = nuclei_stack()
    labels = sample.labels[10]
    truth = labels == np.bincount(labels[labels > 0]).argmax()
    rows, columns = np.nonzero(truth)
    return sample.images[10], truth, (columns.mean(), rows.mean()), (columns.min() + 2, rows.mean())


def test_what_clicks_have_mended_in_an_image_is_drawn_anew_with_all_of_them(monkeypatch):
    image, truth, middle, edge = middle_nucleus()
    said = []

    def drawn(mask, picture, statement):
        said.append(statement)
        return retouch(mask, picture, statement)

    monkeypatch.setattr(image_answers, "retouch", drawn)
    predictor = ImagePredictor(nano())
    predictor.set_image(image)
    first = predictor.predict(points=[middle], point_labels=[1])
    clicks = {"points": [middle, edge], "point_labels": [1, 1]}
    logits = first.low_res_logits[0]
    second = predictor.predict(**clicks, mask_logits=logits, multimask=False)
    assert [len(each.points) for each in said] == [1, 2]
    assert iou(second.masks[0], truth) > 0.8
    # A mask that a person has made is mended where they click, and nowhere else.
    side = predictor.model.image_size // 4
    cells = cv2.resize(truth.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    predictor.predict(**clicks, mask_logits=10 * cells - 5, multimask=False)
    assert len(said) == 2


@pytest.mark.parametrize("is_known", [False, True])
def test_clicks_mend_what_was_found_of_things_that_are_not_known(monkeypatch, is_known):
    image, _truth, middle, edge = middle_nucleus()
    shift = 1 if is_known else 30

    def drawn(mask, *_):
        return np.where(np.roll(mask, shift, 1), 5.0, -5.0).astype(np.float32)

    def answers(draw):
        monkeypatch.setattr(image_answers, "retouch", draw)
        predictor = ImagePredictor(nano())
        predictor.set_image(image)
        first = predictor.predict(points=[middle], point_labels=[1])
        clicks = {"points": [middle, edge], "point_labels": [1, 1]}
        second = predictor.predict(**clicks, mask_logits=first.low_res_logits[0], multimask=False)
        return first, second

    monkeypatch.setattr(image_answers, "is_to_be_drawn_anew", lambda _: False)
    plain = answers(None)
    monkeypatch.setattr(image_answers, "is_to_be_drawn_anew", lambda _: True)
    first, second = answers(drawn)
    assert (first.masks[0] != plain[0].masks[0]).any()
    assert np.array_equal(first.low_res_logits, plain[0].low_res_logits) != is_known
    assert np.array_equal(second.masks[0], plain[1].masks[0]) != is_known


def test_each_click_of_a_tracker_is_drawn_anew_with_those_before(monkeypatch):
    image, truth, middle, edge = middle_nucleus()
    said = []

    def drawn(mask, picture, statement):
        said.append((len(statement.points), statement.goes_on))
        return retouch(mask, picture, statement)

    monkeypatch.setattr(redrawing, "retouch", drawn)
    monkeypatch.setattr(redrawing, "agreement", lambda *_: 1.0)
    tracker = VideoTracker(nano(), image[None])
    tracker.add_points(0, 1, [middle], [1])
    found = tracker.add_points(0, 1, [edge], [1]).masks[0]
    assert said == [(1, False), (2, False)]
    assert iou(found, truth) > 0.8
    # Or in one call.
    again = VideoTracker(nano(), image[None])
    both = again.add_points(0, 1, [middle, edge], [1, 1]).masks[0]
    assert said[2:] == [(1, False), (2, False)]
    assert iou(both, truth) > 0.8
