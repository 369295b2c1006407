"""The rules by which clips of one's own data are drawn and changed, each against its numbers."""

import numpy as np
import pytest
import torch
from tiny import make_tiny

from sam2_plugins.core.training.labelled import LabelledStack
from sam2_plugins.core.training.own_data import OwnData
from sam2_plugins.core.training.simulated_user import Frame, SimulatedUser
from sam2_plugins.core.training.video_augment import (
    CLIP_JITTER,
    FRAME_JITTER,
    augment,
    draw_jitter,
)

SIZE = 64


def stack(labels: np.ndarray, *, is_volume: bool = False) -> OwnData:
    frames = np.repeat(((labels > 0) * 150 + 40)[..., None], 3, -1).astype(np.uint8)
    return OwnData((), (LabelledStack("s", frames, labels.astype(np.uint16), is_volume),))


def growing() -> np.ndarray:
    """(T, S, S): a square in the middle whose side is 12 pixels and then two more each frame."""
    labels = np.zeros((18, SIZE, SIZE), np.int32)
    for t in range(18):
        labels[t, 26 - t : 38 + t, 26 - t : 38 + t] = 1
    return labels


def areas(data: OwnData, seed: int, num_frames: int = 8) -> np.ndarray:
    clip = data.clip((7, seed), size=SIZE, num_frames=num_frames, num_objects=1)
    return clip.masks[0].reshape(num_frames, -1).sum(1)


def test_clips_run_backward_half_the_time():
    data = stack(growing())
    found = [areas(data, seed) for seed in range(160)]
    runs_on = [bool(np.all(np.diff(area) >= 0)) for area in found]
    runs_back = [bool(np.all(np.diff(area) <= 0)) for area in found]
    assert all(a or b for a, b in zip(runs_on, runs_back, strict=True))
    assert abs(sum(runs_back) - 80) < 30


def test_objects_are_drawn_alike_but_not_dots_and_not_the_background():
    labels = np.zeros((3, SIZE, SIZE), np.int32)
    labels[:] = 9  # all that is not another object: a background
    labels[:, 4:20, 4:20], labels[:, 4:20, 40:56], labels[:, 40:56, 4:20] = 1, 2, 3
    labels[:, 50:53, 50:53] = 4  # nine pixels
    labels[:, :, :2] = 0
    data = stack(labels)
    left = labels[0] == 9
    assert 0.7 < left.mean() < 0.9
    shares = []
    for seed in range(200):
        clip = data.clip((1, seed), size=SIZE, num_frames=2, num_objects=3)
        first = clip.masks[:, 0].reshape(3, -1).sum(1)
        assert first.min() >= 24
        assert first.max() <= 0.9 * SIZE * SIZE
        shares += first.tolist()
    # of up to four usable objects three are drawn, the large one as often as any other
    is_large = np.array(shares) > 1200
    assert 0.15 < is_large.mean() < 0.5


def test_jitter_is_uniform_between_the_papers_limits():
    rng = np.random.default_rng(0)
    assert (CLIP_JITTER, FRAME_JITTER) == ((0.1, 0.03, 0.03), (0.1, 0.05, 0.05))
    for limits in (CLIP_JITTER, FRAME_JITTER):
        drawn = np.array([draw_jitter(rng, limits) for _ in range(2000)])
        for values, limit in zip(drawn.T, limits, strict=True):
            assert values.min() >= 1 - limit
            assert values.max() <= 1 + limit
            assert values.mean() == pytest.approx(1, abs=limit / 20)
            # the deviation of a uniform draw
            assert values.std() == pytest.approx(limit / np.sqrt(3), rel=0.06)


def corner() -> tuple[np.ndarray, np.ndarray]:
    labels = np.zeros((2, 48, 48), np.int32)
    labels[:, 8:20, 8:20] = 1
    frames = np.full((2, 48, 48, 3), (180, 60, 60), np.uint8)
    return frames, labels


def test_clips_are_flipped_turned_and_greyed_as_often_as_the_rules_say():
    frames, labels = corner()
    counts = dict.fromkeys(("left-right", "up-down", "turned", "grey"), 0)
    number = 600
    for seed in range(number):
        shown, moved = augment(np.random.default_rng(seed), frames, labels, flips_rows=True)
        rows, columns = np.nonzero(moved[0])
        counts["left-right"] += columns.mean() > 24
        counts["up-down"] += rows.mean() > 24
        flips = [labels[0], labels[0][:, ::-1], labels[0][::-1], labels[0][::-1, ::-1]]
        counts["turned"] += not any(np.array_equal(moved[0], flip) for flip in flips)
        middle = shown[0, 24, 24].astype(int)
        counts["grey"] += abs(middle[0] - middle[1]) < 3
    for name, chance in {"left-right": 0.5, "up-down": 0.5, "turned": 0.5, "grey": 0.05}.items():
        assert counts[name] / number == pytest.approx(chance, abs=0.07 if chance == 0.5 else 0.025)
    tops = [
        np.nonzero(augment(np.random.default_rng(s), frames, labels, flips_rows=False)[1][0])[0]
        for s in range(60)
    ]
    assert all(rows.mean() < 26 for rows in tops)  # turned perhaps, but never upside down


def test_colours_of_the_frames_of_a_clip_differ_a_little():
    frames, labels = corner()
    spread = []
    for seed in range(200):
        shown, _ = augment(np.random.default_rng(seed), frames, labels, flips_rows=False)
        first, second = (float(frame[24, 24].mean()) for frame in shown)
        spread.append(second / first)
    assert min(spread) > 0.8
    assert max(spread) < 1.25
    assert 0.03 < np.std(spread) < 0.12  # two independent factors of up to a tenth


def test_a_mask_that_is_given_has_no_loss():
    model = make_tiny()
    masks = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    masks[:, 10:30, 10:30] = True
    features = model.encode_image(torch.zeros(1, 3, SIZE, SIZE))
    frame = Frame(features, model.without_memory(features), masks)
    user = SimulatedUser(model, torch.Generator().manual_seed(0))
    assert user.prompt(frame, kind="mask", num_corrections=7).decodings == []
    for kind in ("click", "box"):
        assert len(user.prompt(frame, kind=kind, num_corrections=2).decodings) == 3
