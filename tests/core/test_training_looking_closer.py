import numpy as np
import pytest

from sam2_plugins.core.training.batches import BatchShape, draw_batch
from sam2_plugins.core.training.clips import make_clip
from sam2_plugins.core.training.looking_closer import look_closer
from sam2_plugins.core.training.sources import TrainingData

NO_DATA = TrainingData({}, {})


def scene(num_frames=3, size=256):
    """One bright square of 20 pixels that moves to the right; its colour is its id."""
    labels = np.zeros((num_frames, size, size), np.int32)
    for frame_index in range(num_frames):
        x = 100 + 5 * frame_index
        labels[frame_index, 60:80, x : x + 20] = 7
    frames = np.repeat((labels * 30).astype(np.uint8)[..., None], 3, axis=-1)
    return frames, labels


@pytest.mark.parametrize("seed", range(8))
def test_the_object_is_whole_and_takes_more_of_the_window(seed):
    frames, labels = scene()
    closer = look_closer(np.random.default_rng(seed), frames, labels, size=128)
    assert closer is not None
    near, ids = closer
    assert near.shape == (3, 128, 128, 3)
    assert ids.shape == (3, 128, 128)
    share = (ids == 7).mean(axis=(1, 2))
    assert (share > 2 * (labels == 7).mean()).all()
    # Whole on every frame: as large on the last as on the first.
    assert share.min() > 0.9 * share.max()


def test_labels_stay_on_what_they_name():
    frames, labels = scene()
    near, ids = look_closer(np.random.default_rng(0), frames, labels, size=128) or (None, None)
    inside = near[..., 0] > 105
    assert ((ids == 7) == inside).mean() > 0.99


def test_nothing_to_look_at_is_none():
    frames, labels = scene()
    assert look_closer(np.random.default_rng(0), frames, labels * 0, size=128) is None


def test_closeups_are_drawn_as_often_as_asked_for_and_change_nothing_otherwise():
    plain = [
        make_clip(NO_DATA, seed, size=64, num_frames=1, num_objects=1, kinds={"blobs": 1.0})
        for seed in range(6)
    ]
    without = [
        make_clip(
            *(NO_DATA, seed), size=64, num_frames=1, num_objects=1, kinds={"blobs": 1.0}, closeups=0
        )
        for seed in range(6)
    ]
    close = [
        make_clip(
            *(NO_DATA, seed), size=64, num_frames=1, num_objects=1, kinds={"blobs": 1.0}, closeups=1
        )
        for seed in range(6)
    ]
    assert all((a.frames == b.frames).all() for a, b in zip(plain, without, strict=True))
    assert all(clip.frames.shape == (1, 64, 64, 3) for clip in close)
    assert np.mean([c.masks.mean() for c in close]) > np.mean([c.masks.mean() for c in plain])


def test_batches_come_with_their_motion_where_it_is_wanted():
    shape = BatchShape(2, 64, 3, 1, {"blobs": 1.0}, has_motion=True, closeups=0.5)
    batch = draw_batch(NO_DATA, (1, 2), shape)
    assert batch.motion is not None
    assert batch.motion.shape == (2, 3, 16, 16, 2)
    assert draw_batch(NO_DATA, (1, 2), BatchShape(2, 64, 3, 1, {"blobs": 1.0})).motion is None
