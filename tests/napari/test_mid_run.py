"""What a person may do while a run goes on: nothing hangs, leaks or is lost.

The run waits inside the reading of a slice until the test lets it go on, so it is truly under way.
"""

import gc
import threading
import weakref

import dask.array as da
import numpy as np
import pytest
from napari.layers import Labels

from sam2_plugins.core import load_model
from sam2_plugins.napari_plugin import models
from sam2_plugins.napari_plugin.messages import Status
from sam2_plugins.napari_plugin.models import ModelChoice
from sam2_plugins.napari_plugin.viewer_session import session_for

pytestmark = pytest.mark.timeout(900)
TIMEOUT_MS = 180_000
POINTS, BOXES, SCRIBBLES, MASKS = (f"SAM 2 {x}" for x in ("points", "boxes", "scribbles", "masks"))
NUM_SLICES, PROMPTED, GATE = 9, 3, 6


class GatedStack:
    """A moving disk; slices from `GATE` on are read only while the gate is open."""

    def __init__(self):
        self._is_open = threading.Event()
        self._is_open.set()
        self.is_waited_at = threading.Event()
        rows, columns = np.mgrid[:64, :64]
        noise = np.random.default_rng(0).integers(0, 100, (NUM_SLICES, 64, 64), np.uint16)
        self.pixels = noise + 300
        for index, pixels in enumerate(self.pixels):
            pixels[(rows - 30) ** 2 + (columns - 20 - 3 * index) ** 2 < 100] += 3000
        self.array = da.map_blocks(
            self._read,
            chunks=((1,) * NUM_SLICES, (64,), (64,)),
            dtype=np.uint16,
            meta=np.zeros((0, 0, 0), np.uint16),
        )

    def _read(self, block_info=None):
        index = block_info[None]["chunk-location"][0]
        if index >= GATE and not self._is_open.is_set():
            self.is_waited_at.set()
            assert self._is_open.wait(TIMEOUT_MS / 1000)
        return self.pixels[index : index + 1]

    def close(self):
        self._is_open.clear()
        self.is_waited_at.clear()

    def open(self):
        self._is_open.set()


@pytest.fixture
def gates():
    made = []

    def make():
        made.append(GatedStack())
        return made[-1]

    yield make
    for gate in made:
        gate.open()


@pytest.fixture
def begin(open_widget, settle, qtbot, gates):
    """Open an image in a window, click, and propagate as far as the gate."""

    def begin(viewer=None):
        gate = gates()
        viewer, widget = open_widget(viewer)
        viewer.add_image(gate.array, name="stack", contrast_limits=(0, 4000))
        viewer.layers[POINTS].add([PROMPTED, 30, 29])
        settle(widget)
        gate.close()
        widget.controller.propagate()
        qtbot.waitUntil(gate.is_waited_at.is_set, timeout=TIMEOUT_MS)
        qtbot.waitUntil(lambda: drawn(viewer) == SO_FAR, timeout=TIMEOUT_MS)
        return viewer, widget, gate

    return begin


def drawn(viewer, name=MASKS):
    """Slices with a mask."""
    return np.flatnonzero(np.asarray(viewer.layers[name].data).any(axis=(1, 2))).tolist()


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "sam2"]


def held(controller):
    """Weak references to what must not outlive its use."""
    engine = controller._engine
    (tracker,) = (session.tracker for session in engine.sessions.values())
    return [weakref.ref(engine), weakref.ref(tracker)]


def wait_until_gone(qtbot, references):
    def is_gone():
        gc.collect()
        return all(reference() is None for reference in references)

    qtbot.waitUntil(is_gone, timeout=TIMEOUT_MS)


ALL = list(range(NUM_SLICES))
SO_FAR = list(range(PROMPTED, GATE))


def test_cancel_keeps_what_is_finished_and_the_next_run_goes_on(begin, settle):
    viewer, widget, gate = begin()
    before = viewer.layers[MASKS].data.copy()
    assert not widget.propagate.both.isEnabled()
    widget.propagate.cancel.click()
    gate.open()
    settle(widget)
    # The slice that was being read may have been finished; none after it.
    assert drawn(viewer) in (SO_FAR, [*SO_FAR, GATE])
    assert np.array_equal(viewer.layers[MASKS].data[SO_FAR], before[SO_FAR])
    assert widget.propagate.both.isEnabled()
    assert widget.propagate.cancel.parentWidget().isHidden()
    widget.controller.propagate()
    settle(widget)
    assert drawn(viewer) == ALL


