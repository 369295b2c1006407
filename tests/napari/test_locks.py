"""Locked slices: what is said there is refused without a trace, and runs can be undone as ever."""

import numpy as np
import pytest
from test_undo_order import held_worker, say

from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.frames import make_stack
from sam2_plugins.napari_plugin.layers import choose_plane
from sam2_plugins.napari_plugin.models import ModelChoice
from sam2_plugins.napari_plugin.prompts import PromptKey, SlicePrompts

MASKS = "SAM 2 masks"


def drawn(controller):
    """Slices on which object 1 has a mask."""
    return sorted(frame for _, frame in controller.document.frames_of(1))


def mask(controller, frame):
    return controller._engine.sessions[controller.plane].labels(frame).mask(1)


def locks(controller):
    return controller.document.knowledge[controller.plane].confirmed.get(1, set())


@pytest.fixture
def tracked(controller):
    """Object 1 is clicked on slice 3, tracked everywhere, and locked on slice 5."""
    say(controller, 3, 1, (25, 20, 1))
    controller.propagate()
    controller.wait()
    controller.confirm(5)
    controller.wait()
    return controller


def test_a_stroke_on_a_locked_slice_does_not_stay_in_the_layer(begin_session, images):
    viewer, session = begin_session()
    viewer.add_image(images)
    layer, controller = viewer.layers[MASKS], session.controller
    viewer.dims.set_point(0, 0)
    layer.brush_size = 10

    def paint(y, x, label=1):
        with layer.block_history():
            layer.selected_label = 1
            layer.paint((0, y, x), label)
        controller.wait()

    paint(20, 20)
    controller.confirm(0)
    controller.wait()
    locked = np.array(layer.data[0])
    assert locked.any()
    for stroke in ((40, 55), (20, 26), (20, 20, 0)):
        paint(*stroke)
        assert np.array_equal(layer.data[0], locked)
    controller.confirm(0, is_confirmed=False)
    paint(40, 55)
    assert (layer.data[0] == 1).sum() > locked.sum()


def test_of_two_clicks_on_a_locked_slice_neither_is_kept(tracked, messages):
    with held_worker(tracked):
        say(tracked, 5, 1, (10, 40, 1))
        say(tracked, 5, 1, (10, 40, 1), (12, 41, 1))
    tracked.wait()
    assert len(messages) == 2
    assert set(tracked.document.prompts) == {PromptKey(tracked.plane, 3, 1)}
    assert tracked.document.done[-1].what == "lock slice"


def test_a_click_is_kept_that_followed_on_one_that_was_refused(tracked, messages):
    key = PromptKey(tracked.plane, 5, 1)
    with held_worker(tracked):
        say(tracked, 5, 1, (10, 40, 1))
        tracked.confirm(5, is_confirmed=False)
        say(tracked, 5, 1, (10, 40, 1), (12, 41, 1))
    tracked.wait()
    assert len(messages) == 1
    assert len(tracked.document.prompts[key].clicks) == 2
    assert tracked._engine.sessions[tracked.plane].orders[5, 1].clicks
    tracked.undo()
    tracked.wait()
    # Never in force: it does not come back either.
    assert key not in tracked.document.prompts
    assert (5, 1) not in tracked._engine.sessions[tracked.plane].orders


def test_what_was_refused_is_forgotten_though_it_was_undone_meanwhile(tracked, messages):
    with held_worker(tracked):
        say(tracked, 5, 1, (10, 40, 1))
        say(tracked, 6, 1, (10, 40, 1))
        tracked.undo()
        tracked.undo()
    tracked.wait()
    assert len(messages) == 1
    assert tracked.redo()
    tracked.wait()
    assert {key.frame_index for key in tracked.document.prompts} == {3, 6}
    assert not tracked.redo()


def test_clicks_while_a_model_that_does_not_come_is_loaded(images):
    def fail(choice):
        raise FileNotFoundError("no weights")

    made = Controller(loader=fail)
    made.open(make_stack([images]))
    made.set_view(choose_plane(images.shape, (1, 2), point=(0, 0, 0)), 0)
    with held_worker(made):
        for count in (1, 2, 3):
            say(made, 3, 1, *[(10, 10 + n, 1) for n in range(count)])
    made.wait()
    assert not made.document.prompts
    assert not made.document.done
    made.close(10)


