"""A person says what axes mean: channels, depth, time."""

import numpy as np
import pytest

from sam2_plugins.napari_plugin.axes import axis_role, axis_title, give_role
from sam2_plugins.napari_plugin.frames import PlaneFrames
from sam2_plugins.napari_plugin.naming_axes import choose_role

POINTS, MASKS = "SAM 2 points", "SAM 2 masks"


def test_roles_of_axes_are_read_from_their_labels():
    assert [axis_role(x) for x in ("Z", "time", "c", "-3", "y")] == [
        *("depth", "time", "channel"),
        *(None, None),
    ]


def test_an_axis_gets_a_role_and_the_one_that_had_it_loses_it():
    assert give_role(("-4", "-3", "-2", "-1"), 1, "channel") == ("-4", "c", "-2", "-1")
    assert give_role(("z", "c", "y", "x"), 1, "depth") == ("-4", "z", "y", "x")
    assert give_role(("t", "c", "y", "x"), None, "channel") == ("t", "-3", "y", "x")
    assert [axis_title(("z", "-3", ""), a) for a in range(3)] == ["z", "axis 1", "axis 2"]


@pytest.fixture(scope="module")
def pixels():
    """(4, 3, 40, 48) uint16: four channels of three slices; the second has the disks."""
    found = np.random.default_rng(0).integers(0, 60, (4, 3, 40, 48), np.uint16)
    rows, columns = np.mgrid[:40, :48]
    for z in range(3):
        found[1, z][np.hypot(rows - 18, columns - 14 - 4 * z) < 7] += 2000
    return found


def drawn(viewer) -> np.ndarray:
    return np.asarray(viewer.layers[MASKS].data)


def test_channels_are_chosen_and_what_was_said_before_stays_apart(begin_session, pixels):
    viewer, session = begin_session()
    image = viewer.add_image(pixels)
    controller = session.controller
    assert (controller.plane.frame_axis, controller.plane.channel_axis) == (1, None)
    viewer.layers[POINTS].add([0, 1, 18, 18])
    controller.wait()
    first, document = session.active, controller.document
    assert drawn(viewer)[0, 1].any()
    assert not drawn(viewer)[1].any()

    choose_role(session, "channel", 0)
    assert image.axis_labels == ("c", "-3", "-2", "-1")
    assert session.active is not first
    plane = controller.plane
    assert (plane.frame_axis, plane.channel_axis, plane.fixed) == (1, 0, ())
    stack = controller.document.stack
    assert stack.channels == (0, 1, 2)
    assert PlaneFrames(stack, plane).read(1).shape == (40, 48, 3)
    assert stack.signature != document.stack.signature
    assert not controller.document.prompts
    assert not drawn(viewer).any()
    viewer.layers[POINTS].add([2, 2, 18, 22])
    controller.wait()
    assert all(drawn(viewer)[c, 2].any() for c in range(4))
    assert len(document.prompts) == 1

    # Back: all is as it was, and the layers of both are there.
    choose_role(session, "channel", None)
    assert session.active is first
    assert controller.document is document
    assert viewer.layers[POINTS].data.tolist() == [[0, 1, 18, 18]]
    assert not drawn(viewer)[1].any()
    choose_role(session, "channel", 0)
    assert len(session.bindings) == 2
    assert viewer.layers[POINTS].data[:, 1].tolist() == [2]
    viewer.layers[POINTS].add([0, 0, 18, 14])
    controller.wait()
    assert drawn(viewer)[3, 0].any()


def test_without_prompts_nothing_is_left_behind(begin_session, pixels):
    viewer, session = begin_session()
    viewer.add_image(pixels)
    choose_role(session, "channel", 0)
    assert len(session.bindings) == 1
    assert [layer.name for layer in viewer.layers][1:] == [
        *(MASKS, "SAM 2 boxes", "SAM 2 scribbles", POINTS)
    ]
    viewer.layers[POINTS].add([1, 1, 18, 18])
    session.controller.wait()
    assert drawn(viewer)[3, 1].any()


