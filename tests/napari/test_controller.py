"""The controller without a window."""

import threading

import numpy as np
import pytest

from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.frames import make_stack
from sam2_plugins.napari_plugin.layers import choose_plane
from sam2_plugins.napari_plugin.models import ModelChoice
from sam2_plugins.napari_plugin.prompts import Click, MaskPixels, PromptKey, SlicePrompts


class Masks:
    """The label images that a controller hands over, by frame index."""

    def __init__(self, controller, shape=(8, 48, 64)):
        self.shown = np.zeros(shape, np.uint16)
        self.order = []
        controller.masks_changed.connect(self.take)

    def take(self, document, found):
        self.order.append(found.frame_index)
        frame = self.shown[found.frame_index]
        frame[:] = 0
        if found.window is not None:
            y0, x0, y1, x1 = found.window
            frame[y0:y1, x0:x1] = found.labels

    @property
    def areas(self):
        return (self.shown > 0).sum((1, 2)).tolist()


@pytest.fixture
def masks(controller):
    return Masks(controller)


def key(controller, frame=3, object_id=1):
    return PromptKey(controller.plane, frame, object_id)


def click(controller, *clicks, frame=3, object_id=1):
    said = SlicePrompts(tuple(Click(*c) for c in clicks))
    controller.set_prompts([(key(controller, frame, object_id), said)])
    controller.wait()


def test_a_click_is_answered_on_its_slice_alone(controller, masks, messages):
    click(controller, (25, 20, 1))
    assert masks.areas[3] > 0
    assert sum(masks.areas) == masks.areas[3]
    assert not messages
    assert not controller.is_busy


def test_more_clicks_change_the_mask_and_undo_brings_each_back(controller, masks):
    click(controller, (25, 20, 1))
    one = masks.shown[3].copy()
    click(controller, (25, 20, 1), (60, 40, 0))
    two = masks.shown[3].copy()
    assert not np.array_equal(one, two)
    assert controller.undo()
    controller.wait()
    assert np.array_equal(masks.shown[3], one)
    assert controller.document.prompts[key(controller)].clicks == (Click(25, 20, 1),)
    assert controller.undo()
    controller.wait()
    assert sum(masks.areas) == 0
    assert not controller.document.prompts
    assert not controller.undo()
    assert controller.redo()
    assert controller.redo()
    assert not controller.redo()
    controller.wait()
    assert np.array_equal(masks.shown[3], two)


def test_a_moved_click_gives_what_it_would_have_given_there_at_once(controller, masks):
    click(controller, (10, 10, 1))
    click(controller, (25, 20, 1))
    moved = masks.shown[3].copy()
    controller.undo()
    controller.undo()
    click(controller, (25, 20, 1))
    assert np.array_equal(masks.shown[3], moved)


def test_a_run_reaches_every_slice_and_can_be_undone(controller, masks):
    click(controller, (25, 20, 1))
    controller.propagate()
    controller.wait()
    assert sorted(set(masks.order)) == list(range(8))
    full = masks.shown.copy()
    assert all(masks.areas)
    controller.undo()
    controller.wait()
    assert [bool(a) for a in masks.areas] == [f == 3 for f in range(8)]
    controller.redo()
    controller.wait()
    assert np.array_equal(masks.shown, full)


def test_moving_the_only_click_keeps_the_other_slices_until_the_next_run(controller, masks):
    click(controller, (25, 20, 1))
    controller.propagate()
    controller.wait()
    before = masks.shown.copy()
    click(controller, (30, 22, 1))
    others = np.arange(8) != 3
    assert np.array_equal(masks.shown[others], before[others])
    assert controller.document.knowledge[controller.plane].confirmed == {1: frozenset()}


def test_a_run_over_a_range_stays_in_it(controller, masks):
    click(controller, (25, 20, 1))
    controller.propagate("both", 2, 6)
    controller.wait()
    assert [f for f, area in enumerate(masks.areas) if area] == [2, 3, 4, 5]


@pytest.fixture
def shares(controller):
    told = []
    controller.progressed.connect(lambda progress: told.append(progress.share))
    return told


def test_progress_tells_slices_between_prompts_from_both_sides(controller, shares):
    click(controller, (25, 20, 1), frame=0)
    click(controller, (32, 22, 1), frame=7)
    controller.propagate()
    controller.wait()
    assert shares == sorted(shares)
    # Eight slices, the six between prompts twice.
    assert shares[:8] == [n / 14 for n in range(1, 9)]
    assert shares[8] == 9 / 14
    assert shares[-1] <= 1


