from itertools import pairwise

import numpy as np
import pytest

from sam2_plugins.commands.overlay import choose_frames, color_of, draw, sheet
from sam2_plugins.core.masks import FrameMasks


def one_square() -> FrameMasks:
    masks = np.zeros((1, 20, 30), bool)
    masks[0, 5:15, 5:15] = True
    scores = np.ones(1, np.float32)
    return FrameMasks(0, np.array([4]), masks, scores, scores)


@pytest.mark.parametrize("rgb", [np.full((20, 30, 3), 100, np.uint8),
                                 np.full((20, 30, 3), 100 / 255, np.float32)])  # fmt: skip
def test_an_object_is_tinted_and_outlined(rgb: np.ndarray) -> None:
    picture = draw(rgb, one_square()).astype(float)
    color = color_of(4)
    np.testing.assert_array_equal(picture[0, 0], [100, 100, 100])
    np.testing.assert_array_equal(picture[5, 5], color)
    np.testing.assert_allclose(picture[9, 9], 100 + 0.35 * (color - 100), atol=1)


def test_neighbouring_ids_have_colors_apart() -> None:
    colors = [color_of(object_id) for object_id in range(1, 13)]
    apart = [np.abs(a - b).sum() for a, b in pairwise(colors)]
    assert min(apart) > 100


@pytest.mark.parametrize(
    ("num_frames", "always", "expected"),
    [
        (3, [1], [0, 1, 2]),
        (100, [], [0, 33, 66, 99]),
        (100, [40], [0, 40, 66, 99]),
        (100, [1, 2, 3, 4, 5], [1, 2, 3, 4]),
    ],
)
def test_frames_of_a_sheet(num_frames: int, always: list[int], expected: list[int]) -> None:
    assert choose_frames(num_frames, always, tiles=4) == expected


def test_a_sheet_fills_its_last_row() -> None:
    tiles = sheet(lambda index: np.full((10, 20, 3), 50 * index, np.uint8), [0, 1, 2])
    assert tiles.shape == (2 * 160, 2 * 320, 3)
    assert not tiles[160:, 320:].any()
