"""What shares a layer: planes that cross, a person's own labels, finished objects, moved images."""

import numpy as np
import pytest
import tifffile

from sam2_plugins.napari_plugin.prompts import Click, PromptKey

pytestmark = pytest.mark.timeout(900)
POINTS, MASKS = "SAM 2 points", "SAM 2 masks"


def paint(layer, position, object_id, size=10):
    """A stroke as by hand: it is told of when it is drawn."""
    layer.selected_label, layer.brush_size = object_id, size
    with layer.block_history():
        layer.paint(position, object_id)


@pytest.fixture
def open_stack(begin_session, images):
    """A viewer with the stack, and the session that works on it."""
    viewer, session = begin_session()
    viewer.add_image(images, name="stack")
    viewer.dims.set_point(0, 0)
    return viewer, session


@pytest.fixture
def painted(open_stack):
    """Two objects, painted on every slice."""
    viewer, session = open_stack
    masks = viewer.layers[MASKS]
    for z in range(8):
        viewer.dims.set_point(0, z)
        for object_id, column in ((1, 20), (2, 45)):
            paint(masks, (z, 20, column), object_id)
            session.controller.wait()
    return viewer, session


def count(masks, *where):
    return [int((masks.data[where] == object_id).sum()) for object_id in (1, 2)]


def test_a_click_from_the_side_takes_nothing_from_other_objects(painted):
    viewer, session = painted
    masks, controller = viewer.layers[MASKS], session.controller
    before = count(masks, slice(None))
    assert min(before) > 0
    controller.new_object()
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_point(1, 20)
    viewer.layers[POINTS].add([4, 20, 32])
    controller.wait()
    assert (masks.data[:, 20] == 3).any()
    assert count(masks, slice(None)) == before
    controller.undo()
    controller.wait()
    assert not (masks.data == 3).any()
    assert count(masks, slice(None)) == before


def test_a_stroke_from_the_side_is_of_the_painted_object_alone(painted):
    viewer, session = painted
    document = session.controller.document
    before = set(document.prompts)
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_point(1, 22)
    paint(viewer.layers[MASKS], (4, 22, 60), 3, size=4)
    session.controller.wait()
    assert {key.object_id for key in set(document.prompts) - before} == {3}
    # Over another object, both are what was painted: the one grew, the other shrank.
    before = dict(document.prompts)
    paint(viewer.layers[MASKS], (4, 22, 45), 3, size=4)
    session.controller.wait()
    changed = {k.object_id for k, said in document.prompts.items() if before.get(k) != said}
    assert changed == {2, 3}


def test_strokes_by_code_are_read_when_they_are_drawn(open_stack):
    viewer, session = open_stack
    masks = viewer.layers[MASKS]
    masks.brush_size = 6
    masks.paint((0, 20, 20), 1)
    session.controller.wait()
    plane = session.controller.plane
    said = session.controller.document.prompts[PromptKey(plane, 0, 1)]
    assert np.array_equal(said.mask.unpack(), masks.data[0] == 1)
    assert said.mask.unpack().any()
    rows = np.array([30, 30, 31])
    masks.data_setitem((np.zeros(3, int), rows, np.array([50, 51, 50])), 1)
    session.controller.wait()
    said = session.controller.document.prompts[PromptKey(plane, 0, 1)]
    assert said.mask.unpack()[30, 50]


def test_clicks_on_a_finished_object_add_to_what_was_said_and_reopen_it(open_stack):
    viewer, session = open_stack
    points, controller = viewer.layers[POINTS], session.controller
    for position in ([0, 20, 20], [0, 22, 24]):
        points.add(position)
        controller.wait()
    controller.commit()
    controller.select_object(1)
    assert len(points.data) == 0
    points.add([0, 18, 18])
    controller.wait()
    document = controller.document
    clicks = document.prompts[PromptKey(controller.plane, 0, 1)].clicks
    assert clicks == (Click(20, 20, 1), Click(24, 22, 1), Click(18, 18, 1))
    assert not document.objects[1].is_committed
    assert len(points.data) == 3
    controller.undo()
    controller.wait()
    assert document.prompts[PromptKey(controller.plane, 0, 1)].clicks == clicks[:2]


