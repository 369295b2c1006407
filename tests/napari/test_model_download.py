"""Another model is downloaded while the window works; only the address of its weights is ours."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from sam2_plugins import core
from sam2_plugins.core.download import RemoteFile
from sam2_plugins.core.weights import PUBLISHED_FILES
from sam2_plugins.napari_plugin import models
from sam2_plugins.napari_plugin.models import ModelChoice

pytestmark = pytest.mark.timeout(600)
TIMEOUT_MS = 180_000
POINTS, MASKS = "SAM 2 points", "SAM 2 masks"
NAME = "sam2.1-tiny"
NANO = Path(core.__file__).parent / "assets" / "nano.safetensors"
LOAD = models.load


@pytest.fixture
def server(serve, monkeypatch, tmp_path):
    monkeypatch.setenv("SAM2_PLUGINS_CACHE", str(tmp_path / "cache"))
    content = NANO.read_bytes()
    running = serve(content)
    facts = len(content), hashlib.sha256(content).hexdigest()
    for name in (NAME, "nano"):
        remote = RemoteFile(name, running.address(f"{name}.safetensors"), *facts)
        monkeypatch.setitem(PUBLISHED_FILES, name, remote)
    return running


@pytest.fixture
def work(open_widget, settle, images, monkeypatch, server):
    """A window in which a model from a file has answered a click; `choose` asks for another."""
    viewer, widget = open_widget()
    monkeypatch.setattr(models, "load", LOAD)
    widget.controller.models.choice = ModelChoice(checkpoint=str(NANO), image_size=128)
    viewer.add_image(images)
    viewer.layers[POINTS].add([3, 20, 29])
    settle(widget)
    assert drawn(viewer) == [3]
    widget.controller.list_models()
    settle(widget)
    return viewer, widget


def drawn(viewer):
    return np.flatnonzero(np.asarray(viewer.layers[MASKS].data).any(axis=(1, 2))).tolist()


def choose(widget, name):
    combo = widget.model.model
    combo.setCurrentIndex(combo.findText(name))
    combo.activated.emit(combo.currentIndex())


def wait_for_half(widget, qtbot, server):
    """The bar is there, and moves as bytes arrive."""
    row, bar = widget.model.progress_row, widget.model.progress
    qtbot.waitUntil(lambda: not row.isHidden() and bar.value() > 0, timeout=TIMEOUT_MS)
    before = bar.value()
    server.more.set()
    half = len(server.content) // 2 // 1000
    qtbot.waitUntil(lambda: bar.value() == half, timeout=TIMEOUT_MS)
    assert before < half < bar.maximum()


def test_a_cancelled_download_ends_at_once_and_the_model_in_use_stays(work, qtbot, server):
    viewer, widget = work
    before, model = viewer.layers[MASKS].data[3].copy(), widget.controller.models.get()
    choose(widget, NAME)
    wait_for_half(widget, qtbot, server)
    assert widget.model.model.currentText() == NAME
    # The window answers meanwhile, with the model that it has.
    viewer.layers[POINTS].add([5, 20, 35])
    qtbot.waitUntil(lambda: drawn(viewer) == [3, 5], timeout=TIMEOUT_MS)
    assert not widget.model.progress_row.isHidden()

    # The server is silent: who waits for it waits until the end of the test.
    widget.model.stop.click()
    qtbot.waitUntil(lambda: not widget.controller.is_busy, timeout=TIMEOUT_MS)
    assert not server.goes_on.is_set()
    assert widget.model.progress_row.isHidden()
    assert "cancelled" in widget.model.notice.text()
    assert "\n" not in widget.model.notice.text()
    assert widget.model.model.currentText() == NANO.name
    assert widget.controller.models.get() is model
    assert np.array_equal(viewer.layers[MASKS].data[3], before)
    assert len(viewer.layers[POINTS].data) == 2
    widget.controller.propagate()
    qtbot.waitUntil(lambda: not widget.controller.is_busy, timeout=TIMEOUT_MS)
    assert drawn(viewer) == list(range(8))


def test_a_download_that_was_cancelled_goes_on_and_its_model_answers(work, settle, qtbot, server):
    viewer, widget = work
    old = widget.controller.models.get()
    choose(widget, "nano")
    wait_for_half(widget, qtbot, server)
    widget.model.stop.click()
    settle(widget)
    server.goes_on.set()
    choose(widget, "nano")
    settle(widget)
    assert server.starts[0] == 0
    assert server.starts[-1] >= len(server.content) // 2
    assert widget.model.model.currentText() == "nano"
    assert widget.model.progress_row.isHidden()
    assert widget.controller.models.choice.name == "nano"
    assert widget.controller.models.choice.checkpoint is None
    assert widget.controller.models.get() is not old
    assert drawn(viewer) == [3]
    assert len(widget.controller.document.prompts) == 1


def test_a_connection_that_breaks_is_one_clear_line(work, settle, qtbot, server):
    viewer, widget = work
    model = widget.controller.models.get()
    server.breaks = True
    server.more.set()
    choose(widget, NAME)
    settle(widget)
    told = widget.model.notice.text()
    assert not widget.model.notice.isHidden()
    assert f"the weights of {NAME} are not on this computer" in told
    assert "\n" not in told
    assert widget.controller.models.get() is model
    assert widget.model.model.currentText() == NANO.name
    assert len(widget.controller.document.prompts) == 1
    viewer.layers[POINTS].add([5, 20, 35])
    settle(widget)
    assert drawn(viewer) == [3, 5]


def test_weights_of_another_model_are_refused_and_the_one_in_use_stays(work, settle, server):
    viewer, widget = work
    server.more.set()
    server.goes_on.set()
    model = widget.controller.models.get()
    choose(widget, NAME)
    settle(widget)
    assert widget.model.notice.text()
    assert "\n" not in widget.model.notice.text()
    assert widget.controller.models.get() is model
    assert len(viewer.layers[POINTS].data) == 1


def test_a_first_model_that_is_cancelled_leaves_the_window_usable(
    open_widget, settle, images, monkeypatch, qtbot, server
):
    viewer, widget = open_widget()
    monkeypatch.setattr(models, "load", LOAD)
    widget.controller.models.choice = ModelChoice(NAME)
    viewer.add_image(images)
    viewer.layers[POINTS].add([3, 20, 29])
    wait_for_half(widget, qtbot, server)
    widget.model.stop.click()
    settle(widget)
    assert not server.goes_on.is_set()
    assert "cancelled" in widget.model.notice.text()
    assert widget.model.progress_row.isHidden()
    widget.controller.choose_model(ModelChoice(checkpoint=str(NANO), image_size=128))
    viewer.layers[POINTS].add([3, 20, 29])
    settle(widget)
    assert drawn(viewer) == [3]
