"""The story in a real window: layers, keys and buttons."""

import gc

import numpy as np
import pytest
import torch
from napari.layers import Labels
from qtpy.QtCore import Qt

from conftest import make_model
from sam2_plugins.napari_plugin import models
from sam2_plugins.napari_plugin.widget import Sam2Widget

TIMEOUT_MS = 180_000
POINTS, BOXES, MASKS = "SAM 2 points", "SAM 2 boxes", "SAM 2 masks"


def areas(viewer):
    return (np.asarray(viewer.layers[MASKS].data) > 0).sum((1, 2)).tolist()


def test_the_story(open_widget, settle, press, images, qtbot):
    viewer, widget = open_widget()
    assert "Open an image" in widget.image.notice.text()
    assert not widget.propagate.both.isEnabled()
    viewer.add_image(images, scale=(3, 0.5, 0.5), translate=(1, 2, 3))
    points, masks = viewer.layers[POINTS], viewer.layers[MASKS]
    qtbot.waitUntil(lambda: viewer.layers.selection.active is points, timeout=TIMEOUT_MS)
    assert np.allclose(masks.scale, (3, 0.5, 0.5))

    points.add([3, 20, 29])
    assert widget.controller.is_busy
    settle(widget)
    assert areas(viewer)[3] > 0
    assert points.features["object"].tolist() == [1]
    assert points.features["polarity"].tolist() == ["positive"]

    press(viewer, "T")
    points.add([3, 40, 60])
    settle(widget)
    assert points.features["polarity"].tolist() == ["positive", "negative"]
    two = masks.data[3].copy()

    qtbot.mouseClick(widget.prompt.undo, Qt.MouseButton.LeftButton)
    settle(widget)
    assert len(points.data) == 1
    press(viewer, "Ctrl+Shift+Z")
    settle(widget)
    assert len(points.data) == 2
    assert np.array_equal(masks.data[3], two)

    qtbot.mouseClick(widget.propagate.both, Qt.MouseButton.LeftButton)
    settle(widget)
    assert all(areas(viewer))
    assert sorted(widget.propagate.strip.facts.scores) == list(range(8))
    assert widget.propagate.strip.facts.prompted == {3}
    assert widget.objects.table.item(0, 2).text() == "8"


def test_the_story_goes_on(open_widget, settle, press, images):
    viewer, widget = open_widget()
    viewer.add_image(images, scale=(3, 0.5, 0.5), translate=(1, 2, 3))
    points, masks = viewer.layers[POINTS], viewer.layers[MASKS]
    points.add([[3, 20, 29], [3, 40, 60]])
    widget.controller.propagate()
    settle(widget)

    viewer.dims.set_point(0, 1 + 3 * 5)
    assert widget.controller.slice_index == 5
    press(viewer, "J")
    settle(widget)
    assert widget.propagate.strip.facts.confirmed == {5}
    locked = masks.data[5].copy()

    data = points.data.copy()
    data[0] = [3, 22, 30]
    points.data = data
    settle(widget)
    press(viewer, "Shift+S")
    settle(widget)
    assert np.array_equal(masks.data[5], locked)

    press(viewer, "N")
    assert widget.controller.current_object == 2
    corners = [[5, 30, 5], [5, 30, 18], [5, 44, 18], [5, 44, 5]]
    viewer.layers[BOXES].add_rectangles(np.array(corners))
    settle(widget)
    assert viewer.layers[BOXES].features["object"].tolist() == [2]
    press(viewer, "K")
    assert len(viewer.layers[BOXES].data) == 0
    widget.controller.reopen(2)
    assert len(viewer.layers[BOXES].data) == 1

    points.selected_data = {0, 1}
    points.remove_selected()
    settle(widget)
    prompts = widget.controller.document.prompts
    assert {key.object_id for key in prompts} == {2}
    assert widget.controller.current_object == 1  # its points were selected
    assert widget.propagate.strip.facts.prompted == frozenset()
    assert widget.propagate.strip.facts.confirmed == {5}


