"""Windows larger than the input for closeups are seen at the full input size, others at that."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import everything, make_tiny, masks_of

from sam2_plugins.core import VideoTracker, load_model
from sam2_plugins.core.closeups import move_logits
from sam2_plugins.core.finding_again import find_again
from sam2_plugins.core.label_propagation import LabelledView
from sam2_plugins.core.looking_back import Look, look_back
from sam2_plugins.core.masks import box_to_mask
from sam2_plugins.core.object_appearance import learn_appearance
from sam2_plugins.core.windows import Window

SIZE = (200, 200)
SMALL, LARGE = box_to_mask((90, 90, 104, 104), SIZE), box_to_mask((60, 60, 130, 130), SIZE)
FRAMES = np.random.default_rng(0).integers(0, 255, (6, *SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def near():
    """Closeups are encoded at 32 x 32, all else at 64 x 64."""
    model = make_tiny()
    model.config = replace(model.config, closeup_size=32)
    return model


def tracked(model, **options):
    """What is small at first and then large: it is followed from one size to the other."""
    tracker = VideoTracker(model, FRAMES, window_side=24, **options)
    tracker.set_mask(0, 1, SMALL)
    tracker.set_mask(4, 1, LARGE)
    return tracker


def sizes(tracker):
    masklet = tracker._store.masklets[1]
    return [masklet.results[frame].logits.shape[-1] for frame in sorted(masklet.results)]


def test_only_larger_windows_are_seen_at_the_full_input_size(near):
    features = tracked(near)._sight.features
    sides = {}
    for side in (24, 32, 33, 200):
        with features.through(Window(0, 0, side, side)):
            sides[side] = features.side, features.read(0).shape[-1], features.get(0).grid
    assert sides == {
        24: (32, 32, (2, 2)),
        32: (32, 32, (2, 2)),
        33: (64, 64, (4, 4)),
        200: (64, 64, (4, 4)),
    }


def test_an_object_is_followed_from_one_size_to_the_other_and_on_after_a_break(near, tmp_path):
    tracker = tracked(near)
    expected = masks_of(tracker)
    assert {8, 16} == set(sizes(tracker))
    assert (expected[0, 0] == SMALL).all()
    assert (expected[4, 0] == LARGE).all()
    begun = tracked(near)
    list(begun.propagate(stop=2))
    begun.save(tmp_path / "session")
    again = VideoTracker.load(tmp_path / "session", near, FRAMES)
    list(again.propagate())
    assert everything(again) == everything(tracker)
    # Clicks go on from a mask that was seen at either size.
    for frame in (1, 3):
        tracker.add_points(frame, 1, [[97, 97]], [1])
        assert tracker.undo()
    assert everything(tracker) == everything(again)


def test_encoded_frames_of_both_sizes_are_kept_on_disk(near, tmp_path):
    counts = []
    for _ in range(2):
        tracker = tracked(near, cache_dir=tmp_path)
        masks = masks_of(tracker)
        counts.append((tracker._sight.features.num_encoded, masks.tobytes()))
    assert counts[0][0] > 0 == counts[1][0]
    assert counts[0][1] == counts[1][1]
    shutil.rmtree(tmp_path)


def test_logits_move_to_cells_of_another_size():
    window = Window(0, 0, 64, 64)
    logits = torch.full((1, 1, 8, 8), -4.0)
    logits[..., 2:6, 2:6] = 4
    finer = move_logits(logits, window, window, num_cells=16)
    assert finer.shape == (1, 1, 16, 16)
    assert ((finer > 0)[0, 0].numpy() == np.kron(logits[0, 0].numpy() > 0, np.ones((2, 2)))).all()
    assert move_logits(logits, window, window, num_cells=8) is logits


def test_looks_of_two_sizes_lie_on_each_other():
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((128, 128)), 2)
    picture = (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)
    half = picture.reshape(64, 2, 64, 2).mean((1, 3)).astype(np.uint8)
    logits = torch.full((1, 1, 32, 32), -5.0)
    logits[..., 8:20, 10:22] = 5
    coarse = torch.nn.functional.avg_pool2d(logits, 2)
    window = Window(0, 0, 256, 256)
    fine, rough = Look(picture, logits, window), Look(half, coarse, window)
    for now, earlier in ((fine, rough), (rough, fine)):
        moved, likeness = look_back(now, earlier)
        assert moved.shape == now.logits.shape
        assert likeness > 0.7
        assert ((moved > 0) == (now.logits > 0)).float().mean() > 0.97


@pytest.mark.parametrize(("cells_now", "cells_then"), [(24, 12), (12, 24)])
def test_what_was_lost_is_found_among_cells_of_another_size(cells_now, cells_then):
    def view(num_cells, y, x, *, is_marked):
        """A thing of 8 x 8 at (y, x) of 24 x 24, seen in so many cells."""
        rng = np.random.default_rng(num_cells)
        looks = np.random.default_rng(3).normal(size=(12, 4, 4)).astype(np.float32)
        step = 24 // num_cells
        cells = rng.normal(size=(1, 12, num_cells, num_cells)).astype(np.float32)
        there = np.s_[y // step : (y + 8) // step, x // step : (x + 8) // step]
        cells[0][:, there[0], there[1]] = np.kron(looks, np.ones((2 // step, 2 // step)))
        logits = np.full((1, 1, 2 * num_cells, 2 * num_cells), -10.0, np.float32)
        if is_marked:
            logits[0, 0, 2 * there[0].start : 2 * there[0].stop,
                   2 * there[1].start : 2 * there[1].stop] = 5  # fmt: skip
        window = Window(0, 0, 192, 192)
        return LabelledView(torch.from_numpy(cells), torch.from_numpy(logits), window)

    now, start = (view(cells_now, 14, 12, is_marked=False), view(cells_then, 4, 2, is_marked=True))
    found = find_again(now, start)
    assert found is not None
    assert found.shape == now.logits.shape
    truth = view(cells_now, 14, 12, is_marked=True).logits > 0
    assert ((found > 0) & truth).sum() / ((found > 0) | truth).sum() > 0.7


def test_an_appearance_is_learnt_from_a_mask_of_other_cells(near):
    picture = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
    picture[:, 16:40, 16:40] += 3
    with torch.inference_mode():
        features = near.encode_image(picture[None])
    learnt = []
    for num_cells in (8, 16):
        logits = torch.full((1, 1, num_cells, num_cells), -5.0)
        part = slice(num_cells // 4, num_cells * 5 // 8)
        logits[..., part, part] = 5
        learnt.append(learn_appearance(picture, features, logits))
    coarse, fine = (one.scores(picture, features) > 0 for one in learnt)
    assert coarse.shape == fine.shape
    assert (coarse == fine).float().mean() > 0.9


def test_nano_follows_what_grows_from_small_to_large():
    side, num_frames = 520, 8
    smooth = ndimage.gaussian_filter(np.random.default_rng(1).random((side, side, 3)), (2, 2, 0))
    ground = 60 + 60 * (smooth - smooth.min()) / np.ptp(smooth)
    rows, columns = np.mgrid[:side, :side]
    away = np.hypot(rows - 260, columns - 250)
    radii = np.linspace(40, 150, num_frames)
    masks = away[None] < radii[:, None, None]
    frames = np.stack([ground + m[..., None] * np.array([90, 60, 20]) for m in masks])
    tracker = VideoTracker(load_model(), frames.astype(np.uint8))
    tracker.set_mask(0, 1, masks[0])
    found = masks_of(tracker)[:, 0]
    assert {64, 96} == set(sizes(tracker))
    ious = [(f & m).sum() / (f | m).sum() for f, m in zip(found, masks, strict=True)]
    assert min(ious) > 0.8
