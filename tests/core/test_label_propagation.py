"""In films, cells of objects that are not known are labelled as those most alike before."""

import numpy as np
import pytest
import torch
from tiny import assert_session_goes_on, assert_stream_finds, make_tiny, masks_of

from sam2_plugins.core import VideoTracker, cell_following, label_propagation
from sam2_plugins.core.closeups import whole
from sam2_plugins.core.label_propagation import LabelledView, describe_cells, propagate_labels
from sam2_plugins.core.model.values import LOGIT_LIMIT
from sam2_plugins.core.motion import TRUST, decode_carried
from sam2_plugins.core.redrawing import Redrawing
from sam2_plugins.core.transforms import image_to_tensor
from sam2_plugins.core.windows import Window

SIDE = 128
RED, GREEN, BLUE = (190, 50, 40), (40, 150, 60), (50, 70, 190)
PLANE = whole((SIDE, SIDE))
AT = 50, 40


@pytest.fixture(scope="module")
def model():
    return make_tiny()


def is_disc(y, x, radius=20):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.hypot(rows - y, columns - x) < radius


def scene(*discs):
    """(SIDE, SIDE, 3) with coloured discs ((y, x), colour) on green."""
    picture = np.full((SIDE, SIDE, 3), GREEN, np.uint8)
    for (y, x), colour in discs:
        picture[is_disc(y, x)] = colour
    return picture


