"""Earlier work that was restored: exported, undone, removed and locked like any other."""

import numpy as np
import pytest
import tifffile
from test_controller import click

from sam2_plugins.core import load_masks
from sam2_plugins.napari_plugin.layers import choose_plane
from sam2_plugins.napari_plugin.prompts import MaskPixels, PromptKey, SlicePrompts

FIRST = (25, 20, 1)
SECOND = (10, 40, 1)


@pytest.fixture
def killed(begin_saved, forget_to_save):
    """What was on show when napari was killed, two objects tracked, before trackers were saved."""
    controller, masks, _ = begin_saved()
    forget_to_save(controller)
    click(controller, FIRST)
    click(controller, SECOND, frame=2, object_id=2)
    controller.propagate()
    controller.wait()
    # A correction is decoded with what was tracked, which a new tracker does not have.
    click(controller, (30, 30, 0), frame=6)
    controller.close(10)
    return masks.shown


def only_first(shown):
    return np.where(shown == 1, shown, 0)


def test_it_is_exported_as_it_is_on_show_without_a_model(begin_saved, killed, tmp_path):
    controller, masks, messages = begin_saved(None)
    assert np.array_equal(masks.shown, killed)
    controller.export_all(str(tmp_path / "all.tif"))
    controller.export(str(tmp_path / "plane.tif"))
    controller.export(str(tmp_path / "plane.coco.json"))
    controller.wait()
    assert messages == []
    for name in ("all.tif", "plane.tif"):
        assert np.array_equal(tifffile.imread(tmp_path / name), killed)
    found = list(load_masks(tmp_path / "plane.coco.json"))
    assert [len(frame.masks) for frame in found] == [len(np.unique(s)) - 1 for s in killed]


def test_a_click_leaves_other_slices_and_undo_gives_the_picture_before(
    begin_saved, killed, tmp_path
):
    controller, masks, messages = begin_saved()
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
    assert messages == []
    assert np.array_equal(tifffile.imread(tmp_path / "all.tif"), killed)


def test_nothing_of_it_is_lost_when_it_is_restored_again(begin_saved, killed):
    """The tracker, saved at the end, knows less than what is on show."""
    for _ in range(2):
        controller, masks, _ = begin_saved()
        assert np.array_equal(masks.shown, killed)
        click(controller, (40, 10, 1), frame=0, object_id=3)
        controller.undo()
        controller.wait()
        assert np.array_equal(masks.shown, killed)
        controller.close(10)


def test_a_run_takes_its_place_and_can_be_undone(begin_saved, killed, tmp_path):
    controller, masks, _ = begin_saved()
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
    again, masks, _ = begin_saved()
    again.propagate()
    again.export_all(str(tmp_path / "all.tif"))
    again.wait()
    assert np.array_equal(masks.shown, drawn)
    assert np.array_equal(tifffile.imread(tmp_path / "all.tif"), drawn)


def test_an_object_is_removed_from_it_and_comes_back(begin_saved, killed):
    controller, masks, messages = begin_saved()
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
    assert messages == []


def test_an_object_goes_with_its_last_prompt(begin_saved, killed):
    controller, masks, _ = begin_saved()
    said = PromptKey(controller.plane, 2, 2)
    controller.set_prompts([(said, SlicePrompts())])
    controller.wait()
    assert np.array_equal(masks.shown, only_first(killed))
    controller.undo()
    controller.wait()
    assert np.array_equal(masks.shown, killed)


def test_where_no_model_can_be_loaded_a_removed_object_stays(begin_saved, killed):
    controller, masks, messages = begin_saved(None)
    said = dict(controller.document.prompts)
    controller.remove_object(1)
    controller.wait()
    assert len(messages) == 1
    assert controller.document.prompts == said
    assert not controller.document.done
    assert np.array_equal(masks.shown, killed)


def test_a_slice_of_it_is_locked_as_it_is_on_show(begin_saved, killed):
    controller, masks, messages = begin_saved()
    for frame in (4, 6):
        controller.confirm(frame, object_id=1)
        controller.wait()
        assert messages == []
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


def test_planes_are_there_before_their_trackers_are(begin_saved, tmp_path, forget_to_save):
    pixels = np.random.default_rng(0).integers(0, 250, (3, 4, 32, 40)).astype(np.uint8)
    controller, _, _ = begin_saved(pixels=pixels)
    forget_to_save(controller)
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
    again, _, messages = begin_saved(pixels=pixels)
    path = tmp_path / "all.tif"
    again.remove_object(1)
    again.export_all(str(path))
    again.wait()
    expected = np.where(shown == 1, 0, shown)
    assert messages == []
    assert np.array_equal(tifffile.imread(path), expected)
    again.undo()
    again.export_all(str(path))
    again.wait()
    assert np.array_equal(tifffile.imread(path), shown)
