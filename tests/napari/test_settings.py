from pathlib import Path

import pytest

from sam2_plugins.napari_plugin.models import ModelChoice
from sam2_plugins.napari_plugin.saving import Places
from sam2_plugins.napari_plugin.settings import BESIDE, Settings, read_settings, write_setting


def test_without_preferences_there_are_defaults():
    settings = Settings()
    assert settings.choice == ModelChoice()
    assert settings.folder.name == "autosave"
    assert settings.places == Places(settings.folder)


def test_work_is_saved_where_it_is_wanted_or_not_at_all():
    assert Settings(autosave_folder="/some/place").folder == Path("/some/place")
    assert Settings(autosave=False).folder is None


def test_preferences_are_read_from_napari(plugin_settings, npe2pm):
    from napari.settings import get_plugin_settings
    from npe2 import PluginManifest

    npe2pm.register(PluginManifest.from_distribution("sam2-plugins"))
    general = get_plugin_settings("sam2-plugins").general
    assert read_settings() == Settings()
    general.model, general.autosave = "sam2.1-tiny", False
    assert read_settings() == Settings(model="sam2.1-tiny", autosave=False)
    write_setting("autosave_place", BESIDE)
    assert read_settings().places.is_beside


@pytest.fixture(autouse=True)
def _needs_plugin_settings():
    pytest.importorskip("napari", minversion="0.9")
