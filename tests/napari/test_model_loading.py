"""Another model is loaded beside the one in use: cancelled, broken, or taking its place."""

import hashlib
import http.server
import threading
import time

import pytest

from sam2_plugins.core.download import Patience, RemoteFile, fetch
from sam2_plugins.napari_plugin import models
from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.models import ModelChoice

TIMEOUT_S = 120
CONTENT = bytes(range(250)) * 16_000
QUARTER, HALF = len(CONTENT) // 4, len(CONTENT) // 2


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends a quarter, the next when told `more`, and the rest when told `goes_on`."""

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        start = int(asked[6:-1]) if asked else 0
        server.starts.append(start)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.send_header("ETag", '"one"')
        self.end_headers()
        if start < QUARTER:
            self.wfile.write(CONTENT[start:QUARTER])
            server.more.wait(TIMEOUT_S)
            self.wfile.write(CONTENT[QUARTER:HALF])
        if not server.breaks:
            server.goes_on.wait(TIMEOUT_S)
            self.wfile.write(CONTENT[max(start, HALF) :])

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.more, self.goes_on = threading.Event(), threading.Event()
        self.breaks, self.starts = False, []

    def handle_error(self, *_):
        """A client that hangs up is part of the tests."""


class Model:
    """Stands for a network: nothing is computed here."""

    dtype = "float32"

    class device:
        type = "cpu"

    def parameters(self):
        return []


@pytest.fixture
def server(monkeypatch, tmp_path):
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{running.server_port}/weights.pt"
        remote = RemoteFile("large", address, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())

        def load(loading):
            folder, patience = tmp_path / "cache", Patience(pause_s=0.01)
            report, stop = loading.progress, loading.cancelled
            fetch(remote, folder, progress=report, cancelled=stop, patience=patience)
            return Model()

        monkeypatch.setattr(models, "load", load)
        yield running
        running.more.set()
        running.goes_on.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def begin():
    """A controller with a model, or without; what it tells is in `bytes` and `said`."""
    made = []

    def begin(model=None):
        controller = Controller(model)
        controller.bytes, controller.said = [], []
        controller.downloading.connect(lambda known: controller.bytes.append(known.done_bytes))
        controller.failed.connect(controller.said.append)
        made.append(controller)
        return controller

    yield begin
    for controller in made:
        controller.close(20)


def wait_for_half(controller, server):
    """The download has been told of twice, and is at half."""
    for size in (QUARTER, HALF):
        end = time.monotonic() + TIMEOUT_S
        while controller.bytes[-1:] != [size] and time.monotonic() < end:
            controller.process()
            time.sleep(0.01)
        assert controller.bytes[-1] == size
        server.more.set()


def test_cancelling_does_not_wait_for_a_silent_server(begin, server):
    model = Model()
    controller = begin(model)
    controller.choose_model(ModelChoice("large"))
    assert controller.models.wanted.name == "large"
    wait_for_half(controller, server)
    assert controller.models.get() is model
    controller.cancel_download()
    controller.wait(TIMEOUT_S)
    assert not server.goes_on.is_set()
    assert len(controller.said) == 1
    assert "cancelled" in controller.said[0]
    assert controller.models.get() is model
    assert controller.models.wanted.name == "nano"
    assert not controller.models.is_loading

    server.goes_on.set()
    controller.choose_model(ModelChoice("large"))
    controller.wait(TIMEOUT_S)
    assert controller.models.get() is not model
    assert controller.models.choice.name == "large"
    assert server.starts[0] == 0
    assert server.starts[-1] >= HALF


def test_a_connection_that_breaks_is_one_line_and_the_model_stays(begin, server):
    model = Model()
    controller = begin(model)
    server.breaks = True
    server.more.set()
    controller.choose_model(ModelChoice("large"))
    controller.wait(TIMEOUT_S)
    (told,) = controller.said
    assert f"it ended after {HALF} of {len(CONTENT)} bytes" in told
    assert "\n" not in told
    assert controller.models.get() is model
    assert controller.models.choice.name == "nano"


def test_the_first_model_can_be_cancelled_too(begin, server):
    controller = begin()
    controller.models.choice = ModelChoice("large")
    controller.load_model()
    wait_for_half(controller, server)
    controller.cancel_download()
    controller.wait(TIMEOUT_S)
    assert not server.goes_on.is_set()
    assert "cancelled" in controller.said[0]
    assert not controller.models.is_loaded
    assert not controller.status.is_working
    server.goes_on.set()
    controller.load_model()
    controller.wait(TIMEOUT_S)
    assert controller.models.is_loaded


def test_of_two_models_that_are_chosen_the_last_counts(begin, server, monkeypatch):
    controller = begin(Model())
    controller.choose_model(ModelChoice("large"))
    wait_for_half(controller, server)
    monkeypatch.setattr(models, "load", lambda loading: Model())
    controller.choose_model(ModelChoice("small"))
    controller.wait(TIMEOUT_S)
    server.goes_on.set()
    controller.wait(TIMEOUT_S)
    assert controller.models.choice.name == "small"
    assert not controller.said
