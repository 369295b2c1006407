"""Everything in large images: crops at the model's scale, and how what they show is merged."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_tiny

from sam2_plugins.core.automatic import MaskGenerator
from sam2_plugins.core.crops import tile_windows
from sam2_plugins.core.mask_search import Candidate, Crop, MaskSearch
from sam2_plugins.core.placed_masks import PlacedMask
from sam2_plugins.core.windows import Window

MODEL = make_tiny()


@given(st.integers(1, 700), st.integers(1, 700), st.integers(16, 256))
@settings(max_examples=100, deadline=None)
def test_tiles_cover_the_image_and_overlap(height, width, side):
    windows = tile_windows((height, width), side, 0.25)
    is_seen = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in windows:
        assert (x1 - x0, y1 - y0) == (min(side, width), min(side, height))
        is_seen[y0:y1, x0:x1] = True
    assert is_seen.all()
    columns = sorted({window[0] for window in windows})
    assert all(b - a <= 0.75 * side for a, b in pairwise(columns))


def test_large_images_are_seen_from_afar_and_closer_and_closer():
    generator = MaskGenerator(MODEL, points_per_side=4, tile_side=64)
    crops = generator.crops((200, 200))
    assert [crop.window[2] - crop.window[0] for crop in crops] == [200] + [128] * 4 + [64] * 16
    assert [crop.layer for crop in crops] == [0] + [1] * 4 + [2] * 16
    assert len(generator.crops((64, 50))) == 1
    assert len(MaskGenerator(MODEL, points_per_side=4).crops((200, 200))) == 1


def found_at(box, iou=0.9, size=(64, 64)):
    window = Window(*box)
    mask = np.ones(window.size, bool)
    placed = PlacedMask.place(mask, window, Window(0, 0, *mask.shape[::-1]), size)
    return Candidate(placed, int(mask.sum()), box, iou, 1.0, (0.0, 0.0), iou)


class Looking:
    """Finds what it is told in each crop."""

    def __init__(self, found):
        self.found = found

    def crops(self, size):
        return [Crop((0, 0, 64, 64), 4, layer) for layer in sorted(self.found)]

    def look_at(self, image, crop):
        return self.found[crop.layer]


def search_for(found, *, is_tiled=True, max_known_share=1.0):
    image = np.zeros((64, 64, 3), np.uint8)
    options = {"max_box_iou": 0.7, "max_known_share": max_known_share}
    return MaskSearch(Looking(found), image, is_tiled=is_tiled, **options)


def test_what_is_seen_twice_is_one_and_a_crowd_seen_from_afar_is_none():
    single, twin, other = (4, 4, 14, 14), (4, 4, 14, 15), (20, 4, 30, 14)
    crowd, large = (3, 3, 50, 15), (0, 30, 60, 64)
    search = search_for(
        {
            0: [found_at(crowd, 0.99), found_at(large)],
            2: [found_at(x) for x in (single, twin, other)],
        }
    )
    assert [len(list(search.masks())) for _ in search] == [2, 4]
    masks = list(search.masks())
    # Less than half of it is known to be others: it may be something of its own.
    assert {mask.box for mask in masks} == {single, other, crowd, large}
    neighbour = (14, 4, 22, 14)
    closer = search_for({0: [found_at((3, 3, 22, 15))], 2: [found_at(single), found_at(neighbour)]})
    for _ in closer:
        pass
    assert {mask.box for mask in closer.masks()} == {single, neighbour}
    assert all(mask.mask.shape == (64, 64) and mask.mask.sum() == mask.area for mask in masks)


@pytest.mark.parametrize(("max_known_share", "num_kept"), [(1.0, 4), (0.5, 3), (0.2, 2)])
def test_wholes_and_their_parts_are_told_apart_by_how_much_better_masks_cover(
    max_known_share, num_kept
):
    whole, part, beside, half_over = (
        (0, 0, 20, 20),
        (0, 0, 10, 10),
        (30, 0, 40, 10),
        (24, 0, 36, 10),
    )
    found = [found_at(whole, 0.9), found_at(part, 0.7), found_at(beside, 0.8)]
    search = search_for(
        {0: [*found, found_at(half_over, 0.6)]}, is_tiled=False, max_known_share=max_known_share
    )
    list(search)
    kept = [each.box for each in search.masks()]
    assert kept[:2] == [whole, beside]
    assert len(kept) == num_kept
    assert (part in kept) == (max_known_share == 1)
