"""Models that the user trained: a folder of safetensors files, each of which is a name to load."""

import hashlib
import logging
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from platformdirs import user_data_path
from safetensors import SafetensorError, safe_open

from sam2_plugins.core.checkpoints import config_from_notes, read_checkpoint
from sam2_plugins.core.config import MODELS, ModelConfig

logger = logging.getLogger(__name__)

MODELS_VARIABLE = "SAM2_PLUGINS_MODELS"
SUFFIX = ".safetensors"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A model of the user's own.

    Attributes:
        name: What `load_model` takes.
        path: Its file.
        config: Its network.
        sha256: The file's checksum.
    """

    name: str
    path: Path
    config: ModelConfig
    sha256: str


def own_models_folder() -> Path:
    """Returns the folder for models that the user trained, which may not exist yet.

    It is in the user's data folder unless the environment variable SAM2_PLUGINS_MODELS names
    another.
    """
    chosen = os.environ.get(MODELS_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return user_data_path("sam2-plugins", appauthor=False) / "models"


def is_own_name(name: str) -> bool:
    """Returns whether a model of the user's own can be called so."""
    return bool(_NAME.fullmatch(name)) and name not in MODELS and not name.endswith(SUFFIX)


def own_model_file(name: str) -> Path:
    """Returns where the weights of a model of the user's own are, or would be.

    Raises:
        ValueError: A model cannot be called so.
    """
    if name in MODELS:
        raise ValueError(f"{name!r} is the name of a model that exists; choose another")
    if not is_own_name(name):
        raise ValueError(
            f"a model cannot be called {name!r}: a name is of letters, digits, '.', '_' and '-', "
            "such as my-nuclei"
        )
    return own_models_folder() / f"{name}{SUFFIX}"


def own_model_names() -> list[str]:
    """Returns the names of the files in the folder, in order."""
    found = own_models_folder().glob(f"*{SUFFIX}")
    return sorted(path.stem for path in found if is_own_name(path.stem))


def own_models() -> list[OwnModel]:
    """Returns the user's own models, by name; a file that is none is noted in the log."""
    return [model for name in own_model_names() if (model := _read(name)) is not None]


def _read(name: str) -> OwnModel | None:
    path = own_model_file(name)
    try:
        with safe_open(path, framework="pt", device="cpu") as opened:
            config = config_from_notes(opened.metadata() or {})
        config = config or read_checkpoint(path).config
        return OwnModel(name, path, config, _sha256(path, path.stat().st_mtime_ns))
    except (OSError, ValueError, SafetensorError) as error:
        logger.warning("%s is left out of the models: %s", path, error)
        return None


@lru_cache(maxsize=64)
def _sha256(path: Path, changed_ns: int) -> str:
    """The checksum of a file, read again only when the file has changed."""
    del changed_ns
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
