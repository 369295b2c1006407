"""Another model is loaded beside the one in use: cancelled, broken, or taking its place."""

import hashlib
import time

import pytest

from sam2_plugins.core.download import Patience, RemoteFile, fetch
from sam2_plugins.napari_plugin import models
from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.models import ModelChoice

TIMEOUT_S = 120
CONTENT = bytes(range(250)) * 16_000
QUARTER, HALF = len(CONTENT) // 4, len(CONTENT) // 2


class Model:
    """Stands for a network: nothing is computed here."""

    dtype = "float32"

    class device:
        type = "cpu"

    def parameters(self):
        return []


@pytest.fixture
def server(serve, monkeypatch, tmp_path):
    running = serve(CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()
    remote = RemoteFile("large", running.address("weights.pt"), len(CONTENT), digest)

    def load(loading):
        folder, patience = tmp_path / "cache", Patience(pause_s=0.01)
        report, stop = loading.progress, loading.cancelled
        fetch(remote, folder, progress=report, cancelled=stop, patience=patience)
        return Model()

    monkeypatch.setattr(models, "load", load)
    return running


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
