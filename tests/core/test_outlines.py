import numpy as np
import pytest
from test_retouching import disc, iou, scene

from sam2_plugins.core import load_model
from sam2_plugins.core.automatic import MaskGenerator
from sam2_plugins.core.mask_search import Candidate
from sam2_plugins.core.outlines import drawn_anew
from sam2_plugins.core.placed_masks import PlacedMask
from sam2_plugins.core.stored_masks import box_of
from sam2_plugins.core.windows import Window

pytestmark = pytest.mark.usefixtures("one_thread")


def candidate(mask, point=(60.0, 70.0)):
    box = Window(*box_of(mask))
    plane = Window(0, 0, mask.shape[1], mask.shape[0])
    placed = PlacedMask.place(mask, plane, box, mask.shape)
    return Candidate(placed, int(mask.sum()), (*box,), 0.8, 0.9, point, 0.72)


def as_it_is(mask):
    return mask


def at_an_edge(mask):
    """The same where the picture ends in the middle of the object."""
    return np.ascontiguousarray(mask[:75, 50:])


@pytest.mark.parametrize("cut", [as_it_is, at_an_edge])
@pytest.mark.parametrize("radius", [13, 26])
def test_outlines_are_found_wherever_the_object_is(radius, cut):
    truth, spoiled = cut(disc(20)), cut(disc(radius))
    point = (60.0, 70.0) if cut is as_it_is else (10.0, 68.0)
    (anew,) = drawn_anew([candidate(spoiled, point)], cut(scene(disc(20))), clean=as_it_is)
    assert iou(spoiled, truth) < 0.75
    assert iou(anew.mask.unpack(), truth) > 0.85
    assert anew.box == box_of(anew.mask.unpack())
    assert anew.area == anew.mask.unpack().sum()
    assert (anew.point, anew.stability) == (point, 0.9)


def test_pictures_of_floats_are_as_those_of_bytes():
    image, given = scene(disc(20)), [candidate(disc(24))]
    masks = [
        drawn_anew(given, picture, clean=as_it_is)[0].mask.unpack()
        for picture in (image, image / np.float32(255))
    ]
    assert iou(*masks) > 0.98


def test_what_is_drawn_is_cleaned_and_may_be_gone():
    (anew,) = drawn_anew([candidate(disc(20))], scene(disc(20)), clean=np.zeros_like)
    assert anew.area == 0
    assert anew.box == (0, 0, 0, 0)
    assert drawn_anew([], scene(disc(20)), clean=as_it_is) == []


def test_of_two_outlines_the_one_that_looks_better_stays():
    truth = disc(20)
    generator = MaskGenerator(load_model("nano"), min_area=100)
    spoiled, right = candidate(disc(11)), candidate(truth, (61.0, 71.0))
    found = generator._drawn_anew([spoiled, right], scene(truth))
    assert [each.point for each in found] == [spoiled.point, right.point]
    assert iou(found[0].mask.unpack(), truth) > 0.8
    assert iou(found[1].mask.unpack(), truth) > 0.9
    assert found[0].worth > spoiled.worth
    too_small = MaskGenerator(load_model("nano"), min_area=10_000)
    kept = too_small._drawn_anew([spoiled, right], scene(truth))
    for old, new in zip([spoiled, right], kept, strict=True):
        assert new.area == old.area
