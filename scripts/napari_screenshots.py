"""Takes the pictures of docs/napari.md: `python scripts/napari_screenshots.py [FOLDER]`.

It needs a display; without one, run it under `xvfb-run -a -s "-screen 0 1500x1000x24"`. A home of
its own keeps a person's preferences and saved work out of the pictures, and the other way round.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOME = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
os.environ["HOME"] = HOME.name

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from qtpy.QtWidgets import QApplication, QScrollArea  # noqa: E402
from superqt import QCollapsible  # noqa: E402

import napari  # noqa: E402
from sam2_plugins.core import nuclei_stack  # noqa: E402
from sam2_plugins.napari_plugin.sample_data import dividing_cells  # noqa: E402

TIMEOUT_S = 600
SIZE = (1240, 860)
COLOURS = 256
"""A picture has as many, which keeps it small."""


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
    viewer.window.resize(*SIZE)
    viewer.add_image(image, **facts)
    _, widget = viewer.window.add_plugin_dock_widget("sam2-plugins", "SAM 2")
    settle(widget)
    viewer.reset_view()
    return viewer, widget


def shoot(viewer: napari.Viewer, path: Path) -> None:
    """Save a picture of the whole window."""
    save(viewer.screenshot(canvas_only=False, flash=False), path)


def save(pixels: np.ndarray, path: Path) -> None:
    """Save a picture in few colours."""
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    # The colours that are furthest apart: the few green pixels of a strip count as much as grey.
    few = picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")  # noqa: T201


def unfold(widget: Any, title: str) -> None:
    """Open a folded part, and scroll to its end."""
    for part in widget.findChildren(QCollapsible):
        if part.text() == title:
            part.expand(animate=False)
    settle(widget)
    bar = widget.findChild(QScrollArea).verticalScrollBar()
    bar.setValue(bar.maximum())
    settle(widget)


def nuclei(folder: Path, prepare: Callable[[Any], None]) -> None:
    """The story on a stack: click, propagate, correct, export."""
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
        if not number:
            shoot(viewer, folder / "napari-click.png")
    controller.propagate()
    wait_for(lambda: len(controller.document.scores[(controller.plane, 1)]) > middle)
    shoot(viewer, folder / "napari-propagating.png")
    settle(widget)
    controller.select_object(2)
    controller.confirm(middle)
    viewer.dims.set_point(0, 2 * (middle + 4))
    settle(widget)
    shoot(viewer, folder / "napari-propagated.png")
    widget.output.show_batch.click()
    unfold(widget, "Output")
    shoot(viewer, folder / "napari-output.png")
    viewer.close()


def cells(folder: Path, prepare: Callable[[Any], None]) -> None:
    """A time-lapse with a click."""
    viewer, widget = open_viewer(dividing_cells(), name="cells", axis_labels=("t", "y", "x"))
    prepare(widget)
    viewer.dims.set_point(0, 0)
    viewer.layers["SAM 2 points"].add([0, 27, 80])
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
