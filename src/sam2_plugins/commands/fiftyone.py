"""`sam2-plugins fiftyone`: set the FiftyOne plugin up, and run it from the shell."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import json_result, result, say
from sam2_plugins.commands.options import add_json

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction

    from sam2_plugins.fiftyone_plugin.installing import Installation


def add_parser(subparsers: _SubParsersAction[Any]) -> None:
    """Add the command and what it does."""
    parser = subparsers.add_parser("fiftyone", help="set the FiftyOne plugin up, and run it")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for run, summary in (
        (install, "write the plugin into FiftyOne's plugins folder"),
        (uninstall, "remove it from there"),
        (status, "whether FiftyOne finds the plugin, and its database"),
    ):
        action = actions.add_parser(run.__name__, help=summary, description=summary)
        action.add_argument(
            "--plugins-dir", type=Path, help="instead of the folder that FiftyOne is set to"
        )
        add_json(action)
        action.set_defaults(run=run)
    _add_propagate(actions)
    _add_open(actions)


def install(arguments: argparse.Namespace) -> None:
    """Write the plugin's folder."""
    from sam2_plugins.fiftyone_plugin import installing
    from sam2_plugins.fiftyone_plugin.importing import NO_FIFTYONE

    installation = installing.install(arguments.plugins_dir)
    if _fiftyone_version() is None:
        say(f"warning: {NO_FIFTYONE}")
    _show(installation, arguments)


def uninstall(arguments: argparse.Namespace) -> None:
    """Remove the plugin's folder."""
    from sam2_plugins.fiftyone_plugin import installing

    if not installing.uninstall(arguments.plugins_dir):
        say("it was not installed")
    _show(installing.find_installation(arguments.plugins_dir), arguments)


def status(arguments: argparse.Namespace) -> int:
    """Say what FiftyOne finds. The status is 2 where something is missing."""
    from sam2_plugins.fiftyone_plugin import installing
    from sam2_plugins.fiftyone_plugin.importing import import_fiftyone

    installation = installing.find_installation(arguments.plugins_dir)
    problem = ""
    try:
        import_fiftyone()
    except (ImportError, ConnectionError) as error:
        problem = " ".join(str(error).split())
    _show(installation, arguments, problem=problem, database=not problem)
    if problem:
        say(f"error: {problem}")
    return 0 if installation.is_current and not problem else 2


def propagate(arguments: argparse.Namespace) -> None:
    """Run the operator `propagate_masks` on a dataset."""
    from sam2_plugins.fiftyone_plugin.importing import import_fiftyone

    # First, because it says in words that the database is missing.
    fiftyone = import_fiftyone()
    from sam2_plugins.fiftyone_plugin.shell import propagate_in_shell

    if not fiftyone.dataset_exists(arguments.dataset):
        raise ValueError(f"FiftyOne has no dataset {arguments.dataset!r}")
    dataset = fiftyone.load_dataset(arguments.dataset)
    view = dataset.load_saved_view(arguments.view) if arguments.view else dataset
    given = {name: getattr(arguments, name) for name in _PARAMETERS}
    counts = propagate_in_shell(view, given, engine=arguments.engine, say=say)
    if arguments.json:
        json_result(**counts)
    else:
        result(", ".join(f"{count} {state}" for state, count in counts.items() if count))


def open_sample(arguments: argparse.Namespace) -> None:
    """Open a sample in napari, and take over what is sent back."""
    from sam2_plugins.fiftyone_plugin.importing import import_fiftyone

    fiftyone = import_fiftyone()
    from sam2_plugins.fiftyone_plugin.napari_process import find_unit, open_in_napari
    from sam2_plugins.fiftyone_plugin.options import Options
    from sam2_plugins.fiftyone_plugin.sources import images_in_order

    if not fiftyone.dataset_exists(arguments.dataset):
        raise ValueError(f"FiftyOne has no dataset {arguments.dataset!r}")
    dataset = fiftyone.load_dataset(arguments.dataset)
    if arguments.sample_ids:
        unit = images_in_order(dataset, arguments.sample_ids.split(","))
    else:
        view = dataset.load_saved_view(arguments.view) if arguments.view else dataset
        unit = find_unit(view, arguments.sample_id)
    options = Options.from_params({name: getattr(arguments, name) for name in _OPEN_PARAMETERS})
    count = open_in_napari(dataset, unit, options, say=say)
    if arguments.json:
        json_result(sample_id=arguments.sample_id, received=count)


_OPEN_PARAMETERS = ("prompt_field", "output_field", "model", "image_size", "device")
_PARAMETERS = {
    "prompt_field": "frame fields with prompts, comma separated (prompts)",
    "output_field": "frame field for the masks (masks)",
    "model": "a name from `sam2-plugins models`, or a checkpoint (nano)",
    "direction": "both, forward or backward (both)",
    "mask_storage": "database, or path for PNG files (database)",
    "mask_dir": "folder of PNG files",
    "work_dir": "folder of unfinished work, from which the next run goes on",
    "start": "first frame, from 1",
    "stop": "last frame",
    "stride": "every how manyth frame (1)",
    "image_size": "side the network works at, in pixels",
    "device": "auto, cpu, cuda or cuda:N (auto)",
    "num_workers": "processes, with --engine ray",
    "videos_per_task": "videos in each queued operation, with --engine delegated",
    "overwrite": "redo tracks whose prompts have not changed, too",
}


def _add_propagate(actions: _SubParsersAction[Any]) -> None:
    summary = "propagate prompts through the videos of a dataset"
    parser = actions.add_parser("propagate", help=summary, description=summary)
    parser.add_argument("dataset", metavar="DATASET", help="its name")
    parser.add_argument("--view", help="a saved view of it")
    parser.add_argument(
        "--engine", default="local", help="local, delegated (FiftyOne's queue) or ray (local)"
    )
    for name, help_text in _PARAMETERS.items():
        option = "--" + name.replace("_", "-")
        if name == "overwrite":
            parser.add_argument(option, action="store_true", help=help_text)
        else:
            parser.add_argument(option, help=help_text)
    add_json(parser)
    parser.set_defaults(run=propagate)


def _add_open(actions: _SubParsersAction[Any]) -> None:
    summary = "open a sample in napari; what is corrected there comes back"
    parser = actions.add_parser("open", help=summary, description=summary)
    parser.add_argument("dataset", metavar="DATASET", help="its name")
    parser.add_argument("sample_id", metavar="SAMPLE_ID", help="of a video, or of an image")
    parser.add_argument("--view", help="a saved view that has the sample, such as ordered groups")
    parser.add_argument("--sample-ids", help="images in order, comma separated, as one sequence")
    for name in _OPEN_PARAMETERS:
        parser.add_argument("--" + name.replace("_", "-"), help=_PARAMETERS[name])
    add_json(parser)
    parser.set_defaults(run=open_sample)


def _show(installation: Installation, arguments: argparse.Namespace, **more: Any) -> None:
    state = "not installed"
    if installation.is_installed:
        state = "installed" if installation.is_current else "outdated: run install again"
    if arguments.json:
        json_result(
            folder=str(installation.folder),
            installed=installation.is_installed,
            current=installation.is_current,
            fiftyone=_fiftyone_version(),
            **more,
        )
        return
    result(f"plugin    {state}: {installation.folder}")
    result(f"FiftyOne  {_fiftyone_version() or 'not installed'}")
    if "database" in more:
        result(f"database  {'answers' if more['database'] else 'cannot be reached'}")


def _fiftyone_version() -> str | None:
    try:
        return version("fiftyone")
    except PackageNotFoundError:
        return None
