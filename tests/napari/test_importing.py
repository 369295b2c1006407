import numpy as np
import pytest
from napari.layers import Image, Labels, Points, Shapes

from sam2_plugins.napari_plugin.importing import prompts_from_layer
from sam2_plugins.napari_plugin.layers import choose_plane

PLACE = Image(np.zeros((4, 20, 30)), scale=(2, 0.5, 0.5), translate=(1, 2, 3))
PLANE = choose_plane((4, 20, 30), (1, 2), point=(0, 0, 0))


def take(layer, first_object=1):
    return prompts_from_layer(layer, PLACE, PLANE, frame_index=2, first_object=first_object)


def test_every_label_of_the_slice_is_an_object():
    data = np.zeros((4, 20, 30), np.uint8)
    data[2, 3:6, 4:9], data[2, 10:12], data[1, 15] = 3, 5, 9
    said = take(Labels(data), first_object=11)
    assert [key.object_id for key, _ in said] == [13, 15]
    assert all(key.frame_index == 2 for key, _ in said)
    assert np.array_equal(said[0][1].mask.unpack(), data[2] == 3)


@pytest.mark.parametrize("values", [(7, 65_535), (3, 9_000_000), (-4, 2)])
def test_labels_may_be_any_numbers(values):
    data = np.zeros((20, 30), np.int32)
    data[3:6, 4:9], data[5:12, 20], data[11, 28] = values[0], values[1], values[0]
    said = take(Labels(data))
    masks = [said.mask.unpack() for _, said in said]
    assert all(np.array_equal(m, data == v) for m, v in zip(masks, sorted(values), strict=True))


def test_a_label_image_of_one_slice_fits():
    data = np.zeros((20, 30), np.uint16)
    data[3:6, 4:9] = 1
    assert np.array_equal(take(Labels(data))[0][1].mask.unpack(), data == 1)


def test_points_of_another_scale_land_on_the_same_place():
    points = Points([PLACE.data_to_world((3, 7, 11)), PLACE.data_to_world((1, 90, 11))])
    ((key, said),) = take(points)
    assert (key.frame_index, key.object_id) == (3, 1)
    assert said.clicks[0] == pytest.approx((11, 7, 1))


def test_shapes_are_boxes_and_areas():
    corners = [PLACE.data_to_world((1, r, c)) for r, c in ((2, 3), (2, 9), (8, 9), (8, 3))]
    shapes = Shapes([np.array(corners), np.array(corners)[:3]], shape_type=["rectangle", "polygon"])
    said = take(shapes)
    assert [s.drawings[0].kind for _, s in said] == ["rectangle", "polygon"]
    assert [key.object_id for key, _ in said] == [1, 2]
    assert said[0][1].drawings[0].vertices[2] == pytest.approx((9, 8))


def test_what_does_not_fit_is_explained():
    with pytest.raises(ValueError, match="it must be"):
        take(Labels(np.zeros((4, 9, 9), int)))
    with pytest.raises(ValueError, match="nothing here"):
        take(Labels(np.zeros((4, 20, 30), int)))
    with pytest.raises(ValueError, match="Labels, Points or Shapes"):
        take(PLACE)
