"""The plugin's folder: FiftyOne finds it, and nothing of the user's is touched."""

import json

import fiftyone.plugins as fop
import pytest

from sam2_plugins.fiftyone_plugin import PLUGIN_NAME, installing
from sam2_plugins.fiftyone_plugin.operators import OPERATORS, PANELS


def test_fiftyone_finds_the_plugin_with_all_its_operators():
    plugin = fop.get_plugin(PLUGIN_NAME)
    # FiftyOne counts panels among the operators.
    assert plugin.operators == [*OPERATORS, *PANELS]


def test_install_renews_and_uninstall_removes(tmp_path):
    assert not installing.find_installation(tmp_path).is_installed
    assert installing.install(tmp_path).is_current
    manifest = tmp_path / installing.FOLDER / installing.MANIFEST
    manifest.write_text(manifest.read_text().replace("propagate_masks", "older_name"))
    found = installing.find_installation(tmp_path)
    assert (found.is_installed, found.is_current) == (True, False)
    assert installing.install(tmp_path).is_current
    assert installing.uninstall(tmp_path)
    assert not installing.uninstall(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_someone_else_is_left_alone(tmp_path):
    folder = tmp_path / installing.FOLDER
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    for change in (installing.install, installing.uninstall):
        with pytest.raises(FileExistsError, match="is not this plugin"):
            change(tmp_path)
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("way", ["plugins", "datasets", "config"])
def test_the_folder_is_where_fiftyone_looks(tmp_path, monkeypatch, way):
    for name in ("FIFTYONE_PLUGINS_DIR", "FIFTYONE_DEFAULT_DATASET_DIR"):
        monkeypatch.delenv(name)
    expected = tmp_path / "__plugins__"
    if way == "plugins":
        monkeypatch.setenv("FIFTYONE_PLUGINS_DIR", str(expected))
    elif way == "datasets":
        monkeypatch.setenv("FIFTYONE_DEFAULT_DATASET_DIR", str(tmp_path))
    else:
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"default_dataset_dir": str(tmp_path)}))
        monkeypatch.setenv("FIFTYONE_CONFIG_PATH", str(config))
    assert installing.plugins_folder() == expected
    from fiftyone.core.config import load_config

    assert str(expected) == load_config().plugins_dir
