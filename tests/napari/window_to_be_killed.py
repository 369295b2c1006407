"""A napari of its own: `python window_to_be_killed.py IMAGES FOLDER PLACE`, killed by a test.

It opens an image file, and saves in the folder or beside the image, as the place says. It clicks,
propagates, corrects and propagates again, as long as it lives, and prints every slice that it has
drawn.
"""

import sys
from typing import Any

from qtpy.QtWidgets import QApplication

import napari
from conftest import make_model
from sam2_plugins.napari_plugin import keys, models, viewer_session
from sam2_plugins.napari_plugin.settings import Keys, Settings


def main(images: str, folder: str, place: str) -> None:
    """Work until killed."""
    model = make_model()
    models.load = lambda choice: model
    settings = Settings(autosave_folder=folder, autosave_place=place)
    viewer_session.read_settings = lambda: settings
    keys.read_keys = Keys
    viewer = napari.Viewer(show=False)
    _, widget = viewer.window.add_plugin_dock_widget("sam2-plugins", "SAM 2")
    viewer.open(images)
    controller = widget.controller
    points = viewer.layers["SAM 2 points"]

    def tell(document: Any, found: Any) -> None:
        print("slice", found.frame_index, flush=True)  # noqa: T201

    def settle() -> None:
        while controller.is_busy:
            QApplication.processEvents()

    controller.masks_changed.connect(tell)
    for number in range(1000):
        points.add([3, 20 + number % 5, 29])
        settle()
        controller.propagate()
        settle()
        if number == 0:
            controller.confirm(5)
            controller.set_name(1, "disk")
        settle()


if __name__ == "__main__":
    main(*sys.argv[1:])
