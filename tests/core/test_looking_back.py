"""Carried masks are held against earlier looks at the object."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import assert_session_goes_on, make_tiny, masks_of

from sam2_plugins.core import VideoTracker
from sam2_plugins.core.carrying import Carrier
from sam2_plugins.core.looking_back import Look, look_back
from sam2_plugins.core.presence import PresenceRule
from sam2_plugins.core.windows import Window

SIDE = 256
WHOLE = Window(0, 0, SIDE, SIDE)
NUM_FRAMES = 12


def noise(side=SIDE, seed=0):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random((side, side)), 3)
    return (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def scene(y, x, seed=1):
    """A textured disc of 30 pixels' radius at (y, x), on another texture."""
    picture = noise() // 2
    disc = is_disc(y, x)
    picture[disc] = np.roll(noise(seed=seed), (y, x), (0, 1))[disc] // 2 + 128
    return picture


def is_disc(y, x, radius=30):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.hypot(rows - y, columns - x) < radius


def logits_of(mask):
    cells = mask.reshape(len(mask) // 4, 4, -1, 4).mean((1, 3))
    return torch.from_numpy(np.where(cells > 0.5, 8.0, -8.0).astype(np.float32))[None, None]


def overlap(logits, mask):
    found, true = logits > 0, logits_of(mask) > 0
    return float((found & true).sum() / (found | true).sum())


@pytest.mark.parametrize("way", [(0, 0), (40, -24)])
def test_a_mask_that_has_drifted_is_mended(way):
    before, here = (110, 120), (110 + way[0], 120 + way[1])
    earlier = Look(scene(*before), logits_of(is_disc(*before)), WHOLE)
    drifted = logits_of(is_disc(here[0], here[1], 22) | is_disc(here[0] - 6, here[1] + 10, 24))
    found = look_back(Look(scene(*here), drifted, WHOLE), earlier)
    assert overlap(drifted, is_disc(*here)) < 0.75
    assert overlap(found.logits, is_disc(*here)) > 0.85
    assert found.likeness > 0.7


def test_what_looks_otherwise_changes_nothing():
    at = (110, 120)
    earlier = Look(scene(*at), logits_of(is_disc(*at)), WHOLE)
    gone = Look(np.full((SIDE, SIDE), 20, np.uint8), logits_of(is_disc(116, 120)), WHOLE)
    found = look_back(gone, earlier)
    assert found.likeness < 0.05
    assert ((found.logits > 0) == (gone.logits > 0)).all()


def test_another_window_shows_the_same():
    at = (110, 120)
    picture, mask = scene(*at), is_disc(*at)
    window = Window(60, 40, 188, 168)
    near = np.kron(picture[window.slices], np.ones((2, 2), np.uint8))
    close = np.kron(mask[window.slices], np.ones((2, 2), bool))
    drifted = logits_of(is_disc(104, 128))
    now = Look(picture, drifted, WHOLE)
    found = look_back(now, Look(near, logits_of(close), window))
    same = look_back(now, Look(picture, logits_of(mask), WHOLE))
    assert overlap(found.logits, mask) == pytest.approx(overlap(same.logits, mask), abs=0.1)
    assert overlap(found.logits, mask) > overlap(drifted, mask) + 0.1


@pytest.mark.parametrize("which", [0, 1])
def test_an_object_that_is_not_there_says_nothing(which):
    masks = [is_disc(110, 120), is_disc(110, 120)]
    masks[which] = np.zeros((SIDE, SIDE), bool)
    now, earlier = (Look(scene(110, 120), logits_of(mask), WHOLE) for mask in masks)
    found = look_back(now, earlier)
    assert found.likeness == 0
    assert (found.logits == now.logits).all()


def clip():
    return np.stack([scene(100 + 4 * i, 100)[::2, ::2] for i in range(NUM_FRAMES)])


def tracker_of(**options):
    tracker = VideoTracker(make_tiny(), clip(), **options)
    tracker.set_mask(0, 1, is_disc(100, 100)[::2, ::2])
    return tracker


def test_trackers_look_back_where_they_follow_motion():
    found = masks_of(tracker_of())
    assert (found == masks_of(tracker_of(look_back=True))).all()
    blind = masks_of(tracker_of(look_back=False))
    # On the frame after the prompt there is nothing to look back to.
    assert (found[:2] == blind[:2]).all()
    assert (found != blind).any()
    still = masks_of(tracker_of(follow_motion=False))
    assert (still == masks_of(tracker_of(follow_motion=False, look_back=True))).all()
    exact = masks_of(tracker_of(exact=True))
    assert (exact == masks_of(tracker_of(exact=True, look_back=False))).all()


@pytest.mark.parametrize("window_side", [None, 64])
def test_a_session_goes_on_with_the_looks_it_had(tmp_path, window_side):
    expected = masks_of(tracker_of(window_side=window_side))
    begun, path = tracker_of(window_side=window_side), tmp_path / "session"
    assert_session_goes_on(begun, expected, path=path, stop=7, frames=clip())


def test_looks_go_no_further_back_than_six_frames_or_a_prompt(monkeypatch):
    looked = {}
    earlier = Carrier._earlier

    def note(self, object_id, masklet, frame_index, **given):
        found = earlier(self, object_id, masklet, frame_index, **given)
        ages = [
            frame_index - frame
            for frame, result in masklet.results.items()
            if found is not None and torch.equal(result.logits.read(), found.logits)
        ]
        looked[frame_index] = ages
        return found

    monkeypatch.setattr(Carrier, "_earlier", note)
    tracker = tracker_of()
    masks_of(tracker)
    assert all(tracker.masks(frame).masks.any() for frame in range(NUM_FRAMES))
    assert looked[1] == []
    assert [looked[frame] for frame in (2, 5, 6, 7, 11)] == [[2], [5], [6], [6], [6]]
    tracker.add_points(8, 1, [[50, 66]], [1])
    looked.clear()
    for _ in tracker.propagate(direction="forward"):
        pass
    assert [looked[frame] for frame in (9, 10, 11)] == [[], [2], [3]]


def test_few_pictures_are_kept_and_none_of_what_is_removed():
    tracker = tracker_of()
    masks_of(tracker)
    pictures = tracker._segmenter.carrier._pictures
    assert 0 < len(pictures[1]) <= 8
    tracker.remove_object(1)
    assert 1 not in pictures


@pytest.mark.parametrize("is_film", [True, False])
@pytest.mark.parametrize("is_stream", [True, False])
def test_films_keep_what_looks_as_it_did_and_stacks_do_not(monkeypatch, is_film, is_stream):
    frames = np.repeat(clip()[..., None], 3, -1) if is_film else clip()
    told = []
    settle = PresenceRule.settle

    def note(self, score, before, *, likeness=0.0, **said):
        told.append(likeness)
        return settle(self, score, before, likeness=likeness, **said)

    monkeypatch.setattr(PresenceRule, "settle", note)

    def likenesses(**options):
        told.clear()
        tracker = VideoTracker(make_tiny(), None if is_stream else frames, **options)
        if is_stream:
            tracker.push(frames[0])
        tracker.set_mask(0, 1, is_disc(100, 100)[::2, ::2])
        if is_stream:
            for frame in frames[1:]:
                tracker.push(frame)
        else:
            list(tracker.propagate())
        return list(told)

    kept, believed = likenesses(keep_alike=True), likenesses(keep_alike=False)
    assert len(kept) == len(believed) == NUM_FRAMES - 1
    assert max(kept) > 0.3
    assert max(believed) == 0
    assert likenesses() == (kept if is_film else believed)
