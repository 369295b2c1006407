"""A frame's masks as labels and scores, and what is said of them."""

import numpy as np
import pytest

from sam2_plugins.core import FrameMasks, PlacedMasks, Window
from sam2_plugins.core.placed_masks import PlacedRow
from sam2_plugins.napari_plugin.frame_labels import frame_labels
from sam2_plugins.napari_plugin.layers import choose_plane
from sam2_plugins.napari_plugin.score_strip import describe_score

PLANE = choose_plane((1, 20, 30), (1, 2), point=(0, 0, 0))
BOXES = Window(2, 3, 12, 13), Window(3, 3, 12, 13), Window(0, 0, 0, 0)


@pytest.mark.parametrize("is_large", [False, True])
def test_of_an_object_that_gives_way_it_is_said_why_it_is_not_drawn(is_large):
    rows = [
        PlacedRow(i, 0.5, 4.0 - i, 1, 0, box, np.ones(box.size, bool))
        for i, box in enumerate(BOXES, 1)
    ]
    placed = PlacedMasks(0, (20, 30), rows)
    plain = FrameMasks(
        *(0, placed.object_ids, placed.masks, placed.predicted_iou, placed.object_score_logits),
        placed.prompt_distance,
    )
    found = frame_labels(PLANE, placed if is_large else plain)
    assert set(np.unique(found.labels)) == {1}
    assert {i: describe_score(score) for i, score in found.scores.items()} == {
        1: "predicted IoU 0.50",
        2: "found on what another object has, and not drawn",
        3: "not there",
    }
    assert found.scores[1][:3] == (0.5, 3.0, 100)
