"""The work that a person does, by layers, keys and buttons, with the bundled model.

On a generated stack always; on real data where there is some (see `story.load_sample`).
"""

import numpy as np
import pytest
from napari.layers import Points, Shapes
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog
from story import BOXES, MASKS, POINTS, SAMPLE_PARAMETERS, SCRIBBLES, frames_with, iou, load_sample

from sam2_plugins.core import load_masks
from sam2_plugins.napari_plugin.exporting import FORMATS

TIMEOUT_MS = 180_000


@pytest.fixture
def widget_model(quick_nano):
    return quick_nano


@pytest.fixture(params=["generated"])
def sample(request):
    return load_sample(request.param)


on_all_samples = pytest.mark.parametrize("sample", SAMPLE_PARAMETERS, indirect=True)


class Person:
    """A person at the window, with a stack open, on the slice where the sample begins."""

    def __init__(self, viewer, widget, sample, *, qtbot, press, settle):
        self.viewer, self.widget, self.sample = viewer, widget, sample
        self.controller = widget.controller
        self._qtbot, self._press, self._settle = qtbot, press, settle
        self.image = viewer.add_image(sample.images, name="stack", **sample.facts)
        self.failures = []
        self.controller.failed.connect(self.failures.append)
        self.go_to(sample.frame)

    @property
    def masks(self):
        return np.asarray(self.viewer.layers[MASKS].data)

    @property
    def here(self):
        return self.masks[self.controller.slice_index]

    def layer(self, name):
        return self.viewer.layers[name]

    def settle(self):
        self._settle(self.widget)

    def go_to(self, frame):
        self.widget.session.active.show_slice(frame)
        assert self.controller.slice_index == frame

    def click(self, y, x, frame=None):
        frame = self.controller.slice_index if frame is None else frame
        self.layer(POINTS).add([frame, y, x])
        self.settle()

    def push(self, button):
        assert button.isEnabled(), button.text()
        self._qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        self.settle()

    def press(self, key):
        self._press(self.viewer, key)
        self.settle()

    def undo(self):
        assert self.controller.undo()
        self.settle()


@pytest.fixture
def person(open_widget, sample, qtbot, press, settle):
    viewer, widget = open_widget()
    made = Person(viewer, widget, sample, qtbot=qtbot, press=press, settle=settle)
    yield made
    assert made.failures == []


@on_all_samples
def test_prompts_of_every_kind_are_answered_on_their_slice(person, sample):
    label = sample.largest(1)[0]
    truth = sample.truth(label)
    y, x = sample.centre(label)
    frame = sample.frame

    person.click(y, x)
    assert frames_with(person.masks, 1) == [frame]
    clicked = person.here.copy()
    person.press("Q")
    person.click(*np.argwhere(~truth)[0])
    assert person.layer(POINTS).features["polarity"].tolist() == ["positive", "negative"]
    assert person.here[tuple(np.argwhere(~truth)[0])] == 0
    person.undo()
    assert np.array_equal(person.here, clicked)
    person.press("Q")

    points = person.layer(POINTS)
    data = points.data.copy()
    data[0, 1:] += 1
    points.data = data
    person.settle()
    ((key, said),) = person.controller.document.prompts.items()
    assert (key.frame_index, said.clicks[0][:2]) == (frame, (x + 1, y + 1))
    points.selected_data = {0}
    points.remove_selected()
    person.settle()
    assert not person.masks.any()

    person.layer(BOXES).add_rectangles(sample.corners(label))
    person.settle()
    assert iou(person.here == 1, truth) > sample.least_iou
    person.press("Shift+C")
    assert not person.masks.any()

    person.layer(SCRIBBLES).add_paths([[frame, y, x - 2], [frame, y + 1, x], [frame, y, x + 2]])
    person.settle()
    assert person.here[int(y), int(x)] == 1
    person.press("Shift+C")

    outline = sample.corners(label)
    person.layer(BOXES).add_polygons(outline)
    person.settle()
    box = np.zeros_like(truth)
    (y0, x0), (y1, x1) = outline[0, 1:].astype(int), outline[2, 1:].astype(int)
    box[y0:y1, x0:x1] = True
    assert iou(person.here == 1, box) > 0.7  # a drawn area is the mask, edges aside


