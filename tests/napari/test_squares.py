"""Large planes are drawn where something is, and nowhere else."""

import time

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QProgressDialog

from sam2_plugins.napari_plugin import label_arrays, mask_layer
from sam2_plugins.napari_plugin.frame_labels import FrameLabels, Score
from sam2_plugins.napari_plugin.layers import choose_plane
from sam2_plugins.napari_plugin.mask_layer import MaskLayer
from sam2_plugins.napari_plugin.squares import count_labels, cut, occupied

SHAPE = (2, 1500, 1200)
PLANE = choose_plane(SHAPE, (1, 2), point=(0, 0, 0))


def found(**boxes):
    """Labels of a frame: an object per box (y0, x0, y1, x1)."""
    y0, x0 = (min(box[i] for box in boxes.values()) for i in (0, 1))
    y1, x1 = (max(box[i] for box in boxes.values()) for i in (2, 3))
    labels = np.zeros((y1 - y0, x1 - x0), np.uint16)
    for name, (top, left, bottom, right) in boxes.items():
        labels[top - y0 : bottom - y0, left - x0 : right - x0] = int(name[1:])
    scores = {int(name[1:]): Score(0.9, 5.0, 100) for name in boxes}
    return FrameLabels(PLANE, 0, (y0, x0, y1, x1), labels, scores)


@pytest.fixture
def painted(monkeypatch):
    """Sizes of the parts that are painted."""
    real, sizes = mask_layer.paint_plane, []

    def paint_plane(current, *arguments, **keywords):
        sizes.append(current.size)
        return real(current, *arguments, **keywords)

    monkeypatch.setattr(mask_layer, "paint_plane", paint_plane)
    return sizes


def test_squares_are_those_of_the_plane_whatever_the_window():
    window = (500, 100, 1030, 520)
    parts = dict(cut(window))
    assert set(parts) == {(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)}
    assert parts[0, 0] == (500, 100, 512, 512)
    assert parts[2, 1] == (1024, 512, 1030, 520)
    covered = np.zeros((1500, 1200), bool)
    covered[511:513, 5] = covered[1499, 1199] = True
    assert occupied(covered) == {(0, 0), (1, 0), (2, 2)}


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint32])
def test_labels_are_counted(dtype):
    labels = np.zeros((600, 700), dtype)
    labels[500:520, 100], labels[3, 650:] = 7, 200
    assert count_labels(labels) == {7: 20, 200: 50}
    if dtype != np.uint8:
        labels[5, 5] = 2_000_000
        assert count_labels(labels) == {7: 20, 200: 50, 2_000_000: 1}


def test_far_from_each_other_objects_are_drawn_moved_and_taken_away(painted):
    masks = MaskLayer(SHAPE, {})
    layer = masks.make()
    both = {"o1": (10, 10, 40, 50), "o2": (1400, 1100, 1450, 1190)}
    masks.draw(found(**both))
    assert sum(painted) <= 2 * 512**2
    assert count_labels(layer.data[0]) == {1: 30 * 40, 2: 50 * 90}
    painted.clear()
    masks.draw(found(**both | {"o1": (600, 10, 640, 50)}))
    assert sum(painted) <= 3 * 512**2
    assert count_labels(layer.data[0]) == {1: 40 * 40, 2: 50 * 90}
    assert not layer.data[0, :512, :512].any()
    masks.draw(found(o2=both["o2"]))
    assert count_labels(layer.data[0]) == {2: 50 * 90}
    assert not layer.data[1].any()


def test_a_stroke_far_away_that_is_not_in_force_goes_when_the_frame_is_drawn():
    viewer, masks = ViewerModel(), MaskLayer(SHAPE, {})
    layer = viewer.add_layer(masks.make())
    here = found(o1=(10, 10, 40, 50))
    masks.draw(here)
    layer.brush_size = 5
    layer.paint((0, 1400, 900), 1)
    ((key, said),) = masks.repainted(PLANE, [1]).items()
    assert (key.frame_index, key.object_id) == (0, 1)
    assert said.unpack()[1400, 900]
    masks.draw(here)
    assert count_labels(layer.data[0]) == {1: 30 * 40}


def test_labels_that_are_not_in_memory_are_drawn_in_one_piece(painted):
    zarr = pytest.importorskip("zarr")
    own = ViewerModel().add_labels(zarr.zeros(SHAPE, chunks=(1, 1500, 1200), dtype=np.uint16))
    masks = MaskLayer(SHAPE, {})
    masks.use(own)
    masks.draw(found(o1=(10, 10, 40, 50), o2=(1400, 1100, 1450, 1190)))
    assert len(painted) == 1
    assert count_labels(np.asarray(own.data[0])) == {1: 30 * 40, 2: 50 * 90}
    masks.draw(found(o2=(1400, 1100, 1450, 1190)))
    assert count_labels(np.asarray(own.data[0])) == {2: 50 * 90}


def test_the_window_lives_while_own_labels_are_looked_through(
    open_widget, images, monkeypatch, qtbot
):
    viewer, widget = open_widget()
    viewer.add_image(images)
    own = viewer.add_labels(np.zeros(images.shape, np.int32), name="mine")
    own.data[3, 4, 5] = 7
    beats: list[int] = []
    real = label_arrays.labels_in

    def slowly(layer, tell):
        for step in range(30):
            time.sleep(0.01)
            tell(step / 30)
        return real(layer, tell)

    monkeypatch.setattr(label_arrays, "labels_in", slowly)
    beat = QTimer()
    beat.timeout.connect(lambda: beats.append(1))
    beat.start(10)
    panel = widget.output
    panel.target.setCurrentIndex(panel.target.findText("mine"))
    panel._choose()
    beat.stop()
    assert len(beats) > 5
    assert widget.session.active.masks.layer is own
    assert widget.controller.current_object == 8
    shown = QApplication.topLevelWidgets
    qtbot.waitUntil(lambda: not any(isinstance(w, QProgressDialog) for w in shown()))
