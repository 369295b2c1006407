"""A hand on the canvas: mouse and keys as Qt sends them, from the click to the mask."""

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QWidget

POINTS, BOXES, MASKS = "SAM 2 points", "SAM 2 boxes", "SAM 2 masks"
TIMEOUT_MS = 180_000


class Hand:
    """Puts a place of the image in the middle of the canvas, and works there."""

    def __init__(self, viewer, qtbot):
        self.viewer, self._qtbot = viewer, qtbot
        widgets = viewer.window._qt_window.findChildren(QWidget)
        # vispy's own widget: what is drawn on.
        (self.canvas,) = [w for w in widgets if type(w).__name__ == "CanvasBackendDesktop"]

    def go_to(self, y, x):
        getattr(self.viewer, "scene", self.viewer).camera.center = (0, y, x)
        self._qtbot.wait(20)
        return self.canvas.rect().center()

    def click(self, y, x, button=Qt.MouseButton.LeftButton, keys=Qt.KeyboardModifier.NoModifier):
        place = self.go_to(y, x)
        QTest.mouseMove(self.canvas, place)
        QTest.mouseClick(self.canvas, button, keys, place)

    def drag(self, y, x, by):
        place = self.go_to(y, x)
        QTest.mousePress(self.canvas, Qt.MouseButton.LeftButton, pos=place - by)
        for share in (-0.5, 0.0, 0.5, 1.0):
            QTest.mouseMove(self.canvas, place + by * share)
            self._qtbot.wait(20)
        QTest.mouseRelease(self.canvas, Qt.MouseButton.LeftButton, pos=place + by)

    def press(self, key, keys=Qt.KeyboardModifier.NoModifier):
        QTest.keyClick(self.canvas, key, keys)


@pytest.fixture
def work(open_widget, make_napari_viewer, images, qtbot):
    viewer, widget = open_widget(make_napari_viewer(show=True))
    viewer.window.resize(1100, 800)
    viewer.add_image(images, axis_labels=("z", "y", "x"))
    qtbot.waitUntil(lambda: viewer.layers.selection.active.name == POINTS, timeout=TIMEOUT_MS)
    viewer.dims.set_point(0, 3)
    return viewer, widget, Hand(viewer, qtbot)


def test_clicks_and_keys_on_the_canvas(work, settle):
    viewer, widget, hand = work
    hand.click(20, 29)
    settle(widget)
    points = viewer.layers[POINTS]
    assert np.allclose(points.data, [[3, 20, 29]], atol=1)
    assert np.asarray(viewer.layers[MASKS].data)[3].any()
    hand.click(40, 55, keys=Qt.KeyboardModifier.ControlModifier)
    hand.click(40, 10, button=Qt.MouseButton.RightButton)
    settle(widget)
    assert points.features["polarity"].tolist() == ["positive", "negative", "negative"]
    assert np.allclose(points.data[1:], [[3, 40, 55], [3, 40, 10]], atol=1)
    hand.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    settle(widget)
    assert len(points.data) == 2
    hand.press(Qt.Key.Key_N)
    assert widget.controller.current_object == 2
    hand.press(Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    settle(widget)
    assert np.asarray(viewer.layers[MASKS].data).any(axis=(1, 2)).all()


def test_a_box_is_dragged_on_the_canvas(work, settle, qtbot):
    viewer, widget, hand = work
    qtbot.mouseClick(widget.prompt.tool_buttons[BOXES], Qt.MouseButton.LeftButton)
    hand.drag(20, 29, QPoint(60, 80))
    settle(widget)
    (box,) = viewer.layers[BOXES].data
    assert np.allclose(box.mean(axis=0), (3, 20, 29), atol=1)
    height, width = np.ptp(box, axis=0)[1:]
    assert width / height == pytest.approx(60 / 80, rel=0.1)
    assert np.asarray(viewer.layers[MASKS].data)[3].any()