def test_undo_takes_the_run_back_and_redo_what_was_finished_of_it(begin, settle):
    viewer, widget, gate = begin()
    before = viewer.layers[MASKS].data.copy()
    widget.prompt.undo.click()
    gate.open()
    settle(widget)
    assert drawn(viewer) == [PROMPTED]
    assert len(viewer.layers[POINTS].data) == 1
    widget.controller.redo()
    settle(widget)
    assert np.array_equal(viewer.layers[MASKS].data[SO_FAR], before[SO_FAR])
    widget.controller.undo()
    widget.controller.undo()
    settle(widget)
    assert drawn(viewer) == []
    assert len(viewer.layers[POINTS].data) == 0
    assert len(workers()) == 1


def test_a_correction_is_answered_and_ends_the_run_for_its_object(begin, settle):
    viewer, widget, gate = begin()
    first = viewer.layers[MASKS].data[PROMPTED].copy()
    viewer.layers[BOXES].add_rectangles(np.array([[3, 5, 5], [3, 5, 60], [3, 60, 60], [3, 60, 5]]))
    gate.open()
    settle(widget)
    assert not np.array_equal(viewer.layers[MASKS].data[PROMPTED], first)
    assert drawn(viewer) in (SO_FAR, [*SO_FAR, GATE])
    widget.controller.propagate()
    settle(widget)
    assert drawn(viewer) == ALL


def test_the_widget_is_closed_and_opened_again(begin, open_widget, settle, qtbot):
    viewer, widget, gate = begin()
    controller, gone = widget.controller, weakref.ref(widget)
    viewer.window.remove_dock_widget(widget)
    with qtbot.waitSignal(widget.destroyed, timeout=TIMEOUT_MS):
        widget.deleteLater()
    del widget
    viewer, again = open_widget(viewer)
    assert again.controller is controller
    assert not again.propagate.both.isEnabled()
    wait_until_gone(qtbot, [gone])
    gate.open()
    settle(again)
    assert drawn(viewer) == ALL
    assert again.propagate.both.isEnabled()
    assert again.propagate.cancel.parentWidget().isHidden()
    assert len(workers()) == 1
    viewer.layers[POINTS].add([0, 30, 20])
    settle(again)
    assert len(controller.document.prompts) == 2


def test_the_image_is_deleted(begin, settle, qtbot, gates):
    viewer, widget, gate = begin()
    before, references = viewer.layers[MASKS].data.copy(), held(widget.controller)
    viewer.layers.remove("stack")
    gate.open()
    settle(widget)
    assert np.array_equal(viewer.layers[f"{MASKS} · stack"].data, before)
    assert "was removed" in widget.image.notice.text()
    assert widget.propagate.cancel.parentWidget().isHidden()
    assert not widget.propagate.both.isEnabled()
    wait_until_gone(qtbot, references)

    other = gates()
    viewer.add_image(other.array, name="another", contrast_limits=(0, 4000))
    ours = widget.session.active.masks.layer
    widget.session.active.prompts.points.add([PROMPTED, 30, 29])
    widget.controller.propagate()
    settle(widget)
    assert np.asarray(ours.data).any(axis=(1, 2)).all()
    assert len(workers()) == 1


def test_the_image_is_renamed(begin, settle):
    viewer, widget, gate = begin()
    viewer.layers["stack"].name = "nuclei"
    assert widget.image.image.currentText() == "nuclei"
    gate.open()
    settle(widget)
    assert drawn(viewer) == ALL
    viewer.layers["SAM 2 masks"].name = "mine"
    viewer.layers[POINTS].add([0, 30, 20])
    settle(widget)
    assert len(widget.controller.document.prompts) == 2


