"""Takes the pictures of docs/napari.md: `python scripts/napari_screenshots.py [FOLDER]`.

It needs a display; without one, run it under `xvfb-run -a -s "-screen 0 1500x1000x24"`.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtWidgets import QApplication

import napari
from sam2_plugins.core import nuclei_stack
from sam2_plugins.napari_plugin.sample_data import dividing_cells

TIMEOUT_S = 300


def wait_for(is_done: Callable[[], bool]) -> None:
    """Let the window live until something is so."""
    until = time.monotonic() + TIMEOUT_S
    while not is_done():
        QApplication.processEvents()
        time.sleep(0.01)
        if time.monotonic() > until:
            raise TimeoutError("the window did not get there")


def settle(widget: Any) -> None:
    """Let the window live until nothing is being done, and a little longer."""
    wait_for(lambda: not widget.controller.is_busy)
    until = time.monotonic() + 0.5
    wait_for(lambda: time.monotonic() > until)


def open_viewer(image: np.ndarray, **facts: Any) -> tuple[napari.Viewer, Any]:
    """A viewer with an image and the widget."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1380, 900)
    viewer.add_image(image, **facts)
    _, widget = viewer.window.add_plugin_dock_widget("sam2-plugins", "SAM 2")
    viewer.reset_view()
    return viewer, widget


def shoot(viewer: napari.Viewer, path: Path) -> None:
    """Save a picture of the whole window."""
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    print(path)  # noqa: T201


def nuclei(folder: Path, prepare: Callable[[Any], None]) -> None:
    """The story on a stack: click, propagate, correct."""
    sample = nuclei_stack()
    viewer, widget = open_viewer(
        sample.images, name="nuclei", scale=(2, 1, 1), axis_labels=("z", "y", "x")
    )
    prepare(widget)
    controller = widget.controller
    points = viewer.layers["SAM 2 points"]
    middle = len(sample.images) // 2
    viewer.dims.set_point(0, 2 * middle)
    ids, counts = np.unique(sample.labels[middle], return_counts=True)
    largest = [int(ids[i]) for i in np.argsort(-counts) if ids[i]][:4]
    for number, label in enumerate(largest):
        if number:
            controller.new_object()
        y, x = np.argwhere(sample.labels[middle] == label).mean(axis=0)
        points.add([middle, y, x])
        settle(widget)
    shoot(viewer, folder / "napari-click.png")
    controller.propagate()
    wait_for(lambda: len(controller.document.scores[(controller.plane, 1)]) > middle)
    shoot(viewer, folder / "napari-propagating.png")
    settle(widget)
    controller.confirm(middle)
    controller.select_object(2)
    viewer.dims.set_point(0, 2 * (middle + 4))
    settle(widget)
    shoot(viewer, folder / "napari-propagated.png")
    viewer.close()


def cells(folder: Path, prepare: Callable[[Any], None]) -> None:
    """A time-lapse with a box."""
    viewer, widget = open_viewer(dividing_cells(), name="cells", axis_labels=("t", "y", "x"))
    prepare(widget)
    y, x = 26, 26
    corners = [[0, y - 22, x - 22], [0, y - 22, x + 22], [0, y + 22, x + 22], [0, y + 22, x - 22]]
    viewer.layers["SAM 2 boxes"].add_rectangles(np.array(corners))
    settle(widget)
    widget.controller.propagate("forward")
    settle(widget)
    viewer.dims.set_point(0, 12)
    settle(widget)
    shoot(viewer, folder / "napari-time-lapse.png")
    viewer.close()


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs/images"))
    parser.add_argument("--checkpoint", help="weights other than the bundled ones")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)

    def prepare(widget: Any) -> None:
        if arguments.checkpoint:
            from sam2_plugins.napari_plugin.models import ModelChoice

            widget.controller.choose_model(ModelChoice(checkpoint=arguments.checkpoint))

    nuclei(arguments.folder, prepare)
    cells(arguments.folder, prepare)


if __name__ == "__main__":
    sys.exit(main())
