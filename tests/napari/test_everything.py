"""Everything on a large plane: looked at in crops, with progress, and cancelled between them."""

import numpy as np
import pytest

from sam2_plugins.core import MaskGenerator
from sam2_plugins.napari_plugin import everything
from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.frames import LargePlanes, make_stack
from sam2_plugins.napari_plugin.layers import choose_plane

SIDE = 200


@pytest.fixture
def controller(model, monkeypatch):
    """A plane of 200 pixels, large for a model that sees 64; whatever is found is kept."""

    def make(engine, plane):
        sure = original(engine, plane).options
        return MaskGenerator(
            *(engine.model(),),
            points_per_side=2,
            min_predicted_iou=0.0,
            min_stability=0.0,
            tile_side=sure.tile_side,
        )

    original = everything.make_generator
    monkeypatch.setattr(everything, "make_generator", make)
    made = Controller(model)
    pixels = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), np.uint8)
    made.large_planes = LargePlanes(sides=2)
    made.open(make_stack([pixels]))
    made.set_view(choose_plane(pixels.shape, (0, 1), point=(0, 0)), 0)
    yield made
    made.close(10)


def test_crops_are_counted_and_what_is_found_is_one_step_of_undo(controller):
    progress, ended, said = [], [], []
    controller.progressed.connect(progress.append)
    controller.run_ended.connect(ended.append)
    controller.failed.connect(said.append)
    controller.find_everything()
    controller.wait()
    assert not said
    # The whole, 4 squares of 128 and 16 of 64.
    assert [(p.done, p.total) for p in progress] == [(n, 21) for n in range(1, 22)]
    assert not ended[-1].was_cancelled
    assert len(controller.document.prompts) > 1
    ids = sorted(key.object_id for key in controller.document.prompts)
    assert ids == list(range(1, len(ids) + 1))
    controller.undo()
    controller.wait()
    assert not controller.document.prompts


def test_a_search_is_stopped_between_crops(controller):
    ended = []
    controller.run_ended.connect(ended.append)
    controller.progressed.connect(lambda progress: controller.cancel())
    controller.find_everything()
    controller.wait()
    assert ended[-1].was_cancelled
    assert not controller.document.prompts
    assert not controller.document.done


def test_objects_that_were_found_stay_when_the_rest_is_cancelled(controller):
    ended = []
    controller.run_ended.connect(ended.append)
    controller.status_changed.connect(
        lambda status: "objects found" in status.text and controller.cancel()
    )
    controller.find_everything()
    controller.wait()
    assert ended[-1].was_cancelled
    assert controller.document.prompts
    assert controller.document.done
    scores = controller.document.scores
    assert {key.object_id for key in controller.document.prompts} == {o for _, o in scores}


def test_a_plane_that_is_not_large_is_looked_at_whole(model, controller):
    controller.set_large_planes(LargePlanes(is_on=False))
    progress = []
    controller.progressed.connect(progress.append)
    controller.find_everything()
    controller.wait()
    assert [(p.done, p.total) for p in progress] == [(1, 1)]
