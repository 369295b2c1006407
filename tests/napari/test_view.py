"""Where the viewer stands: beyond an image, nothing can be said of it."""

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
