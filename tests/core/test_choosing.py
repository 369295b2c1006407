import numpy as np
import pytest

from sam2_plugins.core.choice_network import MEASURES
from sam2_plugins.core.choosing import Candidate, choose, draw, measure
from sam2_plugins.core.portraits import CHANNELS, SIDE
from sam2_plugins.core.windows import Window

PLANE = (128, 128)
NEAR, FAR = Window(0, 0, 64, 64), Window(0, 0, 128, 128)
CELLS = 32


def disc(middle, radius, *, hole=False):
    """(H, W) bool of the plane."""
    y, x = np.mgrid[: PLANE[0], : PLANE[1]] + 0.5
    far = np.hypot(x - middle[0], y - middle[1])
    return (far < radius) & ~(hole & (far < radius / 2))


def seen(plane, window, *, picture=None, sure=6.0, predicted_iou=0.5, is_best=True):
    """What of a mask of the plane is seen through a window."""
    mask = plane[window.slices]
    step = len(mask) // CELLS
    logits = np.where(mask[step // 2 :: step, step // 2 :: step], sure, -sure).astype(np.float32)
    small = np.zeros((CELLS, CELLS, 3), np.uint8)
    if picture is not None:
        small[:] = 200 * picture[window.slices][step // 2 :: step, step // 2 :: step, None]
    return Candidate(mask, window, logits, small, predicted_iou, is_best)


def measured(candidates, clicks=((30.0, 30.0),)):
    rows = measure(candidates, clicks, plane=PLANE)
    return [dict(zip(MEASURES, row.tolist(), strict=True)) for row in rows]


def test_masks_that_other_windows_show_agree_and_those_of_the_same_window_do_not_count():
    one, other = disc((30, 30), 12), disc((30, 30), 4)
    same, alone, elsewhere = measured(
        [seen(one, NEAR), seen(other, NEAR, is_best=False), seen(one, FAR)]
    )
    assert same["agreement"] == pytest.approx(1)
    assert elsewhere["agreement"] == pytest.approx(1)
    assert alone["agreement"] < 0.2


def test_a_click_in_the_middle_is_told_from_one_at_the_edge():
    mask = seen(disc((30, 30), 12), NEAR)
    (middle,) = measured([mask])
    (edge,) = measured([mask], [(20.0, 30.0)])
    assert middle["centredness"] > 0.85
    assert edge["centredness"] < 0.4


def test_only_the_piece_that_was_clicked_is_measured():
    both = disc((30, 30), 8) | disc((52, 52), 8)
    (two,) = measured([seen(both, NEAR)])
    (one,) = measured([seen(disc((30, 30), 8), NEAR)])
    assert two["clicked_share"] == pytest.approx(0.5, abs=0.05)
    assert one["clicked_share"] == 1
    for name in ("solidity", "share_of_window", "share_of_image", "mean_logit"):
        assert two[name] == pytest.approx(one[name])


def test_outlines_along_the_edges_of_the_picture_are_told_from_others():
    truth = disc((30, 30), 12)
    right, wrong = measured(
        [seen(truth, NEAR, picture=truth), seen(disc((34, 34), 8), NEAR, picture=truth)]
    )
    assert right["edge"] > wrong["edge"] + 0.5
    assert right["edge_alignment"] > wrong["edge_alignment"] + 0.5


def test_sizes_are_those_of_the_plane():
    near, far = measured([seen(disc((30, 30), 16), NEAR), seen(disc((30, 30), 16), FAR)])
    assert near["share_of_window"] == pytest.approx(0.5, abs=0.05)
    assert far["share_of_window"] == pytest.approx(0.25, abs=0.05)
    assert near["share_of_image"] == pytest.approx(far["share_of_image"], abs=0.15)


@pytest.mark.parametrize("radius", [0, 1, 12])
def test_masks_that_are_empty_or_not_clicked_are_measured_and_never_chosen(radius):
    good = disc((30, 30), 12)
    candidates = [
        seen(disc((52, 52), radius), NEAR, predicted_iou=0.9),
        seen(good, NEAR, picture=good, is_best=False),
        seen(good, FAR, picture=good),
    ]
    assert np.isfinite(measure(candidates, [(30, 30)], plane=PLANE)).all()
    picture = np.repeat((200 * good)[..., None], 3, -1).astype(np.uint8)
    sight = {"plane": PLANE, "read": lambda part: picture[part.slices]}
    assert draw(candidates, [(30, 30)], **sight).shape == (3, CHANNELS, SIDE, SIDE)
    assert choose(candidates, [(30, 30)], **sight) in (1, 2)


def test_several_clicks_may_lie_outside_a_window():
    candidates = [seen(disc((30, 30), 12), NEAR), seen(disc((90, 90), 12), FAR)]
    near, far = measured(candidates, [(30.0, 30.0), (90.0, 90.0)])
    assert near["centredness"] > 0.85
    assert far["centredness"] > 0.85
