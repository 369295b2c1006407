"""Earlier work that was restored: exported, undone, removed and locked like any other."""

import shutil

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from test_controller import Masks, click

from conftest import make_model
from sam2_plugins.core import load_masks
from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.frames import make_stack
from sam2_plugins.napari_plugin.layers import choose_plane
from sam2_plugins.napari_plugin.models import ModelChoice
from sam2_plugins.napari_plugin.prompts import MaskPixels, PromptKey, SlicePrompts
from sam2_plugins.napari_plugin.viewer_session import ViewerSession

FIRST = (25, 20, 1)
SECOND = (10, 40, 1)


def no_model(choice):
    raise RuntimeError(f"{choice.name} is not wanted")


@pytest.fixture
def begin(model, images, tmp_path):
    """Open the images with autosave; restores what there is."""
    made = []

    def begin(network=model, pixels=images):
        controller = Controller(network, loader=no_model)
        controller.autosave_folder = tmp_path
        controller.open(make_stack([pixels]))
        shown = (pixels.ndim - 2, pixels.ndim - 1)
        controller.set_view(choose_plane(pixels.shape, shown, point=(0,) * pixels.ndim))
        masks = Masks(controller) if pixels.ndim == 3 else None
        offers = []
        controller.restorable.connect(offers.append)
        controller.wait()
        if offers:
            controller.restore()
            controller.wait()
        controller.messages = []
        controller.failed.connect(controller.messages.append)
        made.append(controller)
        return controller, masks

    yield begin
    for controller in made:
        controller.close(10)


def is_killed(controller, monkeypatch):
    """Trackers are not saved from now on, as where napari is killed."""
    monkeypatch.setattr(controller._engine, "save", lambda: None)


@pytest.fixture
def killed(begin, monkeypatch):
    """What was on show when napari was killed, two objects tracked, before trackers were saved."""
    controller, masks = begin()
    is_killed(controller, monkeypatch)
    click(controller, FIRST)
    click(controller, SECOND, frame=2, object_id=2)
    controller.propagate()
    controller.wait()
    # A correction is decoded with what was tracked, which a new tracker does not have.
    click(controller, (30, 30, 0), frame=6)
    controller.close(10)
    return masks.shown


@pytest.fixture
def locked(begin, monkeypatch):
    """The same, with a locked slice of the first object."""
    controller, masks = begin()
    click(controller, FIRST)
    click(controller, SECOND, frame=2, object_id=2)
    controller.propagate()
    controller.wait()
    controller.confirm(6, object_id=1)
    controller.wait()
    controller.close(10)
    return masks.shown


def only_first(shown):
    return np.where(shown == 1, shown, 0)


def test_it_is_exported_as_it_is_on_show_without_a_model(begin, killed, tmp_path):
    controller, masks = begin(None)
    assert np.array_equal(masks.shown, killed)
    controller.export_all(str(tmp_path / "all.tif"))
    controller.export(str(tmp_path / "plane.tif"))
    controller.export(str(tmp_path / "plane.coco.json"))
    controller.wait()
    assert controller.messages == []
    for name in ("all.tif", "plane.tif"):
        assert np.array_equal(tifffile.imread(tmp_path / name), killed)
    found = list(load_masks(tmp_path / "plane.coco.json"))
    assert [len(frame.masks) for frame in found] == [len(np.unique(s)) - 1 for s in killed]


def test_a_click_leaves_the_other_slices_and_undo_gives_the_picture_before(begin, killed, tmp_path):
    controller, masks = begin()
    for frame, object_id in ((0, 1), (4, 2), (6, 1), (5, 3)):
        click(controller, (40, 10, 1), frame=frame, object_id=object_id)
        assert not np.array_equal(masks.shown[frame], killed[frame])
        others = np.arange(8) != frame
        assert np.array_equal(masks.shown[others], killed[others])
        clicked = masks.shown.copy()
        controller.redraw(controller.document)
        controller.wait()
        assert np.array_equal(masks.shown, clicked)
        controller.undo()
        controller.wait()
        assert np.array_equal(masks.shown, killed)
        controller.redo()
        controller.wait()
        assert np.array_equal(masks.shown, clicked)
        controller.undo()
        controller.wait()
    controller.export_all(str(tmp_path / "all.tif"))
    controller.wait()
    assert controller.messages == []
    assert np.array_equal(tifffile.imread(tmp_path / "all.tif"), killed)