def test_layers_follow_an_image_that_is_scaled_and_moved(open_stack, tmp_path):
    viewer, session = open_stack
    image, controller = viewer.layers["stack"], session.controller
    viewer.layers[POINTS].add([0, 20, 20])
    controller.wait()
    image.scale, image.translate, image.units = (5, 0.5, 0.5), (10, 3, 4), ("um", "um", "um")
    for layer in session.active.layers:
        assert np.array_equal(layer.scale, image.scale)
        assert np.array_equal(layer.translate, image.translate)
        assert layer.units == image.units
    # What is seen as pixel (x 24, y 22) of slice 3 is that pixel.
    world = image.data_to_world((3, 22, 24))
    viewer.dims.set_point(0, world[0])
    assert controller.slice_index == 3
    points = viewer.layers[POINTS]
    points.add(points.world_to_data(world))
    controller.wait()
    (click,) = controller.document.prompts[PromptKey(controller.plane, 3, 1)].clicks
    assert (click.x, click.y) == (24, 22)
    # A layer made anew is there too, and files have the pixel size.
    viewer.layers.remove(MASKS)
    points.add(points.world_to_data(image.data_to_world((3, 24, 26))))
    controller.wait()
    assert np.array_equal(viewer.layers[MASKS].scale, image.scale)
    controller.export_all(str(tmp_path / "masks.tif"))
    controller.wait()
    with tifffile.TiffFile(tmp_path / "masks.tif") as file:
        assert file.imagej_metadata["spacing"] == 5
        assert file.imagej_metadata["unit"] in ("um", "\\u00B5m", "micron")


def test_own_labels_that_objects_are_called_by_are_not_drawn_over(open_stack):
    viewer, session = open_stack
    viewer.layers[POINTS].add([0, 20, 20])
    session.controller.wait()
    labels = np.zeros((8, 48, 64), np.uint16)
    labels[:, 30:40, 40:50] = 1
    mine = viewer.add_labels(labels, name="mine")
    with pytest.raises(ValueError, match="'mine' has labels 1, which are objects here"):
        session.active.use_labels(mine)
    session.controller.undo()
    session.controller.wait()
    assert (mine.data == 1).sum() == 8 * 100
    labels[labels == 1] = 7
    session.active.use_labels(mine)
    viewer.layers[POINTS].add([0, 20, 20])
    session.controller.wait()
    assert (mine.data == 8).any()
    assert (mine.data == 7).sum() == 8 * 100
    # Used once, it may be left and taken again.
    session.active.use_labels(None)
    session.active.use_labels(mine)


def test_numbers_that_the_layer_does_not_hold_are_not_drawn_as_others(open_stack):
    viewer, session = open_stack
    labels = np.zeros((8, 48, 64), np.uint32)
    labels[0, 5:15, 5:15], labels[0, 25:35, 40:50] = 3, 70_000
    other = viewer.add_labels(labels, name="other")
    assert session.active.import_layer(other) == 2
    session.controller.wait()
    masks = viewer.layers[MASKS]
    assert set(np.unique(masks.data)) == {0, 1, 2}
    # A person's layer of bytes holds no object 300: it is left out, not drawn as 44.
    small = viewer.add_labels(np.zeros((8, 48, 64), np.uint8), name="small")
    session.active.use_labels(small)
    failures = []
    session.controller.failed.connect(failures.append)
    session.controller.select_object(300)
    viewer.layers[POINTS].add([1, 20, 20])
    session.controller.wait()
    assert set(np.unique(small.data)) == {0, 1, 2}
    assert failures == [
        "object 300 is not drawn, as its number is too high for small: choose a layer of labels of "
        "16 bits or more"
    ]