def test_progress_of_a_run_that_stops_at_poor_masks_does_not_go_back(controller, shares):
    click(controller, (25, 20, 1))
    controller.propagate(min_iou=1.5)
    controller.wait()
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] <= 1


def test_forward_goes_forward_only(controller, masks):
    click(controller, (25, 20, 1))
    controller.propagate("forward")
    controller.wait()
    assert [f for f, area in enumerate(masks.areas) if area] == [3, 4, 5, 6, 7]


def test_a_run_stops_each_way_at_the_first_poor_mask(controller, masks):
    click(controller, (25, 20, 1))
    controller.propagate(min_iou=1.5)
    controller.wait()
    assert [f for f, area in enumerate(masks.areas) if area] == [2, 3, 4]


def test_cancel_keeps_what_is_finished_and_a_second_run_goes_on(controller, masks):
    click(controller, (25, 20, 1))
    reached = threading.Event()
    wake = controller._outbox.post
    told = []

    def cancel_after_two(message, document=None):
        wake(message, document=document)
        told.append(message)
        if [type(each).__name__ for each in told].count("Progress") == 2:
            controller.cancel()
            reached.set()

    controller._outbox.post = cancel_after_two
    engine = controller._engine
    engine.post = lambda message: cancel_after_two(message, controller.document)
    ended = []
    controller.run_ended.connect(ended.append)
    controller.propagate()
    controller.wait()
    assert reached.is_set()
    assert ended[0].was_cancelled
    assert sum(bool(a) for a in masks.areas) == 2
    engine.post = lambda message: wake(message, document=controller.document)
    controller.propagate()
    controller.wait()
    assert all(masks.areas)
    assert not ended[1].was_cancelled
    assert ended[1].num_frames < 8 + 1


def test_a_run_is_cancelled_and_clicks_are_answered_between_two_objects_of_a_slice(
    controller, masks, monkeypatch
):
    for object_id in range(1, 6):
        click(controller, (10 * object_id, 20, 1), object_id=object_id)
    tracked, halted, go_on = [], threading.Event(), threading.Event()
    segmenter = controller._engine.session(controller.plane).tracker._segmenter
    track = type(segmenter).track

    def halting(self, object_id, masklet, frame_index, **options):
        tracked.append((frame_index, object_id))
        if len(tracked) == 2:
            halted.set()
            assert go_on.wait(60)
        return track(self, object_id, masklet, frame_index, **options)

    monkeypatch.setattr(type(segmenter), "track", halting)
    ended = []
    controller.run_ended.connect(ended.append)
    controller.propagate()
    while not halted.wait(0.01):
        controller.process()
    said = SlicePrompts((Click(25, 30, 1),))
    controller.set_prompts([(key(controller, 0, 9), said)])
    controller.cancel()
    go_on.set()
    controller.wait()
    # Two of five objects: the click is answered, and what was found of the slice is shown.
    assert tracked == [(4, 1), (4, 2)]
    assert masks.order[-2:] == [0, 4]
    assert set(np.unique(masks.shown[4])) - {0} <= {1, 2}
    assert masks.shown[4].any()
    assert ended[-1].was_cancelled
    assert ended[-1].num_frames == 2


def test_a_locked_slice_is_not_changed_by_runs_or_prompts(controller, masks, messages):
    click(controller, (25, 20, 1))
    controller.propagate()
    controller.wait()
    controller.confirm(5)
    controller.wait()
    locked = masks.shown[5].copy()
    click(controller, (10, 40, 1), frame=6)
    controller.propagate()
    controller.wait()
    assert np.array_equal(masks.shown[5], locked)
    click(controller, (10, 10, 1), frame=5)
    assert "locked" in messages[0]
    assert key(controller, 5) not in controller.document.prompts
    assert np.array_equal(masks.shown[5], locked)
    controller.confirm(5, is_confirmed=False)
    click(controller, (10, 10, 1), frame=5)
    assert len(messages) == 1


def test_objects_are_made_committed_reopened_and_removed(controller, masks):
    click(controller, (25, 20, 1))
    assert controller.commit() == 1
    assert controller.current_object == 2
    assert controller.document.shown_prompts() == {}
    click(controller, (5, 40, 1), object_id=2)
    assert controller.new_object() == 3
    assert controller.new_object() == 3
    controller.reopen(1)
    assert set(controller.document.shown_prompts()) == {key(controller), key(controller, 3, 2)}
    assert 2 in masks.shown[3]
    controller.remove_object(2)
    controller.wait()
    assert 2 not in masks.shown[3]
    controller.undo()
    controller.wait()
    assert 2 in masks.shown[3]