def test_a_painted_mask_is_kept_to_the_pixel_and_carried(person, sample):
    label = sample.largest(1)[0]
    truth = sample.truth(label)
    person.push(person.widget.prompt.tool_buttons["paint"])
    layer = person.layer(MASKS)
    assert person.viewer.layers.selection.active is layer
    assert layer.mode == "paint"
    layer.brush_size = 1
    with layer.block_history():
        for y, x in np.argwhere(truth):
            layer.paint((sample.frame, int(y), int(x)), 1)
    person.settle()
    assert np.array_equal(person.here == 1, truth)
    person.push(person.widget.propagate.both)
    assert np.array_equal(person.masks[sample.frame] == 1, truth)
    assert len(frames_with(person.masks, 1)) > 2


@on_all_samples
def test_an_object_is_carried_both_ways_and_undone_and_redone(person, sample):
    label = sample.largest(1)[0]
    person.layer(BOXES).add_rectangles(sample.corners(label))
    person.settle()
    preview = person.here.copy()
    person.push(person.widget.propagate.both)
    full = person.masks.copy()
    assert np.array_equal(full[sample.frame], preview)
    scores = person.widget.propagate.strip.facts.scores
    assert sorted(scores) == list(range(len(sample.images)))
    assert len(frames_with(full, 1)) >= 3
    person.push(person.widget.prompt.undo)
    assert frames_with(person.masks, 1) == [sample.frame]
    person.push(person.widget.prompt.undo)
    assert not person.masks.any()
    person.push(person.widget.prompt.redo)
    person.push(person.widget.prompt.redo)
    assert np.array_equal(person.masks, full)


def test_runs_have_a_direction_and_a_range(person, sample):
    panel, frame, last = person.widget.propagate, sample.frame, len(sample.images) - 1
    person.layer(BOXES).add_rectangles(sample.corners(sample.largest(1)[0]))
    person.settle()

    def scored():
        return sorted(panel.strip.facts.scores)

    person.push(panel.backward)
    assert scored() == list(range(frame + 1))
    person.undo()
    person.push(panel.forward)
    assert scored() == list(range(frame, last + 1))
    person.undo()
    panel.is_limited.setChecked(True)
    panel.range.setValue((frame - 1, frame + 2))
    person.push(panel.both)
    assert scored() == [frame - 1, frame, frame + 1, frame + 2]
    panel.is_limited.setChecked(False)
    person.undo()
    panel.min_iou.setValue(1.0)
    person.push(panel.both)
    assert scored() == [frame - 1, frame, frame + 1]  # no mask is that sure: one each way
    panel.min_iou.setValue(0.0)
    person.press("Shift+Enter")
    assert scored() == list(range(last + 1))


def test_cancel_keeps_what_is_done_and_the_next_run_goes_on(person, sample, qtbot):
    person.layer(BOXES).add_rectangles(sample.corners(sample.largest(1)[0]))
    person.settle()
    controller, panel = person.controller, person.widget.propagate
    ended = []
    controller.run_ended.connect(ended.append)

    # In the worker's own time, as soon as it tells: a run of few slices is soon over.
    engine = controller._engine
    post = engine.post
    told = []

    def tell(message):
        post(message)
        told.append(type(message).__name__)
        if told.count("Progress") == 3:
            controller.cancel()

    engine.post = tell
    qtbot.mouseClick(panel.both, Qt.MouseButton.LeftButton)
    person.settle()
    engine.post = post
    assert ended[0].was_cancelled
    done = set(panel.strip.facts.scores)
    assert 2 <= len(done) < len(sample.images)
    before = person.masks.copy()
    person.push(panel.both)
    assert not ended[1].was_cancelled
    assert sorted(panel.strip.facts.scores) == list(range(len(sample.images)))
    for frame in done:
        assert np.array_equal(person.masks[frame], before[frame])


