import numpy as np
import pytest

from sam2_plugins.napari_plugin.layers import choose_plane
from sam2_plugins.napari_plugin.prompts import (
    Click,
    Drawing,
    MaskPixels,
    PromptKey,
    SlicePrompts,
    changes,
    drawn_area,
    drawn_box,
    gather,
    make_orders,
    stroke_clicks,
)

PLANE = choose_plane((5, 20, 30), (1, 2), point=(0, 0, 0))


def rectangle(x0, y0, x1, y1):
    return Drawing("rectangle", ((x1, y0), (x0, y0), (x0, y1), (x1, y1)))


def test_a_box_is_the_same_however_it_was_drawn():
    assert drawn_box(rectangle(2, 3, 9, 8), (20, 30)) == (2, 3, 9, 8)
    assert drawn_box(rectangle(9, 8, 2, 3), (20, 30)) == (2, 3, 9, 8)


def test_a_box_is_cut_to_the_frame_and_never_empty():
    assert drawn_box(rectangle(-5, -5, 99, 4), (20, 30)) == (0, 0, 30, 4)
    assert drawn_box(rectangle(5, 6, 5.2, 6.1), (20, 30)) == (5, 6, 6, 7)
    assert drawn_box(rectangle(31, 2, 40, 9), (20, 30)) is None


def test_a_scribble_is_clicks_along_its_length():
    clicks = stroke_clicks(Drawing("path", ((0, 0), (10, 0), (10, 10)), label=0), count=4)
    assert [(c.x, c.y) for c in clicks] == [(2.5, 0), (7.5, 0), (10, 2.5), (10, 7.5)]
    assert {c.label for c in clicks} == {0}
    assert stroke_clicks(Drawing("line", ((3, 4), (3, 4)))) == [Click(3, 4, 1)]


def test_a_polygon_covers_the_pixels_inside():
    area = drawn_area(Drawing("polygon", ((2, 3), (8, 3), (8, 9), (2, 9))), (20, 30))
    assert area[5, 5]
    assert not area[12, 5]
    assert area.sum() == pytest.approx(36, abs=14)


@pytest.mark.parametrize("turn", [0.0, 0.7, 1.57])
def test_an_ellipse_covers_the_ellipse_in_its_box(turn):
    corners = np.array([[-8, -4], [8, -4], [8, 4], [-8, 4]])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    vertices = tuple(map(tuple, corners @ rotation.T + (15, 12)))
    area = drawn_area(Drawing("ellipse", vertices), (24, 30))
    rows, columns = np.mgrid[:24, :30]
    x, y = rotation.T @ [(columns - 15).ravel(), (rows - 12).ravel()]
    wanted = ((x / 8) ** 2 + (y / 4) ** 2 < 1).reshape(24, 30)
    assert (area & wanted).sum() / (area | wanted).sum() > 0.8


def test_masks_are_packed_and_equal_by_content():
    mask = np.random.default_rng(0).random((7, 9)) > 0.5
    assert np.array_equal(MaskPixels.pack(mask).unpack(), mask)
    assert MaskPixels.pack(mask) == MaskPixels.pack(mask.astype(np.uint8) * 3)


def test_orders_leave_out_what_is_off_the_frame():
    prompts = SlicePrompts(clicks=(Click(-0.3, 4, 1), Click(50, 4, 1), Click(3, 19.4, 0)))
    assert make_orders(prompts, PLANE).clicks == (Click(0, 4, 1), Click(3, 19.4, 0))


def test_an_area_comes_instead_of_a_box_and_scribbles_after_clicks():
    lasso = Drawing("polygon", ((2, 3), (8, 3), (8, 9), (2, 9)))
    line = Drawing("line", ((4, 4), (12, 4)))
    prompts = SlicePrompts((Click(1, 1, 0),), (rectangle(2, 3, 9, 8), lasso, line))
    orders = make_orders(prompts, PLANE)
    assert orders.box is None
    assert orders.mask.unpack()[5, 5]
    assert orders.clicks[0] == Click(1, 1, 0)
    assert len(orders.clicks) == 9


def test_changes_are_found_and_what_is_gone_is_empty():
    key, gone = PromptKey(PLANE, 0, 1), PromptKey(PLANE, 3, 1)
    old = {key: SlicePrompts((Click(1, 1, 1),)), gone: SlicePrompts((Click(2, 2, 1),))}
    new = gather([(key, Click(1, 1, 1)), (key, Click(5, 5, 0))], [], {})
    assert changes(old, new) == [(key, new[key]), (gone, SlicePrompts())]
    assert changes(new, new) == []
