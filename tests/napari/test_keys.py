"""Keys: that they are free, that they can be changed, and what those do that no story presses."""

import pytest

from sam2_plugins.napari_plugin.keys import ACTIONS, DEFAULTS, KeyBook, keys_of
from sam2_plugins.napari_plugin.settings import Keys

POINTS, BOXES = "SAM 2 points", "SAM 2 boxes"


def keys_in(part):
    return [key for keys in part.values() for key in keys.split()]


def test_no_key_is_given_twice():
    for part in (DEFAULTS.on_viewer, DEFAULTS.on_layers):
        keys = keys_in(part)
        assert len(keys) == len(set(keys))


def test_napari_uses_none_of_the_keys_that_work_with_any_layer():
    from napari.settings import get_settings

    taken = {
        str(key)
        for name, keys in get_settings().shortcuts.shortcuts.items()
        if name.startswith("napari:")
        for key in keys
    }
    assert len(taken) > 30
    assert not taken & set(keys_in(DEFAULTS.on_viewer))


def test_the_manifest_lists_every_key(manifest):
    found = {key: part.properties for key, part in manifest.contributions.configurations.items()}
    for part, usual in (("keys", DEFAULTS.on_viewer), ("layer_keys", DEFAULTS.on_layers)):
        assert {name: entry.default for name, entry in found[part].items()} == usual
        assert {name: entry.title for name, entry in found[part].items()} == {
            name: action.title for name, action in ACTIONS.items()
        }


@pytest.fixture
def manifest():
    from npe2 import PluginManifest

    return PluginManifest.from_distribution("sam2-plugins")


def test_a_key_that_is_changed_is_bound_and_shown_at_once(open_widget, press, images):
    viewer, widget = open_widget()
    viewer.add_image(images)
    book = keys_of(widget.session)
    assert widget.objects.new.text() == "New (N)"
    assert widget.prompt.undo.text() == "Undo (Ctrl+Z)"
    book.use(Keys({"new_object": "W Shift+W"}, {"undo": "", "new_object": "Shift+N"}))
    assert widget.objects.new.text() == "New (W)"
    assert widget.prompt.undo.text() == "Undo"
    points = viewer.layers.selection.active = viewer.layers[POINTS]
    points.add([3, 20, 29])
    for key in ("W", "Shift+W", "Shift+N"):
        widget.controller.select_object(1)
        press(viewer, key)
        assert widget.controller.current_object == 2
    for key in ("N", "M", "Ctrl+Z"):
        with pytest.raises(pytest.fail.Exception):
            press(viewer, key)


def test_what_is_no_key_is_left_out_and_said(open_widget, press, images, caplog):
    viewer, widget = open_widget()
    viewer.add_image(images)
    keys_of(widget.session).use(Keys({"new_object": "Shfit+N", "commit": "H"}))
    assert "'Shfit+N' is no key for 'New object'" in caplog.text
    assert widget.objects.new.text() == "New (M)"
    press(viewer, "H")


def test_keys_follow_the_preferences(request, npe2pm):
    pytest.importorskip("napari", minversion="0.9")
    # napari has it since it keeps settings of plugins.
    request.getfixturevalue("plugin_settings")
    from napari.components import ViewerModel
    from napari.settings import get_plugin_settings
    from npe2 import PluginManifest

    class Session:
        active = object()

    npe2pm.register(PluginManifest.from_distribution("sam2-plugins"))
    session, viewer, changed = Session(), ViewerModel(), []
    book = KeyBook(session)
    book.changed.connect(lambda: changed.append(True))
    book.bind(viewer, is_viewer=True)
    assert book.text("worst") == "G"
    get_plugin_settings("sam2-plugins").keys.worst = "Shift+G"
    assert book.text("worst") == "Shift+G"
    assert changed
    assert "Shift+G" in {str(key) for key in viewer.keymap}


def test_selected_prompts_are_flipped(open_widget, settle, press, images):
    viewer, widget = open_widget()
    viewer.add_image(images)
    points = viewer.layers[POINTS]
    points.add([[3, 20, 29], [3, 40, 60]])
    settle(widget)
    before = viewer.layers["SAM 2 masks"].data[3].copy()
    points.selected_data = {1}
    press(viewer, "Shift+T")
    settle(widget)
    assert points.features["polarity"].tolist() == ["positive", "negative"]
    ((said),) = widget.controller.document.prompts.values()
    assert [click.label for click in said.clicks] == [1, 0]
    assert (viewer.layers["SAM 2 masks"].data[3] != before).any()
    press(viewer, "Shift+T")
    settle(widget)
    assert points.features["polarity"].tolist() == ["positive", "positive"]


def test_keys_go_from_prompted_slice_to_prompted_slice(open_widget, settle, press, images):
    viewer, widget = open_widget()
    viewer.add_image(images)
    viewer.layers[POINTS].add([[1, 20, 23], [6, 20, 38]])
    settle(widget)
    viewer.dims.set_point(0, 0)
    seen = []
    for key in (".", ".", ",", ","):
        press(viewer, key)
        seen.append(widget.controller.slice_index)
    assert seen == [1, 6, 1, 1]


def test_clearing_takes_back_what_was_said_of_the_slice(open_widget, settle, press, images):
    viewer, widget = open_widget()
    viewer.add_image(images)
    viewer.layers[POINTS].add([[1, 20, 23], [6, 20, 38]])
    settle(widget)
    viewer.dims.set_point(0, 6)
    press(viewer, "Shift+C")
    settle(widget)
    assert [key.frame_index for key in widget.controller.document.prompts] == [1]
    assert len(viewer.layers[POINTS].data) == 1
    press(viewer, "X")
    settle(widget)
    assert not widget.controller.document.prompts
