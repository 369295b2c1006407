"""Where the viewer stands: beyond an image, nothing can be said of it."""

import numpy as np

from sam2_plugins.napari_plugin.propagate_panel import UP_TO_DATE

POINTS = "SAM 2 points"


def test_beyond_an_image_a_word_says_why_clicks_do_nothing(open_widget, settle, images):
    """Another image is longer, so its slider goes to where the first one has no slices."""
    viewer, widget = open_widget()
    short = viewer.add_image(images[:2], name="short")
    viewer.add_image(images, name="long")
    widget.session.choose([short])
    viewer.dims.set_point(0, 1)
    assert widget.image.notice.text() == ""
    viewer.dims.set_point(0, 5)
    assert "beyond this image" in widget.image.notice.text()
    viewer.layers[POINTS].add([5, 20, 29])
    settle(widget)
    assert not widget.controller.document.prompts
    viewer.dims.set_point(0, 0)
    assert widget.image.notice.text() == ""
    assert widget.controller.slice_index == 0


def test_along_an_axis_that_is_not_walked_too(begin_session, images):
    viewer, session = begin_session()
    volumes = viewer.add_image(images[None], axis_labels=("t", "z", "y", "x"))
    viewer.add_image(images[None].repeat(3, 0), axis_labels=("t", "z", "y", "x"))
    session.choose([volumes])
    assert session.active.problem == ""
    viewer.dims.set_point(0, 2)
    assert "beyond this image" in session.active.problem
    # The strip still leads to slices of the image.
    assert session.controller.plane is not None


def test_in_3d_nothing_can_be_said_and_nothing_that_was_tried_is_said_later(
    open_widget, settle, images
):
    viewer, widget = open_widget()
    viewer.add_image(images)
    viewer.layers[POINTS].add([3, 20, 29])
    settle(widget)
    said, failures = dict(widget.controller.document.prompts), []
    widget.controller.failed.connect(failures.append)
    viewer.dims.ndisplay = 3
    viewer.layers[POINTS].add([5, 40, 50])
    corners = np.array([[5, 2, 2], [5, 2, 9], [5, 9, 9], [5, 9, 2]])
    viewer.layers["SAM 2 boxes"].add([corners], shape_type="rectangle")
    assert failures == [widget.session.active.problem] * 2
    assert "Ctrl+Y" in failures[0]
    assert "Ctrl+Y" in widget.propagate.both.toolTip()
    assert [len(viewer.layers[name].data) for name in (POINTS, "SAM 2 boxes")] == [1, 0]
    widget.controller.propagate()  # by its key, which works in 3D
    settle(widget)
    widget.controller.propagate()
    settle(widget)
    assert widget.propagate.notice.text() == UP_TO_DATE
    # What is there already can be taken away.
    viewer.dims.ndisplay = 2
    settle(widget)
    assert widget.controller.document.prompts == said
    viewer.dims.ndisplay = 3
    viewer.layers[POINTS].selected_data = {0}
    viewer.layers[POINTS].remove_selected()
    assert not widget.controller.document.prompts
