"""How masks are drawn with what is around them, and judged by that."""

import numpy as np
import pytest

from sam2_plugins.core.choice_network import MEASURES, WEIGHTS, judge
from sam2_plugins.core.portraits import CHANNELS, SIDE, draw_portrait, read_part
from sam2_plugins.core.windows import Window

PLANE = (96, 128)
WHOLE = Window(0, 0, 128, 96)


def disc(middle, radius, plane=PLANE):
    y, x = np.mgrid[: plane[0], : plane[1]] + 0.5
    return np.hypot(x - middle[0], y - middle[1]) < radius


def picture_of(mask):
    noise = np.random.default_rng(0).integers(0, 30, (*mask.shape, 3))
    return (noise + 150 * mask[..., None]).astype(np.uint8)


def portrait(mask, window=WHOLE, *, click=(60.0, 50.0), picture=None):
    picture = picture_of(mask) if picture is None else picture
    return draw_portrait(
        *(mask[window.slices], window),
        clicks=[click],
        plane=(picture.shape[0], picture.shape[1]),
        read=lambda part: read_part(picture, part),
    )


def test_a_portrait_has_the_mask_in_its_middle_the_click_and_what_was_seen():
    drawn = portrait(disc((60, 50), 14), Window(40, 30, 80, 70), click=(64, 50))
    assert drawn.shape == (CHANNELS, SIDE, SIDE)
    assert drawn.dtype == np.uint8
    mask, spot, seen = (drawn[3:] > 127).astype(bool)
    rows, columns = np.nonzero(mask)
    assert (rows.mean(), columns.mean()) == pytest.approx((SIDE / 2, SIDE / 2), abs=1)
    assert np.ptp(columns) == pytest.approx(SIDE / 1.8, abs=2)
    y, x = np.unravel_index(drawn[4].argmax(), spot.shape)
    # 4 pixels to the right, of 28 that are drawn as SIDE / 1.8 cells.
    assert (x - SIDE / 2, y - SIDE / 2) == pytest.approx((4 / 28 * SIDE / 1.8, 0), abs=1.2)
    # Bright where the mask is.
    assert drawn[:3, mask].mean() > 140 > 40 > drawn[:3, ~mask].mean()
    assert seen[SIDE // 2].all() == (40 >= 1.8 * 28)
    assert seen[mask].all()


def test_beyond_the_picture_its_edge_goes_on_and_nothing_was_seen():
    drawn = portrait(disc((2, 50), 10), click=(3, 50))
    *_, seen = drawn > 127
    assert not seen[:, :8].any()
    assert seen[:, -8:].all()
    assert (drawn[:3, SIDE // 2, 0] > 100).all()


@pytest.mark.parametrize("factor", [1, 4, 16])
def test_the_same_thing_looks_the_same_however_large_it_is(factor):
    mask = disc((60, 50), 14)
    small = portrait(mask).astype(int)
    large = np.kron(mask, np.ones((factor, factor), bool))
    window = Window(0, 0, 128 * factor, 96 * factor)
    picture = np.kron(picture_of(mask), np.ones((factor, factor, 1), np.uint8))
    drawn = portrait(large, window, click=(60 * factor, 50 * factor), picture=picture).astype(int)
    assert np.abs(drawn - small)[3:].mean() < 8
    assert np.abs(drawn - small)[:3].mean() < 16


def test_an_empty_mask_is_drawn_around_its_click():
    drawn = portrait(np.zeros(PLANE, bool), picture=picture_of(disc((60, 50), 9)))
    assert not drawn[3].any()
    assert np.unravel_index(drawn[4].argmax(), (SIDE, SIDE)) == pytest.approx((23, 23), abs=2)


def test_pictures_may_be_bytes_or_shares():
    picture = picture_of(disc((60, 50), 14))
    shares = picture.astype(np.float32) / 255
    one, other = (read_part(image, WHOLE).astype(int) for image in (picture, shares))
    assert np.abs(one - other).max() <= 1


def test_a_mask_of_the_thing_is_judged_better_than_one_of_a_part_or_of_more():
    thing, neighbour = disc((50, 50), 12), disc((76, 50), 12)
    picture = picture_of(thing | neighbour)
    masks = [thing, disc((46, 50), 6), thing | neighbour, disc((60, 30), 12)]
    drawn = np.stack([portrait(mask, click=(48, 50), picture=picture) for mask in masks])
    judged = judge(drawn)
    assert judged.argmax() == 0
    assert judged[0] > 0.6
    assert ((judged >= 0) & (judged <= 1)).all()


def test_masks_are_judged_one_by_one_and_also_by_what_was_measured():
    drawn = np.stack([portrait(disc((60, 50), r)) for r in (4, 8, 12)])
    measures = np.random.default_rng(0).normal(size=(3, len(MEASURES))).astype(np.float32)
    together = judge(drawn, measures)
    alone = [judge(drawn[i : i + 1], measures[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert not np.allclose(together, judge(drawn))
    assert judge(np.zeros((0, CHANNELS, SIDE, SIDE), np.uint8)).shape == (0,)


def test_the_weights_are_small():
    assert WEIGHTS.stat().st_size < 600_000
