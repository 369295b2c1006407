"""An object that is not on a slice: a person says so once, and it ends there."""

import numpy as np
import pytest

from sam2_plugins.napari_plugin.document import PlaneObject
from sam2_plugins.napari_plugin.prompts import (
    Click,
    Drawing,
    MaskPixels,
    SlicePrompts,
    make_orders,
)

POINTS, MASKS = "SAM 2 points", "SAM 2 masks"
FIRST, LAST = 2, 5
"""Slices on which the object is; what looks the same before and after is another."""


@pytest.fixture
def widget_model(quick_nano):
    return quick_nano


@pytest.fixture
def work(open_widget, settle):
    """A disk that is on every slice was clicked on, on one, and carried both ways."""
    rows, columns = np.mgrid[:48, :64]
    images = np.full((9, 48, 64), 40, np.uint8)
    images[:, (rows - 24) ** 2 + (columns - 30) ** 2 < 80] = 180
    images += np.random.default_rng(0).integers(0, 20, images.shape, np.uint8)
    viewer, widget = open_widget()
    viewer.add_image(images, axis_labels=("z", "y", "x"))
    widget.session.active.show_slice(4)
    viewer.layers[POINTS].add([4, 24, 30])
    settle(widget)
    widget.controller.propagate()
    settle(widget)
    return viewer, widget


def found(viewer):
    """Slices on which the object is drawn."""
    return np.flatnonzero((np.asarray(viewer.layers[MASKS].data) == 1).any(axis=(1, 2))).tolist()


def test_an_object_ends_where_it_is_said_not_to_be(work, settle, press):
    viewer, widget = work
    assert found(viewer) == list(range(9))
    for frame in (LAST + 1, FIRST - 1):
        widget.session.active.show_slice(frame)
        press(viewer, "H")
        settle(widget)
        assert frame not in found(viewer)
    widget.controller.propagate()
    settle(widget)
    assert found(viewer) == list(range(FIRST, LAST + 1))
    scores = widget.controller.document.scores[PlaneObject(widget.controller.plane, 1)]
    assert [scores[z].area for z in range(9) if not FIRST <= z <= LAST] == [0] * 5
    for _ in range(3):
        assert widget.controller.undo()
    settle(widget)
    assert found(viewer) == list(range(9))


def test_a_click_afterwards_finds_it_again(work, settle):
    viewer, widget = work
    widget.session.active.show_slice(6)
    was = (np.asarray(viewer.layers[MASKS].data)[6] == 1).sum()
    widget.prompt.absent.click()
    settle(widget)
    assert 6 not in found(viewer)
    viewer.layers[POINTS].add([6, 24, 30])
    settle(widget)
    assert (np.asarray(viewer.layers[MASKS].data)[6] == 1).sum() > 0.7 * was


def test_where_nothing_says_where_an_object_is_there_is_a_word(work, settle):
    viewer, widget = work
    failures = []
    widget.controller.failed.connect(failures.append)
    widget.controller.new_object()
    widget.prompt.absent.click()
    widget.controller.select_object(1)
    widget.session.active.show_slice(4)
    widget.prompt.absent.click()
    settle(widget)
    assert failures == [
        f"object {i} has no prompts on other slices: click on it where it is" for i in (2, 1)
    ]
    assert 4 in found(viewer)


def test_that_it_is_there_weighs_more_than_that_it_is_not(controller):
    nothing = MaskPixels.pack(np.zeros((48, 64), bool))
    assert nothing.is_blank
    box = Drawing("rectangle", ((2, 2), (9, 2), (9, 9), (2, 9)))
    for said, has_mask in (
        (SlicePrompts(mask=nothing), True),
        (SlicePrompts((Click(5, 5, 0),), mask=nothing), True),
        (SlicePrompts((Click(5, 5, 1),), mask=nothing), False),
        (SlicePrompts(drawings=(box,), mask=nothing), False),
    ):
        assert (make_orders(said, controller.plane).mask is not None) == has_mask
