"""Takes the pictures of docs/fiftyone.md: `python scripts/fiftyone_screenshots.py [FOLDER]`.

It needs Chromium and Playwright, and a database that FIFTYONE_DATABASE_URI names or that FiftyOne
starts. The tutorial's dataset is made under a name of its own and removed afterwards.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "fiftyone"))

from app_browser import AppPage, open_app, why_no_browser  # noqa: E402

from sam2_plugins.fiftyone_plugin.importing import import_fiftyone  # noqa: E402
from sam2_plugins.fiftyone_plugin.installing import install  # noqa: E402
from sam2_plugins.fiftyone_plugin.tutorial import make_dataset  # noqa: E402

NAME = "sam2-screenshots"
SIZE = (1240, 760)
COLOURS = 192
"""A picture has as many, which keeps it small."""


def save(app: AppPage, path: Path) -> None:
    """Take a picture of the page when it has come to rest, small enough for a repository."""
    app.still_picture(app.page)
    app.page.screenshot(path=path)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def photograph(app: AppPage, folder: Path) -> None:
    """The grid, the form opened from its button, and the panel beside a video that is done."""
    app.open_dataset(NAME)
    save(app, folder / "fiftyone-grid.png")
    app.press_operator("propagate_masks")
    app.choose("Prompt fields", "clicks", "outlines")
    save(app, folder / "fiftyone-form.png")
    app.execute()
    app.form.get_by_text("videos: 3 done").wait_for()
    app.close_form()
    app.open_sample(0)
    app.show_field("frames.ground_truth", is_shown=False)
    app.open_panel_beside()
    app.panel.get_by_text("Worth a look", exact=True).wait_for()
    save(app, folder / "fiftyone-panel.png")


def take(folder: Path) -> None:
    """Make the dataset, open the App and take the pictures."""
    with tempfile.TemporaryDirectory() as made:
        os.environ["FIFTYONE_PLUGINS_DIR"] = str(Path(made, "plugins"))
        install(Path(made, "plugins"))
        fo: Any = import_fiftyone()
        make_dataset(Path(made, "videos"), NAME, overwrite=True)
        try:
            with open_app(Path(made, "server.log"), SIZE) as app:
                photograph(app, folder)
        finally:
            fo.delete_dataset(NAME)


def main() -> None:
    """Where to put the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default=str(ROOT / "docs" / "images"))
    folder = Path(parser.parse_args().folder)
    reason = why_no_browser()
    if reason:
        parser.exit(2, f"error: {reason}\n")
    folder.mkdir(parents=True, exist_ok=True)
    take(folder)


if __name__ == "__main__":
    main()
