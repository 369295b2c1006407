"""What restyling and degrading must leave of a clip."""

import numpy as np
import pytest

from sam2_plugins.core.training.appearance import degrade, expose, is_grey


def dim_clip(*, low=5, high=25):
    """A bright disc in the dark, as dim as many fluorescence pictures are."""
    y, x = np.mgrid[:64, :64]
    disc = (x - 30) ** 2 + (y - 34) ** 2 < 15**2
    frame = np.where(disc, high, low).astype(np.uint8)
    return np.repeat(np.stack([frame] * 3)[..., None], 3, axis=-1), disc


@pytest.mark.parametrize("high", [25, 120, 250])
def test_objects_stay_visible_whatever_is_changed(high):
    clip, disc = dim_clip(high=high)
    separations = []
    for seed in range(60):
        changed = degrade(np.random.default_rng(seed), clip).astype(float).mean(-1)
        inside, outside = changed[:, disc], changed[:, ~disc]
        spread = max(np.sqrt((inside.var() + outside.var()) / 2), 1.0)
        separations.append(abs(inside.mean() - outside.mean()) / spread)
    assert min(separations) > 1.5
    assert np.median(separations) > 5


def test_exposed_clips_use_the_whole_range_of_all_frames_together():
    clip, disc = dim_clip()
    clip[1] = clip[1] // 2
    shown = expose(clip)
    assert shown.min() == 0
    assert shown.max() == 255
    assert shown[1][disc].max() < shown[0][disc].max()
    assert is_grey(shown)


def test_a_plain_clip_can_be_exposed():
    plain = np.full((2, 32, 32, 3), 9, np.uint8)
    assert expose(plain).max() == 0


def test_one_different_channel_makes_a_clip_coloured():
    clip, _ = dim_clip()
    assert is_grey(clip)
    clip[2, 5, 5, 1] += 1
    assert not is_grey(clip)
