import numpy as np
import pytest
from test_controller import click

from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.frames import make_stack
from sam2_plugins.napari_plugin.layers import choose_plane


@pytest.fixture
def volumes(model):
    images = np.random.default_rng(0).integers(0, 255, (3, 4, 32, 32)).astype(np.uint8)
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
