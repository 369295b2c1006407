"""What an object looks like is learnt where it was prompted, and heeded where it is tracked."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import assert_session_goes_on, assert_stream_finds, make_tiny, masks_of

from sam2_plugins.core import VideoTracker
from sam2_plugins.core.object_appearance import heed_appearance, learn_appearance
from sam2_plugins.core.transforms import image_to_tensor

SIDE = 128
NUM_FRAMES = 10
RED, GREEN, BLUE = (190, 50, 40), (40, 150, 60), (50, 70, 190)


@pytest.fixture(scope="module")
def model():
    return make_tiny()


def is_disc(y, x, radius=20):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.hypot(rows - y, columns - x) < radius


def scene(*discs, background=GREEN, seed=0):
    """(SIDE, SIDE, 3) with coloured discs ((y, x), colour) on a mottled background."""
    mottled = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(SIDE, SIDE)), 2)
    picture = np.full((SIDE, SIDE, 3), background, float) + 150 * mottled[..., None]
    for (y, x), colour in discs:
        picture[is_disc(y, x)] = colour + 0.3 * (picture - background)[is_disc(y, x)]
    return picture.clip(0, 255).astype(np.uint8)


def seen(model, picture):
    image = image_to_tensor(picture, SIDE)
    with torch.inference_mode():
        return image, model.encode_image(image[None])


def logits_of(mask):
    cells = mask.reshape(SIDE // 4, 4, SIDE // 4, 4).mean((1, 3))
    return torch.from_numpy(np.where(cells > 0.5, 5.0, -5.0).astype(np.float32))[None, None]


def cells_of(mask):
    return logits_of(mask)[0, 0] > 0


def learn(model, picture, mask):
    return learn_appearance(*seen(model, picture), logits_of(mask))


def test_an_object_is_told_from_what_is_around_it_wherever_it_went(model):
    learnt = learn(model, scene(((40, 40), RED)), is_disc(40, 40))
    assert learnt.trust > 0.8
    scores = learnt.scores(*seen(model, scene(((80, 90), RED), seed=1)))
    there = cells_of(is_disc(80, 90, 16))
    around = ~cells_of(is_disc(80, 90, 24))
    assert scores[there].mean() > 0.8
    assert scores[around].mean() < -0.8
    assert float(scores.abs().max()) <= 1


def test_a_mask_that_has_spread_is_brought_back_and_one_that_has_shrunk_grows(model):
    picture = scene(((60, 60), RED))
    image = seen(model, picture)
    learnt = learn(model, picture, is_disc(60, 60))
    scores = learnt.scores(*image)
    spread = is_disc(60, 60) | is_disc(60, 85)
    shrunk = is_disc(60, 60, 13)
    truth = cells_of(is_disc(60, 60))
    for wrong in (spread, shrunk):
        carried = logits_of(wrong)
        for _ in range(4):
            carried = heed_appearance(carried, scores, trust=learnt.trust, likeness=0.0)
        found = carried[0, 0] > 0
        before = cells_of(wrong)
        assert (before & truth).sum() / (before | truth).sum() < 0.7
        assert (found & truth).sum() / (found | truth).sum() > 0.9


def test_another_thing_of_the_same_looks_is_not_taken(model):
    picture = scene(((40, 30), RED), ((40, 100), RED))
    image = seen(model, picture)
    learnt = learn(model, picture, is_disc(40, 30))
    carried = logits_of(is_disc(40, 30))
    scores = learnt.scores(*image)
    for _ in range(20):
        carried = heed_appearance(carried, scores, trust=learnt.trust, likeness=0.0)
    assert not (carried[0, 0] > 0)[cells_of(is_disc(40, 100))].any()


def test_the_more_alike_or_the_less_trusted_the_less_is_changed(model):
    picture = scene(((60, 60), RED))
    learnt = learn(model, picture, is_disc(60, 60))
    scores = learnt.scores(*seen(model, picture))
    carried = logits_of(is_disc(60, 75))

    def change(**given):
        return float((heed_appearance(carried, scores, **given) - carried).abs().sum())

    assert change(trust=1.0, likeness=0.0) > change(trust=1.0, likeness=1.0) > 0
    assert change(trust=1.0, likeness=0.0) > change(trust=0.2, likeness=0.0) > 0
    same = heed_appearance(carried, torch.zeros_like(scores), trust=1.0, likeness=0.0)
    assert torch.equal(same, carried)


def test_nothing_is_learnt_of_what_cannot_be_told(model):
    scattered = np.random.default_rng(4).random((SIDE // 4, SIDE // 4)) < 0.1
    assert learn(model, scene(seed=3), np.kron(scattered, np.ones((4, 4), bool))) is None
    plain = scene(((60, 60), RED))
    assert learn(model, plain, np.zeros((SIDE, SIDE), bool)) is None
    assert learn(model, plain, np.ones((SIDE, SIDE), bool)) is None


def film():
    """A red disc that passes a blue one, before a background that changes."""
    return np.stack(
        [
            scene(((50, 30 + 6 * i), RED), ((75, 75), BLUE), seed=i // 3)[::2, ::2]
            for i in range(NUM_FRAMES)
        ]
    )


def tracker_of(frames=None, **options):
    tracker = VideoTracker(make_tiny(), film() if frames is None else frames, **options)
    tracker.set_mask(0, 1, is_disc(50, 30)[::2, ::2])
    return tracker


def test_trackers_learn_it_in_films_where_they_follow_motion():
    found = masks_of(tracker_of())
    assert (found == masks_of(tracker_of(learn_appearance=True))).all()
    assert (found != masks_of(tracker_of(learn_appearance=False))).any()
    still = masks_of(tracker_of(follow_motion=False))
    assert (still == masks_of(tracker_of(follow_motion=False, learn_appearance=True))).all()
    exact = masks_of(tracker_of(exact=True))
    assert (exact == masks_of(tracker_of(exact=True, learn_appearance=False))).all()


def test_in_stacks_it_is_not_learnt_unless_things_stay():
    grey = film()[..., 0]
    found = masks_of(tracker_of(grey))
    assert (found == masks_of(tracker_of(grey, learn_appearance=False))).all()
    stays = masks_of(tracker_of(grey, keep_alike=True))
    assert (stays != masks_of(tracker_of(grey, keep_alike=True, learn_appearance=False))).any()


@pytest.mark.parametrize("window_side", [None, 32])
def test_sessions_and_streams_know_it_too(tmp_path, window_side):
    options = {"window_side": window_side}
    expected = masks_of(tracker_of(**options))
    begun, path = tracker_of(**options), tmp_path / "session"
    assert_session_goes_on(begun, expected, path=path, stop=5, frames=film())

    stream = VideoTracker(make_tiny(), None, cache_frames=1, **options)
    assert_stream_finds(stream, expected, mask=is_disc(50, 30)[::2, ::2], frames=film())
