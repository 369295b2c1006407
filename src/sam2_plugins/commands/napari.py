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

    import numpy as np
    from numpy.typing import NDArray

    from napari import Viewer
    from sam2_plugins.core.frames import FrameSource

WIDGET = ("sam2-plugins", "SAM 2")


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

    from sam2_plugins.core.frames import open_frames
    from sam2_plugins.napari_plugin.hand_back_panel import HandBackPanel
    from sam2_plugins.napari_plugin.handed_over import HandedOver

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
    frames = open_frames(handover.media[0] if len(handover.media) == 1 else list(handover.media))
    layer = Image(
        FrameArray(frames),
        name=Path(handover.media[0]).stem,
        rgb=frames.is_rgb,
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
    """Open files with napari's readers, or as our own commands do where it has none.

    Raises:
        ValueError: Neither can read one of them.
    """
    from napari.errors import MultipleReaderError, NoAvailableReaderError

    from sam2_plugins.core.frames import open_frames

    for path in paths:
        try:
            viewer.open(path)
        except MultipleReaderError as error:
            viewer.open(path, plugin=error.available_readers[0])
        except (NoAvailableReaderError, ValueError):
            frames = open_frames(path)
            first = frames.read(0)
            if frames.is_rgb or first.ndim == 2:
                viewer.add_image(FrameArray(frames), name=path.stem, rgb=frames.is_rgb)
                continue
            for channel in range(first.shape[-1]):
                one = FrameArray(open_frames(path, channels=channel))
                viewer.add_image(one, name=f"{path.stem} {channel}", blending="additive")


class FrameArray:
    """Frames as napari wants an array: read one at a time, when they are shown.

    Args:
        frames: Closed when this is forgotten.
    """

    def __init__(self, frames: FrameSource) -> None:
        self._frames = frames
        first = frames.read(0)
        self.dtype = first.dtype
        self.shape = (frames.num_frames, *first.shape)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        import numpy as np

        first, *others = index if isinstance(index, tuple) else (index,)
        rest = tuple(others)
        if isinstance(first, slice):
            read = [self._frames.read(i) for i in range(*first.indices(len(self)))]
            stacked = np.stack(read) if read else np.empty((0, *self.shape[1:]), self.dtype)
            return np.asarray(stacked[(slice(None), *rest)])
        if first is Ellipsis:
            return np.asarray(self[:][(first, *rest)])
        frame = int(first)
        return np.asarray(self._frames.read(frame + len(self) * (frame < 0))[rest])

    def __array__(self, dtype: np.dtype[Any] | None = None, copy: bool | None = None) -> Any:
        import numpy as np

        return np.asarray(self[:], dtype=dtype)