def test_a_run_leaves_committed_objects_alone(controller, masks):
    click(controller, (25, 20, 1))
    controller.commit()
    click(controller, (5, 40, 1), object_id=2)
    controller.propagate()
    controller.wait()
    frames = {f for _, f in controller.document.frames_of(1)}
    assert frames == {3}


def test_a_mask_prompt_is_kept_to_the_pixel(controller, masks):
    mask = np.zeros((48, 64), bool)
    mask[10:20, 12:30] = True
    controller.set_prompts([(key(controller), SlicePrompts(mask=MaskPixels.pack(mask)))])
    controller.wait()
    assert np.array_equal(masks.shown[3] == 1, mask)


def test_scores_are_known_for_every_slice_and_one_is_suggested(controller, masks):
    click(controller, (25, 20, 1))
    controller.propagate()
    controller.wait()
    scores = controller.document.scores[controller.plane, 1]
    assert sorted(scores) == list(range(8))
    assert [scores[f].area for f in range(8)] == masks.areas
    found = []
    controller.suggested.connect(found.append)
    controller.suggest_slice()
    controller.wait()
    assert found[0].frame_index in set(range(8)) - {3}


def test_a_model_that_cannot_be_loaded_is_explained_and_the_prompt_taken_back(images):
    def fail(choice: ModelChoice):
        raise FileNotFoundError(f"no weights for {choice.name}")

    controller = Controller(loader=fail)
    controller.open(make_stack([images]))
    controller.set_view(choose_plane(images.shape, (1, 2), point=(0, 0, 0)))
    said = []
    controller.failed.connect(said.append)
    click(controller, (25, 20, 1))
    assert said == ["no weights for nano"]
    assert not controller.document.prompts
    assert not controller.document.done
    controller.close(10)


def test_another_model_answers_all_prompts_anew_and_keeps_locked_masks(controller, masks, model):
    click(controller, (25, 20, 1))
    controller.propagate()
    controller.wait()
    controller.confirm(5)
    controller.wait()
    locked = masks.shown[5].copy()
    masks.order.clear()
    controller.choose_model(ModelChoice(), model)
    controller.wait()
    assert 3 in masks.order
    controller.propagate()
    controller.wait()
    assert np.array_equal(masks.shown[5], locked)


def test_without_prompts_or_an_image_there_is_nothing_to_do(controller):
    with pytest.raises(ValueError, match="no prompts yet"):
        controller.propagate()
    with pytest.raises(RuntimeError, match="no image is open"):
        Controller().undo()


def test_a_closed_controller_ends_its_run(controller):
    click(controller, (25, 20, 1))
    controller.propagate()
    controller.close(20)
    assert not controller._worker._thread.is_alive()


def test_time_points_are_kept_apart(model):
    images = np.random.default_rng(0).integers(0, 255, (2, 4, 32, 32)).astype(np.uint8)
    controller = Controller(model)
    controller.open(make_stack([images], axis_labels=("t", "z", "y", "x")))
    for t in (0, 1):
        plane = choose_plane(images.shape, (2, 3), point=(t, 0, 0, 0))
        controller.set_view(plane, 2)
        click(controller, (10, 10, 1), frame=2)
    assert len(controller.document.planes()) == 2
    controller.propagate()
    controller.wait()
    found = controller.document.frames_of(1)
    assert {plane.fixed for plane, _ in found} <= {((0, 0),), ((0, 1),)}
    scored = {plane.fixed: len(s) for (plane, _), s in controller.document.scores.items()}
    assert scored == {((0, 0),): 1, ((0, 1),): 4}
    controller.close(10)


def test_of_two_objects_found_on_one_thing_the_prompted_one_is_drawn(controller, masks):
    said = []
    controller.masks_changed.connect(lambda _, found: said.append(found))
    click(controller, (25, 20, 1))
    controller.propagate()
    controller.wait()
    slid = masks.shown[5] == 1
    assert slid.any()
    prompt = SlicePrompts(mask=MaskPixels.pack(slid))
    controller.set_prompts([(key(controller, 5, 2), prompt)])
    controller.wait()
    assert np.array_equal(masks.shown[5], 2 * slid)
    assert [said[-1].scores[i].area for i in (1, 2)] == [0, slid.sum()]
    assert (masks.shown[4] == 1).any()
    controller.undo()
    controller.wait()
    assert np.array_equal(masks.shown[5], slid)
