"""Restoring: trackers go on from their own files, locks and planes are there from the start."""

import json
import shutil

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from test_controller import click

from conftest import make_model, no_model
from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.models import ModelChoice
from sam2_plugins.napari_plugin.viewer_session import ViewerSession

FIRST = (25, 20, 1)
SECOND = (10, 40, 1)


@pytest.fixture
def locked(begin_saved):
    """What was on show at the end: two objects, tracked, and a slice of the first one locked."""
    controller, masks, _ = begin_saved()
    click(controller, FIRST)
    click(controller, SECOND, frame=2, object_id=2)
    controller.propagate()
    controller.wait()
    controller.confirm(6, object_id=1)
    controller.wait()
    controller.close(10)
    return masks.shown


@pytest.fixture
def begun(begin_saved, forget_to_save):
    """One run is over and saved; whatever follows is not saved but for slices."""
    controller, masks, _ = begin_saved()
    click(controller, FIRST)
    controller.propagate("both", 1, 6)
    controller.wait()
    controller._worker.submit(controller._engine.save)
    controller.wait()
    forget_to_save(controller)
    return controller, masks


def test_what_is_newer_than_the_tracker_holds(begin_saved, begun, tmp_path):
    controller, masks = begun
    click(controller, (50, 40, 1), frame=5)
    controller.propagate("forward", 5, 7)
    controller.wait()
    controller.close(10)
    last = masks.shown
    assert np.flatnonzero(last.any((1, 2))).tolist() == [1, 2, 3, 4, 5, 6]

    again, masks, _ = begin_saved()
    click(again, SECOND, frame=0, object_id=2)
    again.undo()
    again.redraw(again.document)
    again.export_all(str(tmp_path / "all.tif"))
    again.wait()
    assert np.array_equal(masks.shown, last)
    assert np.array_equal(tifffile.imread(tmp_path / "all.tif"), last)
    assert again._engine.earlier.known_frames(again.plane, None) == [6]


def test_a_run_that_was_taken_back_stays_so_and_can_be_made_again(begin_saved, begun):
    controller, masks = begun
    full = masks.shown.copy()
    controller.undo()
    controller.wait()
    controller.close(10)
    last = masks.shown
    assert np.flatnonzero(last.any((1, 2))).tolist() == [3]

    again, masks, _ = begin_saved()
    click(again, SECOND, frame=0, object_id=2)
    again.undo()
    again.redraw(again.document)
    again.wait()
    assert np.array_equal(masks.shown, last)
    again.propagate("both", 1, 6)
    again.wait()
    assert np.array_equal(masks.shown, full)


def test_what_an_earlier_version_saved_is_compared_with_its_tracker(begin_saved, locked, tmp_path):
    (path,) = tmp_path.glob("*/prompts.json")
    text = json.loads(path.read_text())
    for entry in text["sessions"]:
        assert entry.pop("follows") > 0
    path.write_text(json.dumps(text))
    controller, masks, _ = begin_saved()
    click(controller, (40, 10, 1), frame=0)
    controller.undo()
    controller.wait()
    assert np.array_equal(masks.shown, locked)
    assert not controller._engine.earlier.is_needed(controller._engine.session(controller.plane))


def test_a_removed_object_is_not_in_later_runs(begin_saved, locked):
    controller, masks, _ = begin_saved()
    assert np.array_equal(masks.shown, locked)
    controller.remove_object(1)
    controller.wait()
    assert not (masks.shown == 1).any()
    controller.propagate()
    controller.wait()
    assert controller._engine.session(controller.plane).tracker.object_ids == [2]
    assert not (masks.shown == 1).any()


@pytest.mark.parametrize("change", ["model", "large planes"])
def test_locked_slices_stay_where_all_else_is_answered_anew(begin_saved, locked, tmp_path, change):
    controller, masks, _ = begin_saved()
    if change == "model":
        controller.choose_model(ModelChoice("nano"), make_model())
    else:
        controller.set_large_planes(type(controller.large_planes)(is_on=False))
    controller.wait()
    assert controller.document.is_confirmed(controller.plane, 1, 6)
    controller.propagate()
    controller.wait()
    assert np.array_equal(masks.shown[6] == 1, locked[6] == 1)
    controller.close(10)
    again, masks, _ = begin_saved()
    assert again.document.is_confirmed(again.plane, 1, 6)
    assert np.array_equal(masks.shown[6] == 1, locked[6] == 1)


def test_locked_slices_stay_for_models_chosen_before_any_is_loaded(begin_saved, locked, model):
    controller, masks, _ = begin_saved(None)
    # Two in a row, and none of them has answered anything yet.
    controller._engine.forget_model()
    controller._engine.forget_model()
    controller._use_model(ModelChoice("nano"), model)
    controller.wait()
    assert controller.document.is_confirmed(controller.plane, 1, 6)
    assert np.array_equal(masks.shown[6] == 1, locked[6] == 1)


def test_closing_saves_the_trackers_in_the_middle_of_a_run(begin_saved):
    controller, masks, _ = begin_saved()
    click(controller, FIRST)
    controller.propagate()
    while len(masks.order) < 4:
        controller.process()
    controller.close(20)
    again, masks, _ = begin_saved()
    restored = np.flatnonzero(masks.shown.any((1, 2)))
    assert len(restored) >= 3
    tracker = again._engine.session(again.plane).tracker
    assert tracker.known_frames() == restored.tolist()


@pytest.fixture
def viewers(images, tmp_path):
    """Open the images in viewers, with autosave and without a model if none is given."""
    made = []

    def open_viewer(network, folder):
        viewer = ViewerModel()
        controller = Controller(network, loader=no_model)
        controller.autosave_folder = folder
        session = ViewerSession(viewer, controller)
        made.append(controller)
        viewer.add_image(images)
        controller.wait()
        return viewer, session

    yield open_viewer
    for controller in made:
        controller.close(10)


@pytest.mark.parametrize("has_model", [True, False])
def test_a_masks_layer_that_was_deleted_is_made_anew_with_all_that_was_on_it(
    viewers, model, locked, tmp_path, has_model
):
    folder = shutil.copytree(tmp_path, tmp_path / "copy")
    viewer, session = viewers(model if has_model else None, folder)
    session.controller.restore()
    session.controller.wait()
    layer = viewer.layers["SAM 2 masks"]
    assert np.array_equal(layer.data, locked)
    viewer.layers.remove(layer)
    viewer.layers["SAM 2 points"].add([0, 40, 10])
    session.controller.wait()
    names = [layer.name for layer in viewer.layers]
    assert names.index("SAM 2 masks") < names.index("SAM 2 boxes")  # clicks are seen on masks
    made = np.asarray(viewer.layers["SAM 2 masks"].data)
    others = np.arange(8) != 0
    assert np.array_equal(made[others], locked[others])
    assert has_model != np.array_equal(made[0], locked[0])