def test_depth_and_time_say_what_is_walked_and_keep_what_was_said(begin_session, pixels):
    viewer, session = begin_session()
    image = viewer.add_image(pixels)
    controller = session.controller
    viewer.layers[POINTS].add([0, 1, 18, 18])
    controller.wait()
    document = controller.document
    choose_role(session, "depth", 0)
    assert controller.document is document
    assert (controller.plane.frame_axis, controller.plane.fixed) == (0, ((1, 1),))
    assert viewer.layers[MASKS].axis_labels == image.axis_labels == ("z", "-3", "-2", "-1")
    choose_role(session, "time", 1)
    assert document.stack.time_axis(controller.plane) == 1
    choose_role(session, "depth", 1)
    assert image.axis_labels == ("-4", "z", "-2", "-1")
    assert controller.plane.frame_axis == 1
    assert len(document.prompts) == 1
    assert drawn(viewer)[0, 1].any()
    # A layer of ours that is deleted comes back with the names as they are now.
    viewer.layers.remove(viewer.layers[POINTS])
    session.active.ensure_layers()
    assert viewer.layers[POINTS].axis_labels == image.axis_labels


def test_channels_that_were_displayed_go_on_a_slider(begin_session, pixels):
    """Channels last, of which five are no colours: the viewer shows them as columns at first."""
    viewer, session = begin_session()
    last = np.moveaxis(pixels, 0, -1)[..., [0, 1, 2, 3, 0]]
    viewer.add_image(last, rgb=False)
    assert viewer.dims.displayed == (2, 3)
    choose_role(session, "channel", 3)
    assert viewer.dims.displayed == (1, 2)
    plane = session.controller.plane
    assert (plane.frame_axis, plane.y_axis, plane.x_axis, plane.channel_axis) == (0, 1, 2, 3)
    assert not session.active.problem
    viewer.layers[POINTS].add([1, 18, 18, 2])
    session.controller.wait()
    assert drawn(viewer)[1, :, :, 4].any()


def test_a_run_goes_on_for_nobody_when_channels_are_chosen(begin_session, pixels):
    viewer, session = begin_session()
    viewer.add_image(pixels)
    controller = session.controller
    viewer.layers[POINTS].add([0, 0, 18, 14])
    controller.propagate()
    choose_role(session, "channel", 0)
    controller.wait()
    assert not controller.is_running
    assert not drawn(viewer).any()


def test_the_panel_asks_in_words(open_widget, settle, pixels):
    viewer, widget = open_widget()
    panel = widget.image.axes
    viewer.add_image(pixels[0], name="stack")
    assert panel.isVisibleTo(widget)
    assert not panel.roles["channel"].isVisibleTo(widget)
    image = viewer.add_image(pixels, name="hyperstack")
    widget.image.image.setCurrentIndex(widget.image.image.findText("hyperstack"))
    widget.image.image.activated.emit(widget.image.image.currentIndex())
    combo = panel.roles["channel"]
    assert combo.isVisibleTo(widget)
    assert "Nothing says what these axes mean" in panel.notice.text()
    assert [combo.itemText(i) for i in range(combo.count())] == [
        *("none of them", "axis 0, 4 long", "axis 1, 3 long"),
        *("axis 2, 40 long", "axis 3, 48 long"),
    ]
    assert combo.currentText() == "none of them"
    combo.setCurrentIndex(1)
    combo.activated.emit(1)
    assert combo.currentText() == "c, 4 long"
    assert image.axis_labels[0] == "c"
    channels = widget.image.channels
    assert [channels.item(i).text() for i in range(channels.count())] == [
        "c 0",
        "c 1",
        "c 2",
        "c 3",
    ]
    assert not panel.notice.text()
    viewer.layers[POINTS].add([0, 1, 18, 18])
    settle(widget)
    assert drawn(viewer)[2, 1].any()
    panel.roles["depth"].setCurrentIndex(2)
    panel.roles["depth"].activated.emit(2)
    assert image.axis_labels[:2] == ("c", "z")
    assert len(widget.controller.document.prompts) == 1
    viewer.add_image(pixels[0, 0], name="plane")
    widget.image.image.setCurrentIndex(widget.image.image.findText("plane"))
    widget.image.image.activated.emit(widget.image.image.currentIndex())
    assert not panel.isVisibleTo(widget)