def test_what_was_removed_goes_from_own_labels_that_are_chosen_again(open_stack):
    viewer, session = open_stack
    controller, points = session.controller, viewer.layers[POINTS]
    mine = viewer.add_labels(np.zeros((8, 48, 64), np.uint16), name="mine")
    session.active.use_labels(mine)
    for position in ([0, 20, 20], [0, 40, 50]):
        points.add(position)
        controller.wait()
        controller.new_object()
    assert set(np.unique(mine.data)) == {0, 1, 2}
    session.active.use_labels(None)
    controller.wait()
    controller.remove_object(2)
    controller.wait()
    session.active.use_labels(mine)
    controller.wait()
    assert set(np.unique(mine.data)) == {0, 1}


def test_a_stroke_that_an_answer_took_back_says_nothing_of_other_slices(open_stack):
    viewer, session = open_stack
    controller, masks = session.controller, viewer.layers[MASKS]
    paint(masks, (0, 20, 20), 1, size=14)
    masks.brush_size = 4
    with masks.block_history():
        masks.paint((0, 20, 20), 0)
        controller.wait()  # the answer to the first stroke comes while the button is down
    for z in (1, 2, 5):
        viewer.dims.set_point(0, z)
        controller.wait()
    said = controller.document.prompts
    assert {key.frame_index for key in said} == {0}
    assert all(prompts.mask.unpack().any() for prompts in said.values())


def test_on_a_level_of_a_pyramid_the_slice_is_that_of_the_image(begin_session, images):
    viewer, session = begin_session()
    fine = np.kron(images, np.ones((1, 2, 2), np.uint16))
    image = viewer.add_image([fine, images], multiscale=True, name="pyramid", scale=(2, 1, 1))
    session.choose([image], level=1)
    mine = viewer.add_labels(np.zeros(images.shape, np.uint16), name="mine")
    session.active.use_labels(mine)
    viewer.dims.set_point(0, 6)
    assert session.controller.slice_index == 3
    image.scale = (3, 1, 1)
    viewer.dims.set_point(0, 9)
    assert session.controller.slice_index == 3


def test_our_own_layer_is_come_back_to(open_stack):
    viewer, session = open_stack
    viewer.layers[POINTS].add([3, 20, 29])
    session.controller.wait()
    ours = viewer.layers[MASKS]
    drawn = ours.data.copy()
    mine = viewer.add_labels(np.zeros_like(ours.data), name="mine")
    session.active.use_labels(mine)
    session.controller.wait()
    viewer.layers[POINTS].add([5, 20, 35])
    session.controller.wait()
    session.active.use_labels(None)
    session.controller.wait()
    assert session.active.masks.layer is ours
    assert [layer.name for layer in viewer.layers if MASKS in layer.name] == [MASKS]
    assert np.array_equal(ours.data[3], drawn[3])
    assert ours.data[5].any()
    # It moves with the image, also while it is not drawn into.
    session.active.use_labels(mine)
    viewer.layers["stack"].scale = (3, 1, 1)
    assert ours.scale[0] == 3
    viewer.layers.remove(ours)
    session.active.use_labels(None)
    session.controller.wait()
    assert np.array_equal(viewer.layers[MASKS].data, mine.data)


def test_a_layer_that_was_deleted_is_there_again_after_undo_and_redo(open_stack):
    viewer, session = open_stack
    controller = session.controller
    viewer.layers[POINTS].add([3, 20, 29])
    controller.propagate()
    controller.wait()
    drawn = viewer.layers[MASKS].data.copy()
    for act, slices in ((controller.undo, [3]), (controller.redo, range(8))):
        viewer.layers.remove(MASKS)
        act()
        controller.wait()
        found = np.asarray(viewer.layers[MASKS].data)
        assert np.flatnonzero(found.any(axis=(1, 2))).tolist() == list(slices)
    assert np.array_equal(found, drawn)


def test_a_layer_that_was_deleted_in_a_run_is_there_again_at_its_end(open_stack):
    viewer, session = open_stack
    controller = session.controller
    viewer.layers[POINTS].add([3, 20, 29])
    controller.wait()
    seen = []

    def remove(document, found):
        if not seen and found.frame_index != 3:
            viewer.layers.remove(MASKS)
        seen.append(found.frame_index)

    controller.masks_changed.connect(remove)
    controller.propagate()
    controller.wait()
    assert set(seen) == set(range(8))
    assert viewer.layers[MASKS].data.any(axis=(1, 2)).all()
