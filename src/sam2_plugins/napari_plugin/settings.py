"""A person's preferences, where napari has a place for them (0.9 and later)."""

from dataclasses import dataclass, fields
from pathlib import Path

from sam2_plugins.napari_plugin.models import ModelChoice

PLUGIN = "sam2-plugins"


@dataclass(frozen=True)
class Settings:
    """The properties of the manifest's configuration `general`.

    Attributes:
        model: Loaded at the first prompt.
        device: Where it runs.
        precision: How its weights are kept.
        autosave: Whether work is saved as it is done.
        autosave_folder: Where; empty for the user's data folder.
    """

    model: str = "nano"
    device: str = "auto"
    precision: str = "auto"
    autosave: bool = True
    autosave_folder: str = ""

    @property
    def choice(self) -> ModelChoice:
        """The model as it is preferred."""
        return ModelChoice(self.model, device=self.device, dtype=self.precision)

    @property
    def folder(self) -> Path | None:
        """Where work is saved; None for nowhere."""
        if not self.autosave:
            return None
        if self.autosave_folder:
            return Path(self.autosave_folder).expanduser()
        from platformdirs import user_data_path

        return user_data_path("sam2-plugins") / "autosave"


def read_settings() -> Settings:
    """The preferences, or the defaults where napari keeps none for plugins."""
    try:
        from napari.settings import get_plugin_settings

        general = get_plugin_settings(PLUGIN).general
    except (ImportError, AttributeError, KeyError, ValueError):
        return Settings()
    known = [field.name for field in fields(Settings) if hasattr(general, field.name)]
    return Settings(**{name: getattr(general, name) for name in known})