@on_all_samples
def test_a_correction_changes_what_follows_but_not_what_is_locked(person, sample):
    frame, panel = sample.frame, person.widget.propagate
    person.layer(BOXES).add_rectangles(sample.corners(sample.largest(1)[0]))
    person.settle()
    person.push(panel.both)
    person.push(panel.lock)
    assert "Unlock" in panel.lock.text()
    locked = person.masks[frame].copy()
    state = person.widget.objects.table.item(0, 4).text()
    assert "1" in state

    person.go_to(frame + 1)
    y, x = sample.centre(sample.largest(1)[0])
    before = person.here.copy()
    person.press("T")
    person.click(y, x)
    corrected = person.here.copy()
    assert not np.array_equal(corrected, before)
    person.push(panel.both)
    assert np.array_equal(person.masks[frame], locked)
    assert np.array_equal(person.masks[frame + 1], corrected)
    assert panel.strip.facts.prompted == {frame, frame + 1}
    assert panel.strip.facts.confirmed == {frame}

    steps = len(person.controller.document.done)
    final = person.masks.copy()
    for _ in range(steps):
        person.push(person.widget.prompt.undo)
    assert not person.masks.any()
    for _ in range(steps):
        person.push(person.widget.prompt.redo)
    assert np.array_equal(person.masks, final)
    assert panel.strip.facts.confirmed == {frame}


def test_objects_are_named_committed_reopened_and_removed(person, sample):
    objects = person.widget.objects
    labels = sample.largest(2)
    person.click(*sample.centre(labels[0]))
    objects.table.item(0, 1).setText("nucleus")
    person.press("K")
    assert len(person.layer(POINTS).data) == 0
    assert objects.table.item(0, 4).text() == "done"
    person.click(*sample.centre(labels[1]))
    first = person.here == 1
    person.push(person.widget.propagate.both)
    assert frames_with(person.masks, 1) == [sample.frame]
    assert np.array_equal(person.masks[sample.frame] == 1, first)
    assert len(frames_with(person.masks, 2)) > 1

    objects.table.cellDoubleClicked.emit(0, 0)
    assert person.controller.current_object == 1
    assert sorted(person.layer(POINTS).features["object"]) == [1, 2]
    assert objects.table.item(0, 1).text() == "nucleus"
    objects.table.selectRow(1)
    assert person.controller.current_object == 2
    person.push(objects.remove)
    assert frames_with(person.masks, 2) == []
    assert person.layer(POINTS).features["object"].tolist() == [1]
    person.push(person.widget.prompt.undo)
    assert len(frames_with(person.masks, 2)) > 1


@pytest.mark.parametrize("preserve", [True, False])
def test_masks_go_into_a_persons_own_labels(person, sample, preserve):
    label = sample.largest(1)[0]
    mine = np.zeros(sample.images.shape[:3], np.uint8)
    x = int(sample.centre(label)[1])
    mine[:, :, :x] = 7
    layer = person.viewer.add_labels(mine, name="mine", scale=person.image.scale)
    output = person.widget.output
    output.preserve.setChecked(preserve)
    output.target.setCurrentIndex(output.target.findText("mine"))
    output.target.activated.emit(output.target.currentIndex())
    output.preserve.setChecked(preserve)
    assert person.controller.current_object == 8
    person.layer(BOXES).add_rectangles(sample.corners(label))
    person.settle()
    person.push(person.widget.propagate.both)
    drawn = np.asarray(layer.data)
    assert (drawn == 8).any(axis=(1, 2)).sum() > 2
    assert (drawn[:, :, :x] == 7).all() == preserve
    assert set(np.unique(drawn)) == {0, 7, 8}


def test_layers_of_a_person_become_prompts_of_many_objects(person, sample):
    output, frame = person.widget.output, sample.frame
    labels = sample.largest(3)
    shapes = [np.array(person.image.data_to_world(c)) for c in sample.corners(labels[0])]
    own = [
        person.viewer.add_labels(sample.labels, name="nuclei", scale=person.image.scale),
        Points([person.image.data_to_world((frame, *sample.centre(i))) for i in labels], name="p"),
        Shapes([np.array(shapes)], shape_type="rectangle", name="s"),
    ]
    for layer in own[1:]:
        person.viewer.add_layer(layer)
    on_slice = sorted(int(i) for i in np.unique(sample.labels[frame]) if i)
    counts = []
    for name in ("nuclei", "p", "s"):
        output.source.setCurrentIndex(output.source.findText(name))
        person.push(output.take)
        counts.append(len({key.object_id for key in person.controller.document.prompts}))
        if name == "nuclei":
            assert np.array_equal(person.here, sample.labels[frame])
    assert counts == [len(on_slice), len(on_slice) + 3, len(on_slice) + 4]
    while person.controller.document.done:
        person.undo()
    output.source.setCurrentIndex(output.source.findText("nuclei"))
    person.push(output.take)
    person.push(person.widget.propagate.both)
    assert np.array_equal(person.masks[frame], sample.labels[frame])
    assert sum(len(frames_with(person.masks, i)) > 1 for i in on_slice) >= 3


