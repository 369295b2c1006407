"""Steps are undone in the order of the trackers' edits, whatever is said while a run waits."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest

from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.frames import make_stack
from sam2_plugins.napari_plugin.layers import choose_plane
from sam2_plugins.napari_plugin.models import ModelChoice
from sam2_plugins.napari_plugin.prompts import Click, PromptKey, SlicePrompts
from sam2_plugins.napari_plugin.session import Knowledge
from sam2_plugins.napari_plugin.through_time import at_time

TIMEOUT_S = 120


@contextmanager
def held_worker(controller):
    """What is asked of the worker waits until this is left."""
    go = threading.Event()
    controller._worker.submit(lambda: go.wait(TIMEOUT_S))
    yield
    go.set()


def say(controller, frame, object_id, *clicks, plane=None):
    key = PromptKey(plane or controller.plane, frame, object_id)
    controller.set_prompts([(key, SlicePrompts(tuple(Click(*c) for c in clicks)))])


def said(controller):
    """Prompts as the window has them."""
    return set(controller.document.prompts)


def told(controller):
    """Prompts as the trackers have them; no slice is locked."""
    sessions = controller._engine.sessions
    for session in sessions.values():
        assert not any(session.tracker.confirmed.values())
    return {
        PromptKey(plane, frame, object_id)
        for plane, session in sessions.items()
        for object_id, frames in session.tracker.prompts.items()
        for frame in frames
    }


def undo_all_and_redo(controller):
    """Window and trackers are of one mind after every step, there and back."""
    seen = [said(controller)]
    assert told(controller) == seen[0]
    while controller.undo():
        controller.wait()
        seen.append(said(controller))
        assert told(controller) == seen[-1]
    assert not seen[-1]
    for expected in reversed(seen[:-1]):
        assert controller.redo()
        controller.wait()
        assert said(controller) == told(controller) == expected
    assert not controller.redo()


def test_a_click_while_a_run_waits_for_the_worker(controller):
    say(controller, 0, 1, (20, 20, 1))
    controller.wait()
    with held_worker(controller):
        controller.propagate()
        say(controller, 5, 2, (40, 30, 1))
    controller.wait()
    assert len(controller.document.scores[controller.plane, 1]) == 8
    undo_all_and_redo(controller)


def test_a_run_that_did_not_begin_is_no_step_after_undo_of_a_later_click(controller):
    say(controller, 0, 1, (20, 20, 1))
    controller.wait()
    with held_worker(controller):
        controller.propagate()
        say(controller, 5, 2, (40, 30, 1))
        controller.undo()
    controller.wait()
    assert said(controller) == told(controller) == {PromptKey(controller.plane, 0, 1)}
    assert [step.what for step in controller.document.done] == ["prompts"]
    assert len(controller.document.scores[controller.plane, 1]) == 1


def test_undo_of_a_run_that_did_not_begin_takes_back_nothing_else(controller):
    say(controller, 0, 1, (20, 20, 1))
    say(controller, 5, 2, (40, 30, 1))
    controller.undo()
    controller.wait()
    with held_worker(controller):
        controller.propagate()
        controller.undo()
    controller.wait()
    assert said(controller) == told(controller) == {PromptKey(controller.plane, 0, 1)}
    # Nothing was done: what was undone before can still be made again.
    assert controller.redo()
    controller.wait()
    assert PromptKey(controller.plane, 5, 2) in said(controller) == told(controller)


def test_of_two_runs_in_a_row_only_the_second_is_undone(controller):
    say(controller, 3, 1, (25, 20, 1))
    say(controller, 3, 2, (5, 40, 1))
    controller.wait()
    with held_worker(controller):
        controller.propagate(object_ids=[1])
        controller.propagate("forward", object_ids=[2])
    controller.wait()
    scores = controller.document.scores
    assert [len(scores[controller.plane, i]) for i in (1, 2)] == [8, 5]
    controller.undo()
    controller.wait()
    assert [len(scores[controller.plane, i]) for i in (1, 2)] == [8, 1]


def test_a_run_without_a_model_is_no_step(images, model):
    is_broken = []

    def load(choice):
        if is_broken:
            raise FileNotFoundError("the weights are gone")
        return model

    made = Controller(loader=load)
    made.open(make_stack([images]))
    made.set_view(choose_plane(images.shape, (1, 2), point=(0, 0, 0)), 0)
    messages = []
    made.failed.connect(messages.append)
    say(made, 0, 1, (20, 20, 1))
    made.wait()
    made.unload_model()
    made.wait()
    is_broken.append(True)
    made.propagate()
    made.wait()
    assert messages == ["the weights are gone"]
    assert not made.document.done
    made.close(10)


@pytest.fixture
def volumes(model):
    """(4, 3, 48, 64) t z y x: the disk of `images` does not move."""
    rows, columns = np.mgrid[:48, :64]
    images = np.full((4, 3, 48, 64), 300, np.uint16)
    images[..., (rows - 20) ** 2 + (columns - 20) ** 2 < 80] = 4000
    images += np.random.default_rng(0).integers(0, 100, images.shape, np.uint16)
    made = Controller(model)
    made.open(make_stack([images], axis_labels=("t", "z", "y", "x")))
    made.set_view(choose_plane(images.shape, (2, 3), point=(0, 0, 0, 0)), 1)
    yield made
    made.close(10)


def times(controller):
    return {dict(key.plane.fixed)[0] for key in said(controller) if key.object_id == 1}


def test_a_click_at_a_later_time_point_before_a_carry_begins(volumes):
    say(volumes, 1, 1, (20, 20, 1))
    volumes.wait()
    with held_worker(volumes):
        volumes.propagate_through_time()
        say(volumes, 0, 2, (50, 40, 1), plane=at_time(volumes.plane, 0, 3))
    volumes.wait()
    assert times(volumes) == {0, 1, 2, 3}
    undo_all_and_redo(volumes)


def test_a_click_in_the_middle_of_a_carry_lies_between_its_parts(volumes):
    say(volumes, 1, 1, (20, 20, 1))
    volumes.wait()
    reached, go = threading.Event(), threading.Event()
    engine = volumes._engine
    show = engine.show

    def show_and_wait(labels):
        show(labels)
        if dict(labels.plane.fixed)[0] == 1 and not reached.is_set():
            reached.set()
            assert go.wait(TIMEOUT_S)

    engine.show = show_and_wait
    volumes.propagate_through_time()
    while not reached.wait(0.001):
        volumes.process()
    say(volumes, 0, 2, (50, 40, 1), plane=at_time(volumes.plane, 0, 3))
    go.set()
    volumes.wait()
    carry = "propagate through time"
    assert [s.what for s in volumes.document.done] == ["prompts", carry, "prompts", carry]
    assert times(volumes) == {0, 1, 2, 3}
    undo_all_and_redo(volumes)
    volumes.undo()
    volumes.wait()
    assert times(volumes) == {0, 1}


def test_after_another_model_a_lock_is_undone_to_what_it_was(controller, model):
    say(controller, 3, 1, (25, 20, 1))
    controller.confirm(3)
    controller.wait()
    controller.choose_model(ModelChoice(), model)
    controller.wait()
    messages = []
    controller.failed.connect(messages.append)
    controller.confirm(3, is_confirmed=False)
    controller.undo()
    # Of a mask that another model made, prompts are kept in mind and not told.
    say(controller, 3, 1, (25, 20, 1), (30, 22, 1))
    controller.wait()
    assert messages == []
    assert controller.document.knowledge[controller.plane].confirmed == {1: {3}}


def test_an_object_that_has_only_locks_is_not_unused(controller):
    document, plane = controller.document, controller.plane
    document.knowledge[plane] = Knowledge({}, {1: frozenset({3})})
    assert document.unused_object() == 2
