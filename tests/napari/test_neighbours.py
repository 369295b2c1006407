"""Cells that touch, each an object: what was clicked on for one is not drawn as another."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.frames import make_stack
from sam2_plugins.napari_plugin.layers import choose_plane
from sam2_plugins.napari_plugin.prompts import Click, MaskPixels, PromptKey, SlicePrompts

HERE = 2
LEFT, RIGHT = (24, 24), (37, 24)


@pytest.fixture(scope="module")
def touching():
    """(5, 48, 64) uint8: two bright cells without a border; a click on either finds both."""
    rows, columns = np.mgrid[:48, :64]
    frame = np.full((48, 64), 40.0)
    beside = np.clip(columns, LEFT[0], RIGHT[0]) - columns
    frame[(rows - LEFT[1]) ** 2 + beside**2 < 50] = 200
    noise = np.random.default_rng(1).normal(0, 8, (5, 48, 64))
    return (gaussian_filter(frame, 1.5) + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def work(quick_nano, touching):
    made = Controller(quick_nano)
    made.open(make_stack([touching]))
    made.set_view(choose_plane(touching.shape, (1, 2), point=(0, 0, 0)), HERE)
    yield made
    made.close(20)


def say(controller, object_id, *clicks, mask=None):
    key = PromptKey(controller.plane, HERE, object_id)
    said = SlicePrompts(tuple(Click(*xy, label) for xy, label in clicks), mask=mask)
    controller.set_prompts([(key, said)])
    controller.wait()


def drawn(controller):
    """(48, 64) labels as the layer shows them."""
    found = controller._engine.labels(controller.plane, HERE)
    return np.select([found.mask(i) for i in (1, 2)], [1, 2], 0)


def told(controller, object_id):
    """Clicks as the tracker has them."""
    points = controller._engine.sessions[controller.plane].tracker.prompts[object_id][HERE].points
    return list(zip(points.xy, points.labels, strict=True))


@pytest.fixture
def both(work):
    """Each cell was clicked on, as an object of its own; and what the first click had found."""
    say(work, 1, (LEFT, 1))
    alone = drawn(work)
    assert label_at(alone, LEFT) == label_at(alone, RIGHT) == 1
    say(work, 2, (RIGHT, 1))
    return work, alone


def label_at(labels, xy):
    return labels[xy[1], xy[0]]


def test_what_was_clicked_on_for_an_object_is_drawn_as_it(both):
    work, _ = both
    labels = drawn(work)
    assert (label_at(labels, LEFT), label_at(labels, RIGHT)) == (1, 2)
    left, right = (np.count_nonzero(labels == i) for i in (1, 2))
    assert 0.5 < left / right < 2
    # The layers, and what is saved, have only what a person has said.
    assert sorted(len(said.clicks) for said in work.document.prompts.values()) == [1, 1]


def test_undo_and_redo_bring_back_both(both):
    work, alone = both
    apart = drawn(work)
    assert work.undo()
    work.wait()
    assert np.array_equal(drawn(work), alone)
    assert told(work, 1) == [(LEFT, 1)]
    assert work.redo()
    work.wait()
    assert np.array_equal(drawn(work), apart)


def test_an_object_has_its_mask_back_when_its_neighbour_is_gone(both):
    work, alone = both
    work.remove_object(2)
    work.wait()
    assert np.array_equal(drawn(work), alone)
    work.undo()
    say(work, 2, ((5, 5), 1))
    assert told(work, 1) == [(LEFT, 1)]


def test_neighbours_stay_apart_on_the_slices_they_are_carried_to(both):
    work, _ = both
    work.propagate()
    work.wait()
    for frame in range(5):
        labels = work._engine.labels(work.plane, frame)
        assert [labels.label_at(*xy) for xy in (LEFT, RIGHT)] == [1, 2]


def test_a_further_click_leaves_them_apart(both):
    work, _ = both
    say(work, 1, (LEFT, 1), ((22, 22), 1))
    labels = drawn(work)
    assert (label_at(labels, LEFT), label_at(labels, RIGHT)) == (1, 2)


def test_masks_that_were_painted_or_locked_stay_as_they_are(work):
    painted = np.zeros((48, 64), bool)
    painted[20:29, 22:40] = True
    say(work, 2, mask=MaskPixels.pack(painted))
    say(work, 1, (LEFT, 1))
    assert np.array_equal(work._engine.labels(work.plane, HERE).mask(2), painted)
    work.undo()
    work.undo()
    say(work, 1, (RIGHT, 1))
    work.confirm(HERE, object_id=1)
    work.wait()
    before = drawn(work) == 1
    say(work, 2, (LEFT, 1))
    masks = work._engine.sessions[work.plane].tracker.masks(HERE)
    assert np.array_equal(masks.masks[0], before)


def test_one_inside_another_is_no_conflict(quick_nano):
    """A nucleus in a cell is drawn on top of it: both are seen where they were clicked on."""
    rows, columns = np.mgrid[:48, :64]
    frame = np.full((48, 64), 40.0)
    for radius, value in ((18, 120), (5, 230)):
        frame[(rows - 24) ** 2 + (columns - 32) ** 2 < radius**2] = value
    noise = np.random.default_rng(1).normal(0, 4, (5, 48, 64))
    images = (gaussian_filter(frame, 1) + noise).clip(0, 255).astype(np.uint8)
    made = Controller(quick_nano)
    made.open(make_stack([images]))
    made.set_view(choose_plane(images.shape, (1, 2), point=(0, 0, 0)), HERE)
    say(made, 1, ((20, 24), 1), ((44, 24), 1), ((32, 38), 1))
    say(made, 2, ((32, 24), 1))
    cell, nucleus = made._engine.sessions[made.plane].tracker.masks(HERE).masks
    assert cell[24, 32]
    assert nucleus[24, 32]
    assert cell.sum() > 4 * nucleus.sum()
    assert [len(told(made, i)) for i in (1, 2)] == [3, 1]
    made.close(20)


def test_neighbours_are_apart_after_a_restart(begin_saved, quick_nano, touching, forget_to_save):
    for is_killed in (True, False):
        first, *_ = begin_saved(quick_nano, touching)
        first.set_view(choose_plane(touching.shape, (1, 2), point=(0, 0, 0)), HERE)
        if not first.document.prompts:
            say(first, 1, (LEFT, 1))
            say(first, 2, (RIGHT, 1))
        labels = drawn(first)
        assert (label_at(labels, LEFT), label_at(labels, RIGHT)) == (1, 2)
        if is_killed:
            forget_to_save(first)
        first.close(20)
        again, _, messages = begin_saved(quick_nano, touching)
        assert np.array_equal(drawn(again), labels)
        # Another object changes nothing of these two.
        say(again, 3, ((5, 40), 1))
        assert np.array_equal(drawn(again), labels)
        assert messages == []
        again.remove_object(3)
        again.wait()
        again.close(20)