def test_without_prompts_an_object_is_gone_and_undo_brings_it_back(open_widget, settle, images):
    viewer, widget = open_widget()
    viewer.add_image(images)
    points, masks = viewer.layers[POINTS], viewer.layers[MASKS]
    points.add([3, 20, 29])
    widget.controller.propagate()
    settle(widget)
    full = masks.data.copy()
    points.selected_data = {0}
    points.remove_selected()
    settle(widget)
    assert not masks.data.any()
    widget.controller.undo()
    settle(widget)
    assert np.array_equal(masks.data, full)


def test_a_click_with_ctrl_says_background(open_widget, settle, images):
    viewer, widget = open_widget()
    viewer.add_image(images)
    points = viewer.layers[POINTS]
    points.add([0, 20, 20])

    class Click:
        modifiers, button = ("Control",), 1

    points.mode = "add"
    points.mouse_drag_callbacks[0](points, Click())
    points.add([0, 5, 5])
    Click.modifiers = ()
    points.mouse_drag_callbacks[0](points, Click())
    points.add([0, 6, 6])
    settle(widget)
    assert points.features["polarity"].tolist() == ["positive", "negative", "positive"]


def test_painting_is_a_prompt(open_widget, settle, images):
    viewer, widget = open_widget()
    viewer.add_image(images)
    viewer.layers[POINTS].add([2, 20, 26])
    settle(widget)
    masks = viewer.layers[MASKS]
    viewer.dims.set_point(0, 2)
    masks.brush_size = 4
    masks.mode = "paint"
    row, column = np.argwhere(masks.data[2] == 0)[0]
    with masks.block_history():
        masks.paint((2, row, column), 1)
    settle(widget)
    assert masks.data[2, row, column] == 1
    assert len(viewer.layers[POINTS].data) == 0
    painted = masks.data[2].copy()
    widget.controller.propagate()
    settle(widget)
    assert np.array_equal(masks.data[2], painted)
    widget.controller.undo()
    widget.controller.undo()
    settle(widget)
    assert len(viewer.layers[POINTS].data) == 1
    assert masks.data[2, row, column] == 0


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1), (0, 2, 1)])
def test_any_displayed_order(open_widget, settle, images, order):
    viewer, widget = open_widget()
    viewer.add_image(images, scale=(3, 0.5, 0.5))
    viewer.dims.order = order
    plane = widget.controller.plane
    assert plane.frame_axis == order[0]
    viewer.layers[POINTS].add([4, 22, 33])
    settle(widget)
    masks = np.asarray(viewer.layers[MASKS].data)
    here = (4, 22, 33)[order[0]]
    assert masks.take(here, axis=order[0]).any()
    assert masks.any(axis=(order[1], order[2])).sum() == 1


def test_the_users_own_labels_are_drawn_into_and_not_overwritten(open_widget, settle, images):
    viewer, widget = open_widget()
    viewer.add_image(images)
    mine = np.zeros(images.shape, np.uint8)
    mine[:, :, :40] = 7
    labels = viewer.add_labels(mine, name="mine")
    combo = widget.output.target
    combo.setCurrentIndex(combo.findText("mine"))
    combo.activated.emit(combo.currentIndex())
    assert widget.controller.current_object == 8
    viewer.layers[POINTS].add([3, 20, 29])
    settle(widget)
    assert (labels.data[:, :, :40] == 7).all()
    assert set(np.unique(labels.data)) <= {0, 7, 8}
    assert (labels.data[3] == 8).any()
    assert not np.asarray(viewer.layers[MASKS].data).any()


def test_layers_are_deleted_and_renamed_while_a_run_goes_on(open_widget, settle, images):
    viewer, widget = open_widget()
    viewer.add_image(images)
    viewer.layers[POINTS].add([3, 20, 29])
    settle(widget)
    widget.controller.propagate()
    viewer.layers[POINTS].name = "renamed"
    viewer.layers.remove(viewer.layers[MASKS])
    settle(widget)
    widget.controller.confirm(3)
    settle(widget)
    assert all(areas(viewer))
    assert len(viewer.layers["renamed"].data) == 1
    viewer.layers.remove(viewer.layers["renamed"])
    assert len(widget.controller.document.prompts) == 1
    widget.controller.undo()
    widget.controller.propagate()
    settle(widget)
    assert len(viewer.layers[POINTS].data) == 1