def undo_and_redo_a_run(controller, before):
    """A run is undone and made again; locked masks stay to the pixel."""
    locked = {frame: mask(controller, frame) for frame in locks(controller)}
    controller.propagate(object_ids=[1])
    controller.wait()
    after = drawn(controller)
    assert len(after) > len(before)
    assert controller.document.done[-1].what == "propagate"
    controller.undo()
    controller.wait()
    assert drawn(controller) == before
    assert locks(controller) == set(locked)
    controller.redo()
    controller.wait()
    assert drawn(controller) == after
    assert locks(controller) == set(locked)
    assert all(np.array_equal(mask(controller, frame), was) for frame, was in locked.items())


def test_a_run_of_an_object_whose_prompts_are_all_locked_is_undone(controller, messages):
    say(controller, 3, 1, (25, 20, 1))
    controller.confirm(3)
    controller.wait()
    undo_and_redo_a_run(controller, [3])
    assert not messages


def test_a_run_of_an_object_that_has_one_locked_mask_and_no_more_is_undone(controller, messages):
    say(controller, 0, 2, (50, 40, 1))
    say(controller, 3, 1, (25, 20, 1))
    controller.propagate("forward", 4, 5, object_ids=[1])
    controller.wait()
    controller.confirm(4)
    say(controller, 3, 1)
    controller.wait()
    assert drawn(controller) == [4]
    undo_and_redo_a_run(controller, [4])
    assert not messages


def test_a_run_of_a_mask_that_another_model_left_locked_is_undone(controller, messages, model):
    say(controller, 3, 1, (25, 20, 1))
    controller.confirm(3)
    controller.wait()
    controller.choose_model(ModelChoice(), model)
    controller.wait()
    undo_and_redo_a_run(controller, [3])
    # It still is the other model's: prompts on it are kept in mind.
    say(controller, 3, 1, (25, 20, 1), (26, 20, 1))
    controller.wait()
    assert not messages
    assert len(controller.document.prompts[controller.plane, 3, 1].clicks) == 2


def test_an_object_that_has_nothing_but_locks_is_removed_and_comes_back(tracked):
    before = drawn(tracked)
    tracked.set_view(tracked.plane, 3)
    tracked.clear_slice()
    tracked.wait()
    assert not tracked.document.prompts
    left = drawn(tracked)
    assert 5 in left
    tracked.remove_object(1)
    tracked.wait()
    assert drawn(tracked) == []
    assert not tracked._engine.sessions[tracked.plane].tracker.object_ids
    tracked.undo()
    tracked.wait()
    assert drawn(tracked) == left
    tracked.undo()
    tracked.wait()
    assert drawn(tracked) == before


def test_removing_nothing_is_no_step(tracked):
    tracked.new_object()
    steps = [step.what for step in tracked.document.done]
    tracked.remove_object()
    tracked.wait()
    assert [step.what for step in tracked.document.done] == steps


def test_locking_a_slice_without_a_mask_is_no_step_and_leaves_redo_alone(controller, messages):
    say(controller, 3, 1, (25, 20, 1))
    say(controller, 4, 1, (25, 20, 1))
    controller.undo()
    controller.wait()
    controller.confirm(6)
    controller.confirm(6, object_id=2)
    controller.wait()
    assert messages == [f"object {i} has no mask on slice 6 that could be locked" for i in (1, 2)]
    assert [step.what for step in controller.document.done] == ["prompts"]
    assert controller.redo()
    controller.wait()
    assert drawn(controller) == [3, 4]


def test_locking_what_is_locked_is_no_step(tracked, messages):
    tracked.confirm(5)
    tracked.wait()
    assert [step.what for step in tracked.document.done] == ["prompts", "propagate", "lock slice"]
    assert not messages


def test_a_refused_prompt_is_not_saved(tracked, tmp_path):
    tracked.save_in(type(tracked.places)(tmp_path))
    with held_worker(tracked):
        say(tracked, 5, 1, (10, 40, 1))
        say(tracked, 5, 1, (10, 40, 1), (12, 41, 1))
    tracked.wait()
    saved = tracked._engine.saver._said
    assert set(saved.prompts) == {PromptKey(tracked.plane, 3, 1)}
    assert saved.prompts[tracked.plane, 3, 1] != SlicePrompts()
