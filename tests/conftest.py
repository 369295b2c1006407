"""What tests share: no network, a small stack, random weights, and the command line."""

import gc
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import torch._dynamo  # every optimiser imports it, and crashes where Mesa has drawn a window before
from hypothesis import HealthCheck, settings

from command_line import Ran
from sam2_plugins.cli import main
from sam2_plugins.core.checkpoints import save_checkpoint
from sam2_plugins.core.download import CACHE_VARIABLE
from sam2_plugins.core.model.sam2 import SAM2
from smallest import SMALLEST

# How long an example takes says nothing on a machine that does other things meanwhile.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

LOCAL_HOSTS = {"127.0.0.1", "::1", "localhost"}


def pytest_collection_finish() -> None:
    """Garbage is not looked for in what was imported: after each window, that took most of it."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Libraries that count what they have left behind at the end are right again."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _no_network(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> None:
    """Tests reach no other machine and no weights of the user's, unless marked `weights`."""
    if request.node.get_closest_marker("weights"):
        return
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in LOCAL_HOSTS:
            pytest.fail(f"a test connects to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path_factory.getbasetemp() / "no_weights"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch computes with one thread: small networks are no faster with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run a command of the command line in this process."""

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return Ran(status, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the smallest network that see every object on every frame."""
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SAM2(SMALLEST)
        head = model.sam_mask_decoder.pred_obj_score_head
        last = [module for module in head.modules() if isinstance(module, torch.nn.Linear)][-1]
        torch.nn.init.constant_(last.bias, 10)
        save_checkpoint(model, path)
    return path


@pytest.fixture(scope="session")
def _stack_and_prompts() -> tuple[np.ndarray, dict[str, Any]]:
    """(6, 48, 64) uint16, a bright disk that moves, and three prompts."""
    rows, columns = np.mgrid[:48, :64]
    frames = np.full((6, 48, 64), 300, np.uint16)
    for index, frame in enumerate(frames):
        frame[(rows - 20) ** 2 + (columns - 20 - 3 * index) ** 2 < 64] = 4000
    frames += np.random.default_rng(0).integers(0, 100, frames.shape, np.uint16)
    prompts = [
        {"frame": 2, "object": 1, "box": [18, 12, 35, 29]},
        {"frame": 0, "object": 7, "points": [[20, 20], [50, 40]], "labels": [1, 0]},
    ]
    return frames, {"version": 1, "prompts": prompts}


@pytest.fixture
def stack(tmp_path: Path, _stack_and_prompts: tuple[np.ndarray, dict[str, Any]]) -> Path:
    """A multi-page TIFF of 6 frames of 48 x 64, beside `prompts.json` for it."""
    frames, prompts = _stack_and_prompts
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, frames, metadata={"axes": "TYX"})
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    return path


@pytest.fixture
def track(run: Callable[..., Ran], stack: Path, checkpoint: Path) -> Callable[..., Ran]:
    """Run `track` on the stack with its prompts, quickly; further arguments come last."""

    def track(
        output: object, *arguments: object, source: Path = stack, prompts: Path | None = None
    ) -> Ran:
        return run(
            *("track", source, "--prompts", prompts or stack.with_name("prompts.json")),
            *("-o", output, "--checkpoint", checkpoint, "--image-size", 64, *arguments),
        )

    return track