def test_our_layers_are_deleted_one_after_another(begin, settle):
    viewer, widget, gate = begin()
    for name in (MASKS, POINTS, BOXES, SCRIBBLES):
        viewer.layers.remove(name)
    gate.open()
    settle(widget)
    assert len(widget.controller.document.prompts) == 1
    # The next thing that is done brings the layers back, with all that is known.
    widget.controller.confirm(PROMPTED)
    settle(widget)
    assert drawn(viewer) == ALL
    assert len(viewer.layers[POINTS].data) == 1
    assert [type(layer) for layer in viewer.layers].count(Labels) == 1


def test_another_model_is_chosen(begin, settle, qtbot):
    viewer, widget, gate = begin()
    references = held(widget.controller)[1:]
    other = load_model("nano", device="cpu", dtype="float32", image_size=64)
    widget.controller.confirm(PROMPTED)
    locked = viewer.layers[MASKS].data[PROMPTED].copy()
    widget.controller.choose_model(ModelChoice(device="cpu"), other)
    gate.open()
    settle(widget)
    assert not widget.controller.is_running
    assert len(widget.controller.document.prompts) == 1
    wait_until_gone(qtbot, references)
    widget.controller.propagate()
    settle(widget)
    assert drawn(viewer) == ALL
    assert np.array_equal(viewer.layers[MASKS].data[PROMPTED], locked)
    assert widget.propagate.strip.facts.confirmed == {PROMPTED}


def test_a_model_is_chosen_that_cannot_be_loaded(begin, settle, qtbot, monkeypatch):
    viewer, widget, gate = begin()
    controller, used = widget.controller, widget.controller.models.choice
    said = []
    controller.failed.connect(said.append)

    def load(loading):
        raise ValueError("mine.pt: is no checkpoint")

    monkeypatch.setattr(models, "load", load)
    controller.choose_model(ModelChoice("nano", "/data/mine.pt"))
    assert controller.status == Status("loading mine.pt", is_working=True)
    qtbot.waitUntil(lambda: bool(said), timeout=TIMEOUT_MS)
    qtbot.waitUntil(lambda: "propagating" in widget.model.status.text(), timeout=TIMEOUT_MS)
    assert said == ["mine.pt: is no checkpoint"]
    assert (controller.models.choice, widget.model.model.currentText()) == (used, "nano")
    assert controller.is_running
    gate.open()
    settle(widget)
    assert drawn(viewer) == ALL
    qtbot.waitUntil(lambda: "ready" in widget.model.status.text(), timeout=TIMEOUT_MS)


def test_the_model_is_unloaded(begin, settle, qtbot):
    viewer, widget, gate = begin()
    references = held(widget.controller)[1:]
    widget.model.load.click()
    widget.controller.unload_model()
    gate.open()
    settle(widget)
    assert not widget.controller.models.is_loaded
    wait_until_gone(qtbot, references)
    assert set(SO_FAR) <= set(drawn(viewer))
    widget.controller.propagate()
    settle(widget)
    assert drawn(viewer) == ALL


def test_two_widgets_of_a_viewer_follow_the_same_run(begin, open_widget, settle, qtbot):
    viewer, widget, gate = begin()
    _, other = open_widget(viewer)
    qtbot.waitUntil(lambda: not other.propagate.both.isEnabled(), timeout=TIMEOUT_MS)
    other.propagate.cancel.click()
    gate.open()
    settle(widget)
    assert widget.propagate.both.isEnabled()
    assert other.propagate.both.isEnabled()
    assert len(workers()) == 1
    other.propagate.both.click()
    settle(other)
    for each in (widget, other):
        assert each.objects.table.item(0, 2).text() == str(NUM_SLICES)
        assert each.propagate.cancel.parentWidget().isHidden()


def test_a_viewer_is_closed_and_another_goes_on(begin, settle, qtbot):
    viewer, widget, gate = begin()
    other_viewer, other, other_gate = begin()
    assert len(workers()) == 2
    references = [*held(widget.controller), weakref.ref(widget.controller),
                  weakref.ref(session_for(viewer))]  # fmt: skip
    viewer.close()
    gate.open()
    del widget, viewer
    qtbot.waitUntil(lambda: len(workers()) == 1, timeout=TIMEOUT_MS)
    other_gate.open()
    settle(other)
    assert drawn(other_viewer) == ALL
    wait_until_gone(qtbot, references[:2])