def test_nothing_of_it_is_lost_when_it_is_restored_again(begin, killed):
    """The tracker, saved at the end, knows less than what is on show."""
    for _ in range(2):
        controller, masks = begin()
        assert np.array_equal(masks.shown, killed)
        click(controller, (40, 10, 1), frame=0, object_id=3)
        controller.undo()
        controller.wait()
        assert np.array_equal(masks.shown, killed)
        controller.close(10)


def test_a_run_takes_its_place_and_can_be_undone(begin, killed, tmp_path):
    controller, masks = begin()
    controller.propagate("forward", 2, 5, object_ids=[1])
    controller.wait()
    assert np.array_equal(masks.shown[5:], killed[5:])
    controller.undo()
    controller.wait()
    assert np.array_equal(masks.shown, killed)
    controller.propagate()
    controller.wait()
    tracker = controller._engine.session(controller.plane).tracker
    drawn = np.stack([tracker.masks(frame).to_labels() for frame in range(8)])
    # What answered a correction stays: nothing else was said there.
    drawn[6] = killed[6]
    assert np.array_equal(masks.shown, drawn)
    controller.close(10)
    again, masks = begin()
    again.propagate()
    again.export_all(str(tmp_path / "all.tif"))
    again.wait()
    assert np.array_equal(masks.shown, drawn)
    assert np.array_equal(tifffile.imread(tmp_path / "all.tif"), drawn)


def test_what_is_newer_than_the_tracker_holds(begin, monkeypatch, tmp_path):
    controller, masks = begin()
    click(controller, FIRST)
    controller.propagate()
    controller.wait()
    controller._worker.submit(controller._engine.save)
    controller.wait()
    first = masks.shown.copy()
    is_killed(controller, monkeypatch)
    click(controller, (50, 40, 1), frame=5)
    controller.propagate("forward", 5, 7)
    controller.wait()
    controller.close(10)
    last = masks.shown
    assert not np.array_equal(last[5:7], first[5:7])

    again, masks = begin()
    click(again, SECOND, frame=0, object_id=2)
    again.undo()
    again.redraw(again.document)
    again.export_all(str(tmp_path / "all.tif"))
    again.wait()
    assert np.array_equal(masks.shown, last)
    assert np.array_equal(tifffile.imread(tmp_path / "all.tif"), last)


def test_an_object_is_removed_from_it_and_comes_back(begin, killed):
    controller, masks = begin()
    controller.remove_object(2)
    controller.wait()
    assert np.array_equal(masks.shown > 0, killed == 1)
    controller.undo()
    controller.wait()
    assert np.array_equal(masks.shown, killed)
    controller.redo()
    controller.wait()
    assert np.array_equal(masks.shown, only_first(killed))
    # What is said anew under the same number is another object.
    click(controller, SECOND, frame=1, object_id=2)
    controller.redraw(controller.document)
    controller.wait()
    assert sorted(np.flatnonzero((masks.shown == 2).any((1, 2)))) == [1]
    assert controller.messages == []


def test_a_removed_object_is_not_in_later_runs(begin, locked):
    controller, masks = begin()
    assert np.array_equal(masks.shown, locked)
    controller.remove_object(1)
    controller.wait()
    assert not (masks.shown == 1).any()
    controller.propagate()
    controller.wait()
    assert controller._engine.session(controller.plane).tracker.object_ids == [2]
    assert not (masks.shown == 1).any()


def test_an_object_goes_with_its_last_prompt(begin, killed):
    controller, masks = begin()
    said = PromptKey(controller.plane, 2, 2)
    controller.set_prompts([(said, SlicePrompts())])
    controller.wait()
    assert np.array_equal(masks.shown, only_first(killed))
    controller.undo()
    controller.wait()
    assert np.array_equal(masks.shown, killed)