def test_the_image_is_deleted_while_a_run_goes_on(open_widget, settle, images):
    viewer, widget = open_widget()
    viewer.add_image(images, name="stack")
    viewer.layers[POINTS].add([3, 20, 29])
    settle(widget)
    widget.controller.propagate()
    viewer.layers.remove("stack")
    settle(widget)
    assert "was removed" in widget.image.notice.text()
    # Its layers are called after it: another image's can be called as ours always are.
    assert np.asarray(viewer.layers[f"{MASKS} · stack"].data)[3].any()
    assert widget.controller.document is None


def test_the_widget_is_closed_and_reopened_while_a_run_goes_on(open_widget, settle, images, qtbot):
    viewer, widget = open_widget()
    viewer.add_image(images)
    viewer.layers[POINTS].add([3, 20, 29])
    settle(widget)
    controller = widget.controller
    controller.propagate()
    viewer.window.remove_dock_widget(widget)
    with qtbot.waitSignal(widget.destroyed, timeout=TIMEOUT_MS):
        widget.deleteLater()
    again = Sam2Widget(viewer)
    viewer.window.add_dock_widget(again, name="again")
    assert again.controller is controller
    settle(again)
    assert all(areas(viewer))
    viewer.layers[POINTS].add([3, 25, 30])
    settle(again)
    assert len(controller.document.done) == 3


def test_two_widgets_of_a_viewer_show_the_same(open_widget, settle, images):
    viewer, widget = open_widget()
    viewer.add_image(images)
    other = Sam2Widget(viewer)
    viewer.window.add_dock_widget(other, name="other")
    viewer.layers[POINTS].add([3, 20, 29])
    settle(widget)
    assert [type(layer) for layer in viewer.layers].count(Labels) == 1
    assert other.objects.table.item(0, 2).text() == "1"
    assert len(widget.controller.document.done) == 1


def test_the_viewer_is_closed_while_a_run_goes_on(open_widget, settle, images, qtbot):
    viewer, widget = open_widget()
    viewer.add_image(images)
    viewer.layers[POINTS].add([3, 20, 29])
    settle(widget)
    controller = widget.controller
    controller.propagate()
    viewer.close()
    del widget, viewer
    qtbot.waitUntil(lambda: gc.collect() >= 0 and not controller.is_busy, timeout=TIMEOUT_MS)


def test_two_images_are_worked_on_in_turn(open_widget, settle, images):
    viewer, widget = open_widget()
    viewer.add_image(images, name="first")
    viewer.layers[POINTS].add([3, 20, 29])
    settle(widget)
    viewer.add_image(images[:, ::-1], name="second")
    combo = widget.image.image
    combo.setCurrentIndex(combo.findText("second"))
    combo.activated.emit(combo.currentIndex())
    assert len(viewer.layers[POINTS].data) == 0
    viewer.layers[POINTS].add([1, 27, 23])
    settle(widget)
    assert [bool(a) for a in areas(viewer)] == [f == 1 for f in range(8)]
    combo.setCurrentIndex(combo.findText("first"))
    combo.activated.emit(combo.currentIndex())
    assert [bool(a) for a in areas(viewer)] == [f == 3 for f in range(8)]
    assert len(viewer.layers[POINTS].data) == 1


@pytest.mark.parametrize("after", [1, 3])
def test_a_run_ends_after_so_many_slices_without_the_object(
    open_widget, settle, images, qtbot, monkeypatch, after
):
    blind = make_model()
    with torch.no_grad():
        blind.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(-6)
    viewer, widget = open_widget()
    monkeypatch.setattr(models, "load", lambda choice: blind)
    viewer.add_image(images)
    viewer.layers[BOXES].add_polygons(np.array([[2, 12, 12], [2, 12, 30], [2, 28, 20]]))
    settle(widget)
    assert areas(viewer)[2] > 0
    widget.propagate.absent.setValue(after)
    qtbot.mouseClick(widget.propagate.forward, Qt.MouseButton.LeftButton)
    settle(widget)
    scores = widget.propagate.strip.facts.scores
    assert sorted(scores) == list(range(2, 3 + after))
    assert [score.area > 0 for _, score in sorted(scores.items())] == [True] + after * [False]
