"""Images are left for others and come back to: their layers are called and shown as before."""

import pytest

NAMES = ("SAM 2 masks", "SAM 2 boxes", "SAM 2 scribbles", "SAM 2 points")


@pytest.fixture
def work(begin_session, images):
    """A session in which something was said of an image, and another image."""
    viewer, session = begin_session()
    first = viewer.add_image(images, name="first")
    viewer.layers["SAM 2 points"].add([3, 20, 29])
    session.controller.wait()
    return viewer, session, first, viewer.add_image(images[:, ::-1], name="second")


def state(layers):
    return [(layer.name, layer.visible) for layer in layers]


def test_layers_are_called_after_an_image_that_was_left(work):
    _viewer, session, first, second = work
    ours = session.active.layers
    session.choose([second])
    assert state(ours) == [
        *[("SAM 2 masks · first", True)],
        *[(f"{name} · first", False) for name in NAMES[1:]],
    ]
    session.choose([first])
    assert state(ours) == [(name, True) for name in NAMES]


def test_a_layer_with_the_same_name_is_in_nobodys_way(work):
    viewer, session, first, second = work
    ours = session.active.layers
    session.choose([second])
    viewer.layers["SAM 2 points"].add([1, 20, 29])
    session.controller.wait()
    # Its layers stay, called after it; so napari numbers those of another image of that name.
    viewer.layers.remove(second)
    session.choose([first])
    again = viewer.add_image(second.data, name="second")
    session.choose([again])
    viewer.layers["SAM 2 points"].add([1, 20, 29])
    session.controller.wait()
    theirs = session.active.layers
    session.choose([first])
    assert [layer.name for layer in theirs] == [f"{name} · second [1]" for name in NAMES]
    assert state(ours) == [(name, True) for name in NAMES]
    session.choose([again])
    assert state(theirs) == [(name, True) for name in NAMES]


def test_what_a_person_called_and_hid_stays_so(work):
    _viewer, session, first, second = work
    masks, boxes, _, points = ours = session.active.layers
    points.name, boxes.visible, masks.visible = "mine", False, False
    session.choose([second])
    assert points.name == "mine · first"
    assert not any(layer.visible for layer in ours)
    masks.name = "the best"
    session.choose([first])
    assert [layer.name for layer in ours] == ["the best", *NAMES[1:3], "mine"]
    assert [layer.visible for layer in ours] == [False, False, True, True]


def test_only_of_the_image_in_use_it_is_said_that_it_was_removed(work):
    viewer, session, first, second = work
    session.choose([second])
    viewer.layers.remove(first)
    assert session.problem == ""
    assert session.active is not None
    third = viewer.add_image(second.data, name="third")
    viewer.layers.remove(second)
    assert session.problem == "'second' was removed; its masks stay. Choose another image above."
    session.choose([third])
    assert session.problem == ""


def test_an_image_that_is_let_go_of_hears_nothing_more(work):
    _viewer, session, first, second = work
    controller = session.controller
    heard = controller.processed, controller.masks_changed, controller.stepped
    before = [len(signal) for signal in heard]
    session.choose([second])
    assert [len(signal) for signal in heard] == [count + 1 for count in before]
    # Nothing was said of it.
    session.choose([first])
    assert [len(signal) for signal in heard] == before


def test_layers_of_an_image_that_was_removed_are_hidden_when_there_is_another(work):
    """Not at once: napari may crash when an image is opened and Labels are all that is visible."""
    viewer, session, first, second = work
    ours = session.active.layers
    viewer.layers.remove(second)
    viewer.layers.remove(first)
    assert state(ours) == [(f"{name} · first", True) for name in NAMES]
    viewer.add_image(first.data, name="again")
    assert state(ours) == [
        *[("SAM 2 masks · first", True)],
        *[(f"{name} · first", False) for name in NAMES[1:]],
    ]
    assert state(session.active.layers) == [(name, True) for name in NAMES]


def test_layers_of_an_image_of_which_nothing_was_said_go_at_once(begin_session, images):
    viewer, session = begin_session()
    viewer.add_image(images, name="first")
    ours = session.active.layers
    second = viewer.add_image(images[:, ::-1], name="second")
    told = []
    viewer.layers.events.removed.connect(lambda event: told.append(event.value))
    viewer.layers.events.end_batch.connect(lambda event: told.append("all"))
    session.choose([second])
    # For each batch napari collects garbage, for half a second.
    assert told == [*ours, "all"]