def test_where_no_model_can_be_loaded_a_removed_object_stays(begin, killed):
    controller, masks = begin(None)
    said = dict(controller.document.prompts)
    controller.remove_object(1)
    controller.wait()
    assert len(controller.messages) == 1
    assert controller.document.prompts == said
    assert not controller.document.done
    assert np.array_equal(masks.shown, killed)


def test_a_slice_of_it_is_locked_as_it_is_on_show(begin, killed):
    controller, masks = begin()
    for frame in (4, 6):
        controller.confirm(frame, object_id=1)
        controller.wait()
        assert controller.messages == []
        assert controller.document.is_confirmed(controller.plane, 1, frame)
        assert np.array_equal(masks.shown, killed)
        controller.undo()
        controller.wait()
        assert not controller.document.is_confirmed(controller.plane, 1, frame)
        assert np.array_equal(masks.shown, killed)
        controller.redo()
        controller.wait()
    controller.propagate()
    controller.wait()
    for frame in (4, 6):
        assert np.array_equal(masks.shown[frame] == 1, killed[frame] == 1)


@pytest.mark.parametrize("change", ["model", "large planes"])
def test_locked_slices_stay_where_all_else_is_answered_anew(begin, locked, tmp_path, change):
    controller, masks = begin()
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
    again, masks = begin()
    assert again.document.is_confirmed(again.plane, 1, 6)
    assert np.array_equal(masks.shown[6] == 1, locked[6] == 1)


def test_locked_slices_stay_for_a_model_that_is_chosen_before_any_is_loaded(begin, locked, model):
    controller, masks = begin(None)
    # Two in a row, and none of them has answered anything yet.
    controller._engine.forget_model()
    controller._engine.forget_model()
    controller._use_model(ModelChoice("nano"), model)
    controller.wait()
    assert controller.document.is_confirmed(controller.plane, 1, 6)
    assert np.array_equal(masks.shown[6] == 1, locked[6] == 1)


def test_closing_saves_the_trackers_in_the_middle_of_a_run(begin):
    controller, masks = begin()
    click(controller, FIRST)
    controller.propagate()
    while len(masks.order) < 4:
        controller.process()
    controller.close(20)
    again, masks = begin()
    restored = np.flatnonzero(masks.shown.any((1, 2)))
    assert len(restored) >= 3
    tracker = again._engine.session(again.plane).tracker
    assert tracker.known_frames() == restored.tolist()


def test_other_planes_are_there_before_their_trackers_are_opened(begin, tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 250, (3, 4, 32, 40)).astype(np.uint8)
    controller, _ = begin(pixels=pixels)
    is_killed(controller, monkeypatch)
    shown = np.zeros(pixels.shape, np.uint16)
    for time in (0, 2):
        plane = choose_plane(pixels.shape, (2, 3), point=(time, 0, 0, 0), frame_axis=1)
        mask = np.zeros((32, 40), bool)
        mask[4:20, 5 + time : 25] = True
        said = SlicePrompts(mask=MaskPixels.pack(mask))
        controller.set_view(plane)
        controller.set_prompts([(PromptKey(plane, 1, time + 1), said)])
        shown[time, 1][mask] = time + 1
    controller.wait()
    controller.close(10)
    again, _ = begin(pixels=pixels)
    path = tmp_path / "all.tif"
    again.remove_object(1)
    again.export_all(str(path))
    again.wait()
    expected = np.where(shown == 1, 0, shown)
    assert again.messages == []
    assert np.array_equal(tifffile.imread(path), expected)
    again.undo()
    again.export_all(str(path))
    again.wait()
    assert np.array_equal(tifffile.imread(path), shown)


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
    made = np.asarray(viewer.layers["SAM 2 masks"].data)
    others = np.arange(8) != 0
    assert np.array_equal(made[others], locked[others])
    assert has_model != np.array_equal(made[0], locked[0])
