import numpy as np
import pytest
import torch

from sam2_plugins.core import ImagePredictor, load_model
from sam2_plugins.core.box_limits import outside_boxes

SIDE, GRID = 64, (16, 16)


def kept(points, labels):
    """(rows, columns) of cells that may belong to the object, as slices' ends."""
    outside = outside_boxes(
        torch.tensor([points], dtype=torch.float32), torch.tensor([labels]), side=SIDE, grid=GRID
    )
    assert outside.shape == (1, 1, *GRID)
    rows, columns = (~outside[0, 0]).numpy().nonzero()
    assert (~outside).sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    return (rows.min(), rows.max() + 1), (columns.min(), columns.max() + 1)


def test_what_is_far_outside_a_box_is_left_out():
    # Cells of 4 pixels, and margins of 1 and 2: the middles of cells 3 and 12 just lie within.
    assert kept([[16, 8], [48, 24]], [2, 3]) == ((2, 6), (3, 13))
    assert kept([[17, 8], [47, 24]], [2, 3]) == ((2, 6), (4, 12))


def test_a_click_on_the_object_outside_its_box_counts_more_than_the_box():
    assert kept([[16, 8], [48, 24], [60, 60]], [2, 3, 1]) == ((2, 15), (3, 15))
    assert kept([[16, 8], [48, 24], [60, 60]], [2, 3, 0]) == ((2, 6), (3, 13))


@pytest.mark.parametrize("labels", [[1, 0, 1], [1, 1, -1]])
def test_without_a_box_everything_may_belong_to_the_object(labels):
    assert kept([[16, 8], [48, 24], [60, 60]], labels) == ((0, 16), (0, 16))


def test_each_row_has_its_own_box():
    points = torch.tensor([[[0.0, 0], [28, 28]], [[36, 36], [64, 64]], [[5, 5], [0, 0]]])
    labels = torch.tensor([[2, 3], [2, 3], [1, -1]])
    outside = outside_boxes(points, labels, side=SIDE, grid=GRID)
    assert [int((~row).sum()) for row in outside] == [49, 49, 256]
    assert not (~outside[0] & ~outside[1]).any()


def test_a_mask_of_the_bundled_model_does_not_leave_its_box():
    """What is around a box may look like what is in it."""
    image = np.full((120, 160, 3), 60, np.uint8)
    image[30:90] = 190  # a band right across
    predictor = ImagePredictor(load_model())
    predictor.set_image(image)
    box = (50, 26, 110, 94)
    for prediction in (predictor.predict(box=box), predictor.predict_boxes([box])[0]):
        rows, columns = prediction.best.nonzero()
        assert len(rows) > 60 * 60 / 2
        assert columns.min() > 40
        assert columns.max() < 120
    wide = predictor.predict(box=box, points=[[140, 60]], point_labels=[1]).best
    assert wide[:, 110:].sum() > prediction.best[:, 110:].sum()
