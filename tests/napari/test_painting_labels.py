"""Painting with napari's own labels: the one that is selected there is the current object."""

import numpy as np
import pytest

POINTS, MASKS = "SAM 2 points", "SAM 2 masks"


@pytest.fixture
def work(begin_session, images):
    """A viewer with the stack, its controller, and two objects that were clicked on."""
    viewer, session = begin_session()
    viewer.add_image(images)
    viewer.dims.set_point(0, 0)
    controller = session.controller
    for place in ([0, 20, 20], [0, 20, 50]):
        controller.new_object()
        viewer.layers[POINTS].add(place)
        controller.wait()
    return viewer, controller


def stroke(layer, place):
    """One stroke by hand, with whatever label is selected."""
    layer.brush_size = 3
    with layer.block_history():
        layer.paint(place, layer.selected_label)


def test_a_new_label_stays_selected_from_stroke_to_stroke(work):
    viewer, controller = work
    layer = viewer.layers[MASKS]
    layer.selected_label = 3  # as napari's key M and button "new" do
    for column in (5, 12):
        stroke(layer, (0, 45, column))
        controller.wait()
    assert (layer.selected_label, controller.current_object) == (3, 3)
    assert [layer.data[0, 45, column] for column in (5, 12)] == [3, 3]
    assert {key.object_id for key in controller.document.prompts} == {1, 2, 3}


def test_a_label_stays_selected_while_answers_come(work):
    viewer, controller = work
    layer = viewer.layers[MASKS]
    layer.selected_label = 9
    controller.propagate()
    controller.wait()
    assert layer.selected_label == 9
    # It is no object before something is painted.
    assert sorted(controller.document.objects) == [1, 2]


def test_a_label_that_is_picked_makes_its_object_current(work):
    viewer, controller = work
    layer = viewer.layers[MASKS]
    layer.selected_label = 1
    assert controller.current_object == 1
    assert viewer.layers[POINTS].feature_defaults["object"].tolist() == [1]
    layer.selected_label = 0
    assert controller.current_object == 1


def test_a_new_object_is_painted_with_its_own_label(work):
    viewer, controller = work
    layer = viewer.layers[MASKS]
    layer.selected_label = 1
    assert controller.new_object() == layer.selected_label == 3
    controller.undo()
    controller.select_object(2)
    assert layer.selected_label == 2
    # Erasing on one object does not make another current.
    layer.brush_size = 40
    with layer.block_history():
        layer.paint((0, 20, 20), 0)
    controller.wait()
    assert controller.current_object == layer.selected_label == 2
    assert not np.any(layer.data[0, 18:22, 18:22])


@pytest.mark.parametrize("by", ["brush", "bucket"])
def test_what_is_painted_in_three_dimensions_is_said_of_every_slice(work, by):
    viewer, controller = work
    layer = viewer.layers[MASKS]
    before = layer.data.copy()
    layer.n_edit_dimensions, layer.brush_size = 3, 5
    layer.selected_label = 3
    viewer.dims.set_point(0, 4)
    with layer.block_history():
        if by == "brush":
            layer.paint((4, 40, 50), 3)
        else:
            layer.fill((4, 40, 50), 3)
    painted = layer.data == 3
    frames = np.flatnonzero(painted.any(axis=(1, 2))).tolist()
    assert len(frames) > 4
    controller.wait()
    said = {key: prompts for key, prompts in controller.document.prompts.items()
            if key.object_id == 3}  # fmt: skip
    assert [key.frame_index for key in said] == frames
    for key, prompts in said.items():
        assert np.array_equal(prompts.mask.unpack(), painted[key.frame_index])
    assert np.array_equal(layer.data == 3, painted)
    # Another object is on some of these slices, and was not painted on.
    assert {key.object_id for key in controller.document.prompts} == {1, 2, 3}
    assert len(controller.document.prompts) == 2 + len(frames)
    controller.undo()
    controller.wait()
    assert np.array_equal(layer.data, before)
    controller.redo()
    controller.wait()
    assert np.array_equal(layer.data == 3, painted)


def test_a_brush_of_four_dimensions_is_heard_at_every_time_point(begin_session, images):
    viewer, session = begin_session()
    viewer.add_image(np.stack([images, images]), axis_labels=("t", "z", "y", "x"))
    layer = viewer.layers[MASKS]
    layer.n_edit_dimensions, layer.brush_size = 4, 3
    with layer.block_history():
        layer.paint((0, 4, 40, 50), 1)
    frames = {(int(t), int(z)) for t, z in np.argwhere((layer.data == 1).any((2, 3)))}
    session.controller.wait()
    said = session.controller.document.prompts
    assert {(dict(key.plane.fixed)[0], key.frame_index) for key in said} == frames
    assert {time for time, _ in frames} == {0, 1}
