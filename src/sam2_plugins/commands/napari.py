"""`sam2-plugins napari`: napari with the SAM 2 widget docked."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.options import add_model

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction
    from collections.abc import Sequence

    from napari import Viewer

OURS = "sam2-plugins"
WIDGET = (OURS, "SAM 2")


def add_parser(subparsers: _SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("napari", help="open napari with the SAM 2 widget docked")
    parser.add_argument(
        *("paths",), nargs="*", type=Path, metavar="PATH", help="images, stacks or videos to open"
    )
    parser.add_argument(
        *("--session",), type=Path, metavar="FOLDER", help="what another program has handed over"
    )
    add_model(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Open the window, and wait until it is closed."""
    import napari

    open_window(arguments)
    napari.run()


def open_window(arguments: argparse.Namespace) -> Viewer:
    """A viewer with the paths open and the widget docked.

    Args:
        arguments: Of the command.

    Raises:
        FileNotFoundError: A path does not exist; no window is opened.
        ValueError: A path cannot be read.
        ImportError: napari or Qt is not installed.
        OSError: There is no display.
    """
    for path in arguments.paths:
        if not path.exists():
            raise FileNotFoundError(f"there is no file or folder {path}")
    check_display()
    try:
        import qtpy.QtWidgets  # noqa: F401

        import napari
        from sam2_plugins.napari_plugin.models import ModelChoice
    except ImportError as error:
        raise ImportError(
            f"napari cannot be opened ({error}): pip install 'sam2-plugins[napari]' 'napari[pyqt6]'"
        ) from error
    viewer = napari.Viewer()
    try:
        open_paths(viewer, arguments.paths)
        _, widget = viewer.window.add_plugin_dock_widget(*WIDGET)
        old = widget.controller.models.choice
        chosen = ModelChoice(
            arguments.model or old.name,
            None if arguments.checkpoint is None else str(arguments.checkpoint),
            arguments.device if arguments.device != "auto" else old.device,
            arguments.dtype if arguments.dtype != "auto" else old.dtype,
            arguments.image_size,
        )
        if chosen != old:
            widget.controller.choose_model(chosen)
        if arguments.session is not None:
            open_handed_over(viewer, widget, arguments)
    except Exception:
        viewer.close()
        raise
    return viewer


def open_handed_over(viewer: Viewer, widget: Any, arguments: argparse.Namespace) -> None:
    """Open what another program has handed over, with the button that sends corrections back.

    Args:
        viewer: With nothing in it.
        widget: Of SAM 2, in that viewer.
        arguments: Of the command.

    Raises:
        FileNotFoundError: There is no handover, or its images are missing.
        ValueError: It is damaged, or its images cannot be read.
    """
    from napari.layers import Image

    from sam2_plugins.napari_plugin.hand_back_panel import HandBackPanel
    from sam2_plugins.napari_plugin.handed_over import HandedOver
    from sam2_plugins.napari_plugin.video_reading import open_array

    handed_over = HandedOver(widget.session, arguments.session)
    handover, controller = handed_over.handover, widget.controller
    if not arguments.model and not arguments.checkpoint:
        is_file, usual = Path(handover.model).is_file(), controller.models.choice
        chosen = replace(
            usual,
            name=usual.name if is_file else handover.model,
            checkpoint=handover.model if is_file else None,
            image_size=arguments.image_size or handover.image_size,
        )
        if chosen != usual:
            controller.choose_model(chosen)
    media = [Path(one) for one in handover.media]
    frames = open_array(media[0] if len(media) == 1 else media)
    layer = Image(
        frames,
        name=media[0].stem,
        rgb=frames.frames.is_rgb,
        axis_labels=("t", "y", "x"),
    )
    handed_over.show(layer)
    viewer.window.add_dock_widget(HandBackPanel(handed_over), name="Send back", area="right")


def check_display() -> None:
    """Raise OSError where Qt would end the process, for want of a display."""
    named = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in named):
        raise OSError("there is no display: run this under xvfb-run, or on a desktop")


def open_paths(viewer: Viewer, paths: Sequence[Path]) -> None:
    """Open files with napari's readers, or as our own commands do where none of them can.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Neither can read one of them.
    """
    from sam2_plugins.napari_plugin.video_reading import layers_of

    for path in paths:
        try:
            _open_with_reader(viewer, path)
        except ValueError:
            for data, facts, _ in layers_of(path):
                viewer.add_image(data, **facts)


def _open_with_reader(viewer: Viewer, path: Path) -> None:
    """Open a file with the reader that the person prefers, else with ours where it is a video."""
    from napari.errors import MultipleReaderError

    try:
        viewer.open(path, plugin=None)
    except MultipleReaderError as error:
        readers = error.available_plugins
        chosen = next((name for name in (OURS, "napari") if name in readers), readers[0])
        viewer.open(path, plugin=chosen)
