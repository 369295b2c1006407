"""Areas of lassos."""

import time

import numpy as np
import pytest
from skimage.draw import polygon

from sam2_plugins.napari_plugin.polygons import fill_polygon


@pytest.mark.parametrize("is_whole", [False, True])
def test_pixels_are_those_whose_centres_are_inside_or_on_the_edge(is_whole):
    random = np.random.default_rng(0)
    for _ in range(60):
        height, width = random.integers(5, 60, 2)
        vertices = random.uniform(-8, 68, (random.integers(3, 14), 2))
        if is_whole:
            vertices = np.round(vertices)
        wanted = np.zeros((height, width), bool)
        wanted[polygon(vertices[:, 1], vertices[:, 0], shape=wanted.shape)] = True
        found = fill_polygon(vertices, wanted.shape)
        # Whether a centre is on an edge that is aslant is a matter of rounding.
        assert (found ^ wanted).sum() <= 2 * is_whole, vertices


def test_a_lasso_around_a_whole_large_plane_is_filled_soon():
    turns = np.linspace(0, 2 * np.pi, 1500, endpoint=False)
    vertices = 1500 + 1450 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    begun = time.perf_counter()
    area = fill_polygon(vertices, (3000, 3000))
    assert time.perf_counter() - begun < 5  # point by point it takes half a minute
    assert area.sum() == pytest.approx(np.pi * 1450**2, rel=1e-3)


def test_beyond_the_picture_and_along_a_line_there_is_nothing_more():
    assert not fill_polygon([(30, 2), (40, 2), (35, 9)], (10, 20)).any()
    assert fill_polygon([(3, 5), (9, 5), (6, 5)], (10, 20)).sum() == 0
    assert fill_polygon([(-9, -9), (99, -9), (99, 99), (-9, 99)], (10, 20)).all()