def test_everything_on_a_slice_is_found_and_carried(person, sample):
    person.push(person.widget.output.everything.start)
    found = set(np.unique(person.here)) - {0}
    assert len(found) >= 2
    assert frames_with(person.masks, 1) == [sample.frame]
    person.push(person.widget.propagate.both)
    assert sum(len(frames_with(person.masks, i)) > 1 for i in found) >= 2
    while person.controller.document.done:
        person.undo()
    assert not person.masks.any()


def test_what_is_exported_is_what_is_drawn(person, sample, monkeypatch, tmp_path, qtbot):
    for number, label in enumerate(sample.largest(2)):
        if number:
            person.press("N")
        person.layer(BOXES).add_rectangles(sample.corners(label))
        person.settle()
    person.push(person.widget.propagate.both)
    drawn = person.masks
    for entry in FORMATS:
        typed = str(tmp_path / "masks")
        monkeypatch.setattr(
            *(QFileDialog, "getSaveFileName"),
            lambda *_, typed=typed, entry=entry: (typed, entry.filter),
        )
        person.push(person.widget.output.export)
        assert "exported to" in person.widget.model.status.text()
        saved = load_masks(tmp_path / f"masks{entry.ending}")
        assert (saved.num_frames, saved.frame_size) == (len(drawn), drawn.shape[1:])
        again = np.stack([frame.to_labels() for frame in saved])
        assert np.array_equal(again > 0, drawn > 0), entry.title
        assert iou(again == 1, drawn == 1) > 0.95
        assert iou(again == 2, drawn == 2) > 0.95
        if entry.ending in (".tif", ".zarr", "_RES", ""):
            assert np.array_equal(again, drawn), entry.title


def test_the_strip_and_a_key_lead_to_slices(person, sample, qtbot):
    panel = person.widget.propagate
    person.layer(BOXES).add_rectangles(sample.corners(sample.largest(1)[0]))
    person.settle()
    person.push(panel.both)
    person.press("G")
    worst = person.controller.slice_index
    assert worst != sample.frame
    assert worst in panel.strip.facts.scores
    count = panel.strip.facts.num_frames
    for frame in (0, sample.frame, count - 1):
        x = int((frame + 0.5) * panel.strip.width() / count)
        place = panel.strip.rect().center()
        place.setX(x)
        qtbot.mouseClick(panel.strip, Qt.MouseButton.LeftButton, pos=place)
        assert person.controller.slice_index == frame
        assert panel.strip.facts.current == frame


TRANSFORMS = {
    "anisotropic": {"scale": (3, 0.5, 0.25), "translate": (-7, 100, 0.5)},
    "rotated": {"scale": (2, 1, 1), "rotate": [[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]},
    "sheared": {"shear": [[1, 0, 0], [0, 1, 0.4], [0, 0, 1]], "translate": (1, 2, 3)},
    "affine": {"affine": [[1, 0, 0, 5], [0, 0.9, -0.3, 2], [0, 0.2, 1.1, 3], [0, 0, 0, 1]]},
}


@pytest.mark.parametrize("name", list(TRANSFORMS))
def test_masks_are_the_same_wherever_the_image_lies(
    open_widget, settle, sample, widget_model, name
):
    from sam2_plugins.core import VideoTracker

    viewer, widget = open_widget()
    image = viewer.add_image(sample.images, name="stack", **TRANSFORMS[name])
    y, x = sample.centre(sample.largest(1)[0])
    point = viewer.layers[POINTS]
    # Where a person clicks, in the world; our layers lie where the image does.
    world = image.data_to_world((sample.frame, y, x))
    point.add(point.world_to_data(world))
    settle(widget)
    widget.controller.propagate(stop=sample.frame + 2)
    settle(widget)
    masks = viewer.layers[MASKS]
    tracker = VideoTracker(widget_model, sample.images)
    tracker.add_points(sample.frame, 1, [(x, y)], [1])
    for _ in tracker.propagate(stop=sample.frame + 2):
        pass
    wanted = np.stack([tracker.masks(f).to_labels() for f in range(sample.frame + 2)])
    assert np.array_equal(np.asarray(masks.data)[: sample.frame + 2], wanted)
    for corner in (0, 0, 0), (1, 10, 20):
        assert np.allclose(masks.data_to_world(corner), image.data_to_world(corner))
