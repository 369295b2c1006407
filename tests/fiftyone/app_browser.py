"""FiftyOne's App with the plugin, in a real browser without a window."""

import importlib.util
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TIMEOUT_S = 600
SIZE = (1360, 860)
_PLUGIN = "@sam2-plugins/sam2"
_QUIET = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions"]
_OFFLINE = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
_SERVE = """
import sys
from sam2_plugins.fiftyone_plugin.importing import import_fiftyone
import_fiftyone()
from fiftyone.server.main import start_server
start_server(port=int(sys.argv[1]), address="127.0.0.1")
"""


def find_browser() -> str | None:
    """The path of Chromium; None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def why_no_browser() -> str | None:
    """Why no browser can be driven here; None where one can."""
    if find_browser() is None:
        return "no Chromium: apt-get install chromium"
    if importlib.util.find_spec("playwright") is None:
        return "no Playwright: pip install playwright"
    return None


class AppPage:
    """The App in a page of a browser.

    Args:
        page: Of Playwright.
        url: Of the App.

    Attributes:
        page: For what is not here.
        errors: That the page's own code raised.
    """

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.errors: list[str] = []
        self._url = url
        page.set_default_timeout(TIMEOUT_S * 1000)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        # A note about FiftyOne's other edition lies over what is to be clicked.
        note = page.get_by_role("button", name="Dismiss")
        page.add_locator_handler(note, lambda: note.click())

    @property
    def form(self) -> Any:
        """The form, the progress or the result of an operator."""
        return self.page.get_by_role("dialog").last

    def open_dataset(self, name: str) -> None:
        """Show a dataset's samples."""
        self.page.goto(f"{self._url}/datasets/{name}")
        self.page.wait_for_selector('[data-cy="looker"]')

    def press_operator(self, name: str) -> None:
        """Press an operator's button above the samples."""
        self.page.locator(f'[data-item-id="{_PLUGIN}/{name}"]').click()

    def choose_operator(self, label: str) -> None:
        """Open an operator's form from the list of operators."""
        self.page.keyboard.press("Backquote")
        self.page.get_by_placeholder("Search operations by name...").fill(label)
        self.page.get_by_text(label, exact=True).first.click()

    def field(self, label: str) -> Any:
        """The input below a label of the form that is open."""
        words = self.form.get_by_text(label, exact=True)
        return words.locator("xpath=following::input[1]")

    def choose(self, label: str, *values: str) -> None:
        """Add values to those that are chosen below a label of the form that is open."""
        for value in values:
            self.field(label).fill(value)
            self.page.get_by_role("option", name=value, exact=True).click()
            self.form.get_by_role("button", name=value, exact=True).wait_for()

    def execute(self) -> None:
        """Run the operator whose form is open."""
        self.form.get_by_role("button", name="Execute").click()

    def cancel(self) -> None:
        """Close the form that is open, and nothing else."""
        button = self.form.get_by_role("button", name="Cancel")
        button.click()
        button.wait_for(state="hidden")

    def close_form(self) -> None:
        """Close the form or the result that is open."""
        self.page.keyboard.press("Escape")
        self.page.get_by_role("dialog").wait_for(state="hidden")

    def open_sample(self, number: int) -> None:
        """Open a sample, counted from 0."""
        self.page.locator('[data-cy="looker"]').nth(number).click()
        self.canvas.wait_for()

    def open_panel(self) -> None:
        """Show the plugin's panel in place of the sample that is open."""
        self.page.locator('[data-cy="modal"] [data-cy="panel-tab-sam2_panel"]').click()
        self.panel.get_by_role("button", name="Propagate").wait_for()

    def open_panel_beside(self) -> None:
        """Show the plugin's panel beside the video of the sample that is open."""
        self.open_panel()
        self.page.locator('[data-cy="modal"] [title^="Split"]').first.click()
        self.canvas.wait_for()
        self.panel.get_by_role("button", name="Propagate").wait_for()

    @property
    def panel(self) -> Any:
        """What the plugin's panel shows."""
        return self.page.locator('[data-cy="panel-content-sam2_panel"]').last

    @property
    def canvas(self) -> Any:
        """Where the open sample is drawn."""
        return self.page.locator('[data-cy="modal"] canvas[canvas-loaded="true"]').first

    def draw_box(self, box: Sequence[float], *, size: tuple[int, int]) -> None:
        """Draw in the Annotate tab of the sample that is open.

        Args:
            box: x, y, width and height, in parts of the frame.
            size: (H, W) of the frame, which the App fits into the middle.
        """
        self.page.locator('[data-cy="modal"] [data-cy="annotate"]').click()
        self.page.locator('[data-cy="modal"] [data-cy="detection-mode"]').click()
        canvas = self.page.locator('[data-cy="lighter-sample-renderer-canvas"]')
        drawn_on = self._at_rest(canvas.bounding_box)
        height, width = size
        scale = min(drawn_on["width"] / width, drawn_on["height"] / height)
        left = drawn_on["x"] + (drawn_on["width"] - width * scale) / 2
        top = drawn_on["y"] + (drawn_on["height"] - height * scale) / 2
        corners = [(box[0], box[1]), (box[0] + box[2], box[1] + box[3])]
        start, end = ((left + x * width * scale, top + y * height * scale) for x, y in corners)
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move(*end, steps=10)
        mouse.up()

    def show_field(self, field: str, *, is_shown: bool) -> None:
        """Tick a field in the sidebar of the sample that is open."""
        box = self.page.locator(f'[data-cy="modal"] [data-cy="checkbox-{field}"] input')
        box.set_checked(is_shown)

    def still_picture(self, locator: Any) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, a part of the page as it is seen when it changes no more."""
        with Image.open(io.BytesIO(self._at_rest(locator.screenshot))) as image:
            return np.asarray(image.convert("RGB"))

    def _at_rest(self, look: Callable[[], Any]) -> Any:
        """What is seen of the page when it is the same twice in a row."""
        until = time.monotonic() + TIMEOUT_S
        last = None
        while time.monotonic() < until:
            self.page.wait_for_timeout(700)
            seen = look()
            if seen == last:
                return seen
            last = seen
        raise TimeoutError("the page does not come to rest")


@contextmanager
def open_app(log: Path, size: tuple[int, int] = SIZE) -> Iterator[AppPage]:
    """Serve the App on the database that the environment names, and open a browser.

    Args:
        log: A file for what the server says.
        size: (width, height) of the page.
    """
    from playwright.sync_api import sync_playwright

    port = _free_port()
    with log.open("wb") as said:
        server = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _SERVE, str(port)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "FIFTYONE_SERVER": "1"},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        _wait_until_served(server, port)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=find_browser(), args=[*_QUIET, *_OFFLINE], timeout=TIMEOUT_S * 1000
            )
            page = browser.new_page(viewport={"width": size[0], "height": size[1]})
            yield AppPage(page, f"http://127.0.0.1:{port}")
            browser.close()
    finally:
        _end(server)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_served(server: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).close()
            return
        except OSError:
            if server.poll() is not None:
                raise RuntimeError("the App's server ended") from None
            if time.monotonic() > until:
                raise TimeoutError("the App's server did not answer") from None
        time.sleep(0.3)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and the processes that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(timeout=30)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    server.wait()
