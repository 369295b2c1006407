"""What the napari tests share: all are skipped where napari or Qt is not installed."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import pytest
from halting_server import HaltingServer

pytest.importorskip("napari")
pytest.importorskip("qtpy")
pytest.importorskip("pytestqt")

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("NAPARI_STRICT_QT", "1")

import torch
from napari.components import ViewerModel
from napari.utils.events import EventEmitter
from npe2 import PluginManifest

from sam2_plugins.core import SAM2, load_model
from sam2_plugins.napari_plugin import keys, models, viewer_session
from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.frames import make_stack
from sam2_plugins.napari_plugin.layers import choose_plane
from sam2_plugins.napari_plugin.models import ModelChoice
from sam2_plugins.napari_plugin.settings import Keys, Settings
from sam2_plugins.napari_plugin.viewer_session import ViewerSession
from smallest import SMALLEST

TIMEOUT_MS = 180_000
OF_A_WINDOW = "napari._qt.qt_main_window", "sam2_plugins.napari_plugin.widget"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish() -> None:
    """What every window imports is there before what garbage is not looked for in is settled."""
    for name in OF_A_WINDOW:
        import_module(name)


@pytest.fixture(scope="module", autouse=True)
def _garbage_is_not_looked_for_in_what_stays() -> Iterator[None]:
    """What libraries keep of windows grows: it would be gone through after each."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _no_opengl_is_no_error() -> Iterator[None]:
    """A fake: napari asks OpenGL what it can, and ends where the offscreen platform has none."""
    from napari._vispy.layers import image

    real = getattr(image, "get_gl_extensions", str)

    def get_gl_extensions() -> str:
        try:
            return str(real())
        except AttributeError:
            return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image, "get_gl_extensions", get_gl_extensions, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _plugins_are_looked_for_once() -> Iterator[None]:
    """What is installed stays so: napari reads every package's manifest for each new window."""
    found = list(PluginManifest.discover())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManifest, "discover", lambda paths=(): iter(found))
        yield


@pytest.fixture(scope="session", autouse=True)
def _signatures_are_read_once() -> Iterator[None]:
    """napari reads a callback's signature each time: a code's parameters stay what they are."""
    real = EventEmitter._check_signature
    known: dict[tuple[object, object], bool] = {}

    def check_signature(callback: Callable[..., Any]) -> bool:
        kind = type(callback)
        # Neither a decorator's nor a partial's own parameters tell what it takes.
        is_plain = kind in (FunctionType, MethodType) or isinstance(callback, EventEmitter)
        if not is_plain or hasattr(callback, "__wrapped__") or hasattr(callback, "__signature__"):
            return bool(real(callback))
        key = (kind, getattr(callback, "__code__", None))
        if key not in known:
            known[key] = bool(real(callback))
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EventEmitter, "_check_signature", staticmethod(check_signature))
        yield


