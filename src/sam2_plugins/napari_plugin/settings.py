"""A person's preferences, where napari has a place for them (0.9 and later)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sam2_plugins.napari_plugin.models import ModelChoice
from sam2_plugins.napari_plugin.saving import Places

PLUGIN = "sam2-plugins"
OWN_FOLDER, BESIDE = "autosave folder", "beside the image"
_MISSING = (ImportError, AttributeError, KeyError, ValueError)


@dataclass(frozen=True)
class Settings:
    """The properties of the manifest's configuration `general`.

    Attributes:
        model: Loaded at the first prompt.
        device: Where it runs.
        precision: How its weights are kept.
        autosave: Whether work is saved as it is done.
        autosave_folder: Where; empty for the user's data folder.
        autosave_place: `BESIDE` to save beside the image instead, where it is a file.
    """

    model: str = "nano"
    device: str = "auto"
    precision: str = "auto"
    autosave: bool = True
    autosave_folder: str = ""
    autosave_place: str = OWN_FOLDER

    @property
    def choice(self) -> ModelChoice:
        """The model as it is preferred."""
        return ModelChoice(self.model, device=self.device, dtype=self.precision)

    @property
    def places(self) -> Places:
        """Where work is saved."""
        return Places(self.folder, is_beside=self.autosave_place == BESIDE)

    @property
    def folder(self) -> Path | None:
        """The user's folder for work; None where nothing is saved."""
        if not self.autosave:
            return None
        if self.autosave_folder:
            return Path(self.autosave_folder).expanduser()
        from platformdirs import user_data_path

        return user_data_path("sam2-plugins") / "autosave"


@dataclass(frozen=True)
class Keys:
    """Keys by action, several separated by spaces; actions that are not named have their usual.

    Attributes:
        on_viewer: Those that work with any layer active.
        on_layers: Those on our own layers.
    """

    on_viewer: Mapping[str, str] = field(default_factory=dict)
    on_layers: Mapping[str, str] = field(default_factory=dict)


def read_settings() -> Settings:
    """The preferences, or the defaults where napari keeps none for plugins."""
    try:
        from napari.settings import get_plugin_settings

        general = get_plugin_settings(PLUGIN).general
    except _MISSING:
        return Settings()
    known = [field.name for field in fields(Settings) if hasattr(general, field.name)]
    return Settings(**{name: getattr(general, name) for name in known})


def write_setting(name: str, value: object) -> None:
    """Keep a preference, where napari has a place for it."""
    try:
        from napari.settings import get_plugin_settings

        setattr(get_plugin_settings(PLUGIN).general, name, value)
    except _MISSING:
        return


def read_keys() -> Keys:
    """The keys that a person has chosen, or none where napari keeps no preferences for plugins."""
    found = _key_settings()
    if found is None:
        return Keys()
    return Keys(*({str(k): str(v) for k, v in part.model_dump().items()} for part in found))


def listen_to_keys(callback: Callable[..., Any]) -> None:
    """Call a method (kept weakly) whenever a key is changed in the preferences."""
    for part in _key_settings() or ():
        part.events.connect(callback)


def _key_settings() -> "tuple[Any, Any] | None":
    try:
        from napari.settings import get_plugin_settings

        settings = get_plugin_settings(PLUGIN)
        return settings.keys, settings.layer_keys
    except _MISSING:
        return None
