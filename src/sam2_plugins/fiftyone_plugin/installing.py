"""The folder by which FiftyOne finds the plugin: written, checked and removed."""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sam2_plugins import __version__
from sam2_plugins.fiftyone_plugin import PLUGIN_NAME
from sam2_plugins.fiftyone_plugin.operators import OPERATORS, PANELS

FOLDER = "sam2-plugins"
MANIFEST, ENTRY = "fiftyone.yml", "__init__.py"

_ENTRY_TEXT = '''"""Made by `sam2-plugins fiftyone install`; the plugin itself is in the package."""

from sam2_plugins.fiftyone_plugin import register

__all__ = ["register"]
'''


@dataclass(frozen=True, slots=True)
class Installation:
    """What is in FiftyOne's plugins folder.

    Attributes:
        folder: Where the plugin is or would be.
        is_installed: Whether FiftyOne finds it there.
        is_current: Whether it is what this version of the package writes.
    """

    folder: Path
    is_installed: bool
    is_current: bool


def plugins_folder() -> Path:
    """Where FiftyOne looks for plugins, as it decides that itself, without a database."""
    chosen = os.environ.get("FIFTYONE_PLUGINS_DIR") or _configured("plugins_dir")
    if chosen:
        return Path(chosen).expanduser()
    datasets = os.environ.get("FIFTYONE_DEFAULT_DATASET_DIR") or _configured("default_dataset_dir")
    return Path(datasets or "~/fiftyone").expanduser() / "__plugins__"


def find_installation(plugins_dir: Path | None = None) -> Installation:
    """Look whether the plugin is installed."""
    folder = (plugins_dir or plugins_folder()) / FOLDER
    found = {name: _read(folder / name) for name in (MANIFEST, ENTRY)}
    return Installation(
        folder, all(text is not None for text in found.values()), found == _wanted_files()
    )


def install(plugins_dir: Path | None = None) -> Installation:
    """Write the plugin's folder, or renew it.

    Raises:
        FileExistsError: Something that is not this plugin is in its place.
        OSError: The folder cannot be written.
    """
    folder = (plugins_dir or plugins_folder()) / FOLDER
    _check_is_ours(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # The manifest last: FiftyOne looks for it, and then finds the rest in place.
    for name, text in reversed(_wanted_files().items()):
        _write(folder / name, text)
    return find_installation(folder.parent)


def uninstall(plugins_dir: Path | None = None) -> bool:
    """Remove the plugin's folder. False if there was none.

    Raises:
        FileExistsError: Something that is not this plugin is in its place.
    """
    folder = (plugins_dir or plugins_folder()) / FOLDER
    if not folder.exists():
        return False
    _check_is_ours(folder)
    shutil.rmtree(folder)
    return True


def _wanted_files() -> dict[str, str]:
    lines = [
        f'name: "{PLUGIN_NAME}"',
        "type: plugin",
        f'version: "{__version__}"',
        'description: "SAM 2: masks from prompts, through whole videos"',
        'fiftyone: {version: ">=1.0"}',
        "operators:",
        *(f"  - {name}" for name in OPERATORS),
    ]
    if PANELS:
        lines += ["panels:", *(f"  - {name}" for name in PANELS)]
    return {MANIFEST: "\n".join(lines) + "\n", ENTRY: _ENTRY_TEXT}


def _check_is_ours(folder: Path) -> None:
    manifest = _read(folder / MANIFEST)
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not is_empty and f'name: "{PLUGIN_NAME}"' not in (manifest or ""):
        raise FileExistsError(f"{folder} is not this plugin; move it away, then try again")


def _configured(key: str) -> str | None:
    path = os.environ.get("FIFTYONE_CONFIG_PATH") or "~/.fiftyone/config.json"
    text = _read(Path(path).expanduser())
    try:
        config = json.loads(text) if text else {}
    except ValueError:
        return None
    value = config.get(key) if isinstance(config, dict) else None
    return str(value) if value else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _write(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=".", delete=False
    ) as file:
        file.write(text)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)