@torch.no_grad()
def make_model() -> SAM2:
    """Random weights that see every object on every frame, and masks of some size."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = SAM2(SMALLEST)
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0, 1 / np.sqrt(weight[0].numel()))
            elif "embed" in name or "token" in name:
                weight.normal_(0, 0.5)
    model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(6)
    return model.eval()


@pytest.fixture(scope="session")
def model() -> SAM2:
    """A very small network with random weights."""
    return make_model()


@pytest.fixture(autouse=True)
def _opengl_is_asked_again() -> None:
    """That OpenGL did not answer once is not remembered for the tests that follow."""
    from napari._vispy.utils import gl

    asked = gl.get_max_texture_sizes
    if asked.cache_info().currsize and None in asked():
        asked.cache_clear()


@pytest.fixture(scope="session")
def nano() -> SAM2:
    """The bundled model."""
    return load_model("nano", device="cpu")


@pytest.fixture(scope="session")
def quick_nano() -> SAM2:
    """The bundled model at half its size, which on planes of some 100 pixels finds as much."""
    return load_model("nano", device="cpu", image_size=192)


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """(8, 48, 64) uint16: a bright disk that moves."""
    rows, columns = np.mgrid[:48, :64]
    frames = np.full((8, 48, 64), 300, np.uint16)
    for index, frame in enumerate(frames):
        frame[(rows - 20) ** 2 + (columns - 20 - 3 * index) ** 2 < 80] = 4000
    return frames + np.random.default_rng(0).integers(0, 100, frames.shape, np.uint16)


@pytest.fixture
def controller(model: SAM2, images: np.ndarray) -> Iterator[Controller]:
    """A controller with the images open, and failures collected in `messages`."""
    made = Controller(model)
    made.open(make_stack([images]))
    made.set_view(choose_plane(images.shape, (1, 2), point=(0, 0, 0)), 0)
    yield made
    made.close(10)


@pytest.fixture
def messages(controller: Controller) -> list[str]:
    """What the controller said did not work."""
    found: list[str] = []
    controller.failed.connect(found.append)
    return found


@pytest.fixture
def begin_session(model: SAM2) -> Iterator[Callable[[], tuple[ViewerModel, ViewerSession]]]:
    """Make a viewer without a window, and its session."""
    opened = []

    def begin_session() -> tuple[ViewerModel, ViewerSession]:
        viewer = ViewerModel()
        session = ViewerSession(viewer, Controller(model))
        opened.append(session.controller)
        return viewer, session

    yield begin_session
    for made in opened:
        made.close(20)


def no_model(choice: ModelChoice) -> SAM2:
    """Loads none."""
    raise RuntimeError(f"{choice.name} is not wanted")


@pytest.fixture
def begin_saved(model: SAM2, images: np.ndarray, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open an image with autosave, as a new process would, and restore what there is."""
    from test_controller import Masks

    made = []

    def begin_saved(
        network: SAM2 | None = model, pixels: np.ndarray = images, *, restores: bool = True
    ) -> Any:
        controller = Controller(network, loader=no_model)
        made.append(controller)
        controller.autosave_folder = tmp_path
        controller.open(make_stack([pixels]))
        shown = (pixels.ndim - 2, pixels.ndim - 1)
        controller.set_view(choose_plane(pixels.shape, shown, point=(0,) * pixels.ndim))
        masks = Masks(controller) if pixels.ndim == 3 else None
        offers: list[Any] = []
        controller.restorable.connect(offers.append)
        controller.wait()
        if offers and restores:
            controller.restore()
            controller.wait()
        messages: list[str] = []
        controller.failed.connect(messages.append)
        return controller, masks, messages

    yield begin_saved
    for controller in made:
        controller.close(10)


@pytest.fixture
def forget_to_save(monkeypatch: pytest.MonkeyPatch) -> Callable[[Controller], None]:
    """Trackers are not saved from now on, as where napari is killed first."""
    return lambda controller: monkeypatch.setattr(controller._engine, "save", lambda: None)


@pytest.fixture
def widget_model(model: SAM2) -> SAM2:
    """What the widget loads; a test file may name another."""
    return model


@pytest.fixture
def open_widget(
    make_napari_viewer: Callable[..., Any],
    widget_model: SAM2,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Callable[..., Any]]:
    """Open the widget the way a person does; it loads `widget_model`."""
    monkeypatch.setattr(models, "load", lambda choice: widget_model)
    settings = Settings(autosave_folder=str(tmp_path))
    monkeypatch.setattr(viewer_session, "read_settings", lambda: settings)
    monkeypatch.setattr(keys, "read_keys", Keys)
    opened = []

    def open_widget(viewer: Any = None) -> Any:
        viewer = viewer or make_napari_viewer()
        _, widget = viewer.window.add_plugin_dock_widget("sam2-plugins", "SAM 2")
        opened.append(widget.controller)
        return viewer, widget

    yield open_widget
    for made in opened:
        made.close(20)


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], HaltingServer]]:
    """Start a server that sends so many bytes, and stops in the middle until it is told more."""
    with ExitStack() as stack:
        yield lambda content: stack.enter_context(HaltingServer(content))


@pytest.fixture
def press() -> Callable[..., None]:
    """Press a key as the canvas does: the active layer's own keys come before the viewer's."""
    from app_model.types import KeyBinding

    def press(viewer: Any, key: str) -> None:
        code = KeyBinding.from_str(key)
        for owner in (viewer.layers.selection.active, viewer):
            action = None if owner is None else owner.keymap.get(code)
            if action is not None:
                action(owner)
                return
        pytest.fail(f"nothing is bound to {key}")

    return press


@pytest.fixture
def settle(qtbot: Any) -> Callable[[Any], None]:
    """Let the window live until a widget's controller has nothing left to do."""

    def settle(widget: Any) -> None:
        qtbot.waitUntil(lambda: not widget.controller.is_busy, timeout=TIMEOUT_MS)

    return settle
