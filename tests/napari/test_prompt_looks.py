import numpy as np
import pytest
from napari.layers import Labels, Points, Shapes
from napari.utils.colormaps import DirectLabelColormap, label_colormap

from sam2_plugins.napari_plugin.layers import choose_plane
from sam2_plugins.napari_plugin.object_colours import ObjectColours
from sam2_plugins.napari_plugin.prompt_layers import PromptLayers
from sam2_plugins.napari_plugin.prompt_looks import BOXES, POINTS, SCRIBBLES
from sam2_plugins.napari_plugin.prompts import (
    NEGATIVE,
    POSITIVE,
    Click,
    Drawing,
    PromptKey,
    SlicePrompts,
)

SHAPE = (5, 20, 30)
PLANE = choose_plane(SHAPE, (1, 2), point=(0, 0, 0))
RED, BLUE, WHITE = (1, 0, 0, 1), (0, 0, 1, 1), (1, 1, 1, 1)


@pytest.fixture
def labels():
    colours = {0: "transparent", 1: RED, 2: BLUE, 3: "transparent", None: (0.2, 0.4, 0.6, 0.5)}
    return Labels(np.zeros(SHAPE, np.uint16), colormap=DirectLabelColormap(color_dict=colours))


@pytest.fixture
def layers(labels):
    colours = ObjectColours()
    colours.follow(labels)
    layers = PromptLayers(SHAPE, {}, colours=colours)
    for name in (POINTS, BOXES, SCRIBBLES):
        layers.make(name)
    layers.set_defaults(PLANE, object_id=1, polarity=POSITIVE)
    return layers


def said_of_two():
    box = Drawing("rectangle", ((1, 1), (6, 1), (6, 5), (1, 5)))
    stroke = Drawing("path", ((2, 2), (9, 9)), label=0)
    return {
        PromptKey(PLANE, 0, 1): SlicePrompts(clicks=(Click(3, 4, 1), Click(9, 9, 0))),
        PromptKey(PLANE, 0, 2): SlicePrompts(clicks=(Click(12, 4, 1),), drawings=(box, stroke)),
    }


def test_rings_and_boxes_have_the_colours_of_masks_and_fillings_tell_which_way(layers):
    layers.write(said_of_two())
    points = layers.layers[POINTS]
    np.testing.assert_allclose(points.border_color, [WHITE, WHITE, BLUE])
    layers.set_defaults(PLANE, object_id=2, polarity=POSITIVE)
    np.testing.assert_allclose(points.border_color, [RED, RED, WHITE])
    layers.set_defaults(PLANE, object_id=7, polarity=POSITIVE)
    np.testing.assert_allclose(points.border_color, [RED, RED, BLUE])
    ways = points.face_color
    assert (ways[0] == ways[2]).all()
    assert (ways[0] != ways[1]).any()
    np.testing.assert_allclose(layers.layers[BOXES].edge_color, [BLUE])
    np.testing.assert_allclose(layers.layers[SCRIBBLES].edge_color, [ways[1]])


def test_what_is_added_looks_at_once_as_its_object_does(layers):
    layers.set_defaults(PLANE, object_id=2, polarity=NEGATIVE)
    points, boxes = layers.layers[POINTS], layers.layers[BOXES]
    points.add((0, 5, 5))
    boxes.add_rectangles(np.array([[0, 1, 1], [0, 1, 6], [0, 5, 6], [0, 5, 1]]))
    np.testing.assert_allclose(points.border_color, [WHITE])
    np.testing.assert_allclose(boxes.edge_color, [BLUE])
    layers.set_defaults(PLANE, object_id=1, polarity=POSITIVE)
    points.add((0, 9, 9))
    np.testing.assert_allclose(points.border_color, [BLUE, WHITE])


def test_a_prompt_that_is_selected_keeps_its_look_when_the_object_changes(layers):
    layers.write(said_of_two())
    points = layers.layers[POINTS]
    points.mode = "select"
    points.selected_data = {0, 1}
    before = points.face_color.copy()
    layers.set_defaults(PLANE, object_id=2, polarity=NEGATIVE)
    np.testing.assert_allclose(points.border_color, [RED, RED, WHITE])
    np.testing.assert_allclose(points.face_color, before)


def test_masks_that_get_other_colours_give_them_to_their_prompts(layers, labels):
    layers.set_defaults(PLANE, object_id=7, polarity=POSITIVE)
    layers.write(said_of_two())
    changes = []
    layers.changed.connect(lambda: changes.append(1))
    labels.colormap = label_colormap(49, seed=0.3)
    points = layers.layers[POINTS]
    one, two = labels.get_color(1), labels.get_color(2)
    np.testing.assert_allclose(points.border_color, [one, one, two], atol=1e-6)
    np.testing.assert_allclose(layers.layers[BOXES].edge_color, [two], atol=1e-6)
    assert not changes


def test_what_is_not_to_be_seen_is_white_and_nothing_is_transparent(labels):
    colours = ObjectColours()
    assert colours.of(1).tolist() == [1, 1, 1, 1]
    colours.follow(labels)
    assert colours.of(3).tolist() == [1, 1, 1, 1]
    assert colours.of(9) == pytest.approx([0.2, 0.4, 0.6, 1])
    colours.follow(None)
    assert colours.of(1).tolist() == [1, 1, 1, 1]


def test_layers_that_are_let_go_of_are_not_coloured_any_more(layers, labels):
    layers.write(said_of_two())
    points = layers.layers[POINTS]
    layers.disconnect()
    labels.colormap = label_colormap(49, seed=0.3)
    np.testing.assert_allclose(points.border_color, [WHITE, WHITE, BLUE])


def test_layers_are_points_and_shapes_of_a_size_that_suits_the_image(layers):
    assert isinstance(layers.layers[POINTS], Points)
    assert isinstance(layers.layers[SCRIBBLES], Shapes)
    large = PromptLayers((900, 1200), {}, colours=ObjectColours())
    assert large.make(POINTS).current_size == 18
    assert layers.layers[POINTS].current_size == 1
