import numpy as np
import pytest
from test_controller import click

from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.frames import make_stack
from sam2_plugins.napari_plugin.layers import choose_plane
from sam2_plugins.napari_plugin.prompts import MaskPixels, PromptKey, SlicePrompts
from sam2_plugins.napari_plugin.through_time import at_time


def noise_with_a_square():
    """(3, 4, 32, 32) t z y x: what the random network finds at every time point."""
    images = np.random.default_rng(5).integers(0, 255, (3, 4, 32, 32)).astype(np.uint8)
    images[:, :, 4:20, 4:20] = 255
    return images


@pytest.fixture
def volumes(model):
    images = noise_with_a_square()
    controller = Controller(model)
    controller.open(make_stack([images], axis_labels=("t", "z", "y", "x")))
    controller.set_view(choose_plane(images.shape, (2, 3), point=(0, 0, 0, 0)), 2)
    yield controller
    controller.close(10)


def test_a_volume_is_carried_to_the_last_time_point_and_undone_as_one(volumes):
    said = []
    volumes.failed.connect(said.append)
    click(volumes, (10, 10, 1), frame=2)
    volumes.propagate_through_time()
    volumes.wait()
    assert said == []
    seen = {dict(plane.fixed)[0]: set(s) for (plane, _), s in volumes.document.scores.items()}
    assert seen[0] == seen[1] == set(range(4))
    prompted = {dict(key.plane.fixed)[0] for key in volumes.document.prompts}
    assert {0, 1} <= prompted
    volumes.undo()
    volumes.wait()
    seen = {dict(plane.fixed)[0]: set(s) for (plane, _), s in volumes.document.scores.items()}
    assert {time: frames for time, frames in seen.items() if frames} == {0: {2}}
    assert len(volumes.document.prompts) == 1


def test_without_time_there_is_nothing_to_carry(controller):
    click(controller, (25, 20, 1))
    with pytest.raises(ValueError, match="no volumes over time"):
        controller.propagate_through_time()


def prompted(controller):
    """Where there are prompts: (time, slice) by object."""
    return {
        (dict(key.plane.fixed)[0], key.frame_index): said.mask
        for key, said in controller.document.prompts.items()
    }


def scores(controller):
    return {
        (dict(plane.fixed)[0], frame): score
        for (plane, _), found in controller.document.scores.items()
        for frame, score in found.items()
    }


def cancel_after(controller, count):
    """Cancel in the worker's thread, as soon as so many slices were handed over."""
    engine, seen = controller._engine, []
    show = engine.show

    def show_and_count(labels):
        show(labels)
        seen.append(labels)
        if len(seen) == count:
            controller.cancel()

    engine.show = show_and_count
    return seen


@pytest.mark.parametrize("count", [2, 4, 5, 9])
def test_a_carry_that_was_cancelled_goes_on_where_it_was(volumes, model, count):
    click(volumes, (10, 10, 1), frame=2)
    seen = cancel_after(volumes, count)
    ended = []
    volumes.run_ended.connect(ended.append)
    volumes.propagate_through_time()
    volumes.wait()
    assert ended[0].was_cancelled
    assert len(seen) <= count + 1
    first = prompted(volumes)
    volumes.propagate_through_time()
    volumes.wait()
    # Nothing that was finished is done again.
    frames = [(f.plane, f.frame_index) for f in seen]
    assert len(set(frames)) == len(frames)
    assert first.items() <= prompted(volumes).items()
    whole = Controller(model)
    whole.open(volumes.document.stack)
    whole.set_view(volumes.plane, 2)
    click(whole, (10, 10, 1), frame=2)
    whole.propagate_through_time()
    whole.wait()
    assert prompted(whole) == prompted(volumes)
    assert scores(whole) == scores(volumes)
    whole.close(10)


def test_after_a_correction_what_was_carried_follows_and_what_a_person_said_stays(volumes):
    click(volumes, (10, 10, 1), frame=2)
    volumes.propagate_through_time()
    volumes.wait()
    first = prompted(volumes)
    assert len(first) == 3
    start = volumes.plane
    mask = np.zeros((32, 32), bool)
    mask[5:25, 4:20] = True
    said = SlicePrompts(mask=MaskPixels.pack(mask))
    volumes.set_prompts([(PromptKey(at_time(start, 0, 2), 1, 1), said)])
    painted = SlicePrompts(mask=MaskPixels.pack(np.ones((32, 32), bool)))
    volumes.set_prompts([(PromptKey(start, 0, 1), painted)])
    volumes.propagate_through_time()
    volumes.wait()
    second = prompted(volumes)
    assert second[2, 1] == said.mask
    assert sum(time == 1 for time, _ in second) == 1
    carried = volumes._engine.session(at_time(start, 0, 1)).carried
    assert carried[1].source == painted.mask
    for _ in range(3):
        volumes.undo()
    volumes.wait()
    assert prompted(volumes) == first


def test_volumes_are_carried_backward_too_and_along_any_axes(model):
    images = np.ascontiguousarray(noise_with_a_square().transpose(1, 2, 0, 3))
    controller = Controller(model)
    controller.open(make_stack([images], axis_labels=("z", "y", "t", "x")))
    controller.set_view(choose_plane(images.shape, (1, 3), point=(0, 0, 2, 0), frame_axis=0), 1)
    click(controller, (10, 10, 1), frame=1)
    controller.propagate_through_time("backward")
    controller.wait()
    seen = {dict(plane.fixed)[2]: set(s) for (plane, _), s in controller.document.scores.items()}
    assert set(seen) == {0, 1, 2}
    assert seen[2] == seen[1] == set(range(4))
    controller.close(10)
