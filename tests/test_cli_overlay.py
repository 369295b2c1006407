from itertools import combinations, pairwise

import numpy as np
import pytest

from sam2_plugins.commands.overlay import (
    GREEN,
    RED,
    WHITE,
    choose_frames,
    color_of,
    draw,
    mark,
    sheet,
)
from sam2_plugins.core.frame_results import FramePrompts
from sam2_plugins.core.masks import FrameMasks
from sam2_plugins.core.prompts import Box, Points


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


def test_of_two_on_one_thing_the_surer_is_drawn() -> None:
    one = one_square()
    both = FrameMasks(
        0,
        np.array([4, 6]),
        np.concatenate([one.masks, one.masks]),
        np.ones(2, np.float32),
        np.array([3, 1], np.float32),
        np.ones(2, int),
    )
    rgb = np.full((20, 30, 3), 100, np.uint8)
    np.testing.assert_array_equal(draw(rgb, both), draw(rgb, one))


def test_neighbouring_ids_have_colors_apart() -> None:
    colors = [color_of(object_id) for object_id in range(1, 40)]
    assert min(np.abs(a - b).sum() for a, b in pairwise(colors)) > 150
    assert min(np.abs(a - b).sum() for a, b in combinations(colors[:8], 2)) > 50


def test_prompts_are_marked() -> None:
    prompts = FramePrompts(
        box=Box(4, 5, 16, 15), strokes=(Points(((8.0, 9.0), (25.0, 3.0)), (1, 0)),)
    )
    picture = mark(np.zeros((20, 30, 3), np.uint8), [prompts])
    for x, y in ((4, 5), (15, 14), (4, 14), (15, 5)):
        assert tuple(picture[y, x]) == WHITE
    assert tuple(picture[9, 8]) == GREEN
    assert tuple(picture[3, 25]) == RED
    assert not picture[6:8, 6:14].all(axis=2).any()


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