def logits_of(mask):
    cells = mask.reshape(SIDE // 4, 4, SIDE // 4, 4).mean((1, 3))
    return torch.from_numpy(np.where(cells > 0.5, 5.0, -5.0).astype(np.float32))[None, None]


def view(model, picture, mask, window=PLANE):
    image = image_to_tensor(picture, SIDE)
    with torch.inference_mode():
        return LabelledView(
            describe_cells(image, model.encode_image(image[None])), logits_of(mask), window
        )


def iou(logits, mask):
    found, truth = logits[0, 0] > 0, logits_of(mask)[0, 0] > 0
    return float((found & truth).sum() / (found | truth).sum())


def test_a_mask_that_was_smeared_over_another_thing_leaves_it(model):
    start = view(model, scene(((60, 40), RED), ((60, 90), BLUE)), is_disc(60, 40))
    smeared = is_disc(60, 48) | is_disc(60, 70, 14)
    now = view(model, scene(((60, 48), RED), ((60, 90), BLUE)), smeared)
    before = iou(now.logits, is_disc(60, 48))
    moved = propagate_labels(now, [], start=start)
    assert before < 0.8
    assert iou(moved, is_disc(60, 48)) > 0.85


def test_what_flow_left_behind_is_taken_along(model):
    start = view(model, scene(((60, 40), RED)), is_disc(60, 40))
    now = view(model, scene(((60, 56), RED)), is_disc(60, 46))
    before = iou(now.logits, is_disc(60, 56))
    moved = propagate_labels(now, [start], start=start)
    assert iou(moved, is_disc(60, 56)) > before + 0.1


def test_what_a_person_said_counts_more_than_what_was_found_since(model):
    picture = scene(((60, 60), RED))
    start = view(model, picture, is_disc(60, 60))
    wrong = view(model, picture, is_disc(60, 60) | is_disc(60, 90))
    heeding = propagate_labels(wrong, [wrong], start=start)
    repeating = propagate_labels(wrong, [wrong], start=wrong)
    assert iou(heeding, is_disc(60, 60)) > iou(repeating, is_disc(60, 60)) + 0.1


def test_far_from_the_mask_nothing_changes(model):
    start = view(model, scene(((30, 30), RED), ((30, 110), RED)), is_disc(30, 30))
    now = start._replace(logits=logits_of(is_disc(30, 32)))
    moved = propagate_labels(now, [start], start=start)
    assert torch.equal(moved[..., 22:], now.logits[..., 22:])
    assert (moved != now.logits).any()
    assert float(moved.abs().max()) <= TRUST
    absent = now._replace(logits=torch.full_like(now.logits, -LOGIT_LIMIT))
    assert torch.equal(propagate_labels(absent, [start], start=start), absent.logits)


def test_views_through_other_windows_are_laid_on_each_other(model):
    """The same picture, said to be seen through a window further right: nothing moved in it."""
    picture = scene(((60, 60), RED))
    start = view(model, picture, is_disc(60, 60))
    carried = is_disc(60, 76)
    through_one, through_other = (
        propagate_labels(view(model, picture, carried, window), [], start=start)
        for window in (PLANE, Window(300, 0, 300 + SIDE, SIDE))
    )
    assert iou(through_one, is_disc(60, 60)) > iou(logits_of(carried), is_disc(60, 60)) + 0.1
    assert torch.allclose(through_one, through_other, atol=1e-3)


def test_cells_of_which_no_frame_has_shown_the_like_stay_as_they_are(model):
    start = view(model, scene(((60, 60), RED)), is_disc(60, 60))
    elsewhere = start._replace(window=Window(900, 900, 900 + SIDE, 900 + SIDE))
    # Without a mask there, the two are not laid on each other.
    empty = elsewhere._replace(logits=torch.full_like(start.logits, -5.0))
    assert torch.equal(propagate_labels(start, [], start=empty), start.logits)


@pytest.mark.parametrize(
    "rows_and_columns",
    [(0, 40, 0, 40), (0, 5, 33, 40), (10, 30, 7, 21), (34, 40, 0, 3), (3, 37, 19, 20)],
)
def test_compared_in_blocks_or_all_at_once_cells_take_the_same_labels(
    monkeypatch, rows_and_columns
):
    top, bottom, left, right = rows_and_columns
    views = []
    for seed in range(4):
        cells = torch.randn(1, 9, 40, 40, generator=torch.Generator().manual_seed(seed))
        logits = torch.full((1, 1, 80, 80), -4.0)
        logits[..., 2 * top : 2 * bottom, 2 * left : 2 * right] = 3.0 + seed
        views.append(LabelledView(cells.half(), logits, Window(seed, 0, 300 + seed, 300)))
    found = []
    for many in (1, 10**6):
        monkeypatch.setattr(label_propagation, "_MANY", many)
        found.append(propagate_labels(views[0], views[1:3], start=views[3]))
    assert not torch.equal(found[0], views[0].logits)
    torch.testing.assert_close(*found, atol=1e-3, rtol=0)


def test_the_network_adds_nothing_far_from_the_mask_of_what_it_does_not_know(model):
    image = image_to_tensor(scene(((60, 60), RED)), SIDE)
    with torch.inference_mode():
        features = model.encode_image(image[None])
        inputs = model, features, model.without_memory(features)
        carried = logits_of(is_disc(60, 60))
        shy = decode_carried(*inputs, carried, stays_near=True).low_res_logits
        bold = decode_carried(*inputs, carried).low_res_logits
        absent = torch.full_like(carried, -LOGIT_LIMIT)
        found = [
            decode_carried(*inputs, absent, stays_near=near).low_res_logits
            for near in (False, True)
        ]
    far = ~(logits_of(is_disc(60, 60, 26))[0, 0] > 0)
    assert (shy[..., far] <= carried[..., far]).all()
    assert (bold[..., far] > carried[..., far]).any()
    inside = logits_of(is_disc(60, 60))[0, 0] > 0
    assert torch.equal(shy[..., inside], bold[..., inside])
    # What is lost is looked for everywhere.
    assert torch.equal(*found)


def film(radius=34):
    """A red disc, which sets out from `AT`, that passes a blue one."""
    discs = (is_disc(AT[0], AT[1] + 5 * i, radius)[..., None] for i in range(10))
    around = scene(((100, 75), BLUE))
    return np.stack([np.where(disc, RED, around).astype(np.uint8)[::2, ::2] for disc in discs])


def first_mask(radius=34):
    return is_disc(*AT, radius)[::2, ::2]


def tracker_of(frames=None, mask=None, **options):
    tracker = VideoTracker(make_tiny(), film() if frames is None else frames, **options)
    tracker.set_mask(0, 1, first_mask() if mask is None else mask)
    return tracker


@pytest.fixture
def knowing(monkeypatch):
    """Says whether the object is known."""

    def say(is_known):
        monkeypatch.setattr(Redrawing, "knows", lambda *_: is_known)

    return say


def test_it_is_done_in_films_and_for_what_is_not_known(knowing):
    grey = film()[..., 0]
    found = {}
    for is_known in (True, False):
        knowing(is_known)
        found[is_known] = masks_of(tracker_of(retouch=False))
        found["stack", is_known] = masks_of(tracker_of(grey, retouch=False))
        found["without", is_known] = masks_of(tracker_of(retouch=False, learn_appearance=False))
    assert (found[True] != found[False]).any()
    assert (found["stack", True] == found["stack", False]).all()
    assert (found["without", True] == found["without", False]).all()


def test_a_thing_of_few_cells_is_left_to_the_network(knowing):
    small, options = first_mask(20), {"window_side": None, "retouch": False}
    found = {}
    for is_known in (True, False):
        knowing(is_known)
        found[is_known] = masks_of(tracker_of(film(20), small, **options))
    assert (found[True] == found[False]).all()


@pytest.mark.parametrize("window_side", [None, 32])
def test_the_cells_of_a_frame_are_described_once(monkeypatch, knowing, window_side):
    knowing(False)
    described = []

    def describe(*seen):
        described.append(seen)
        return describe_cells(*seen)

    monkeypatch.setattr(cell_following, "describe_cells", describe)
    masks_of(tracker_of(np.concatenate([film(), film()[::-1]]), window_side=window_side))
    assert len(described) == 20


@pytest.mark.parametrize("window_side", [None, 32])
def test_sessions_and_streams_go_on_with_it(tmp_path, knowing, window_side):
    knowing(False)
    options = {"window_side": window_side, "retouch": False}
    expected = masks_of(tracker_of(**options))
    begun, path = tracker_of(**options), tmp_path / "session"
    assert_session_goes_on(begun, expected, path=path, stop=7, frames=film())

    stream = VideoTracker(make_tiny(), None, cache_frames=1, **options)
    assert_stream_finds(stream, expected, mask=first_mask(), frames=film())
