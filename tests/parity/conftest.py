"""Networks that the comparisons share; making one takes longer than comparing it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from references import Pair, make_pair, moving_shapes

IMAGE_SIZE = 256
NAMES = ("sam2-tiny", "sam2-base-plus", "sam2.1-tiny", "sam2.1-base-plus")


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="session", params=NAMES)
def pair(request: pytest.FixtureRequest) -> Pair:
    """The official network and ours, each name once for all tests that want it."""
    return make_pair(request.param, IMAGE_SIZE)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip of all comparisons, as JPEG files."""
    path = tmp_path_factory.mktemp("frames")
    for t, frame in enumerate(moving_shapes()):
        Image.fromarray(frame).save(path / f"{t:05d}.jpg", quality=95)
    return path
