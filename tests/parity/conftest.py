"""Networks that the comparisons share; making one takes longer than comparing it."""

from collections.abc import Iterator

import pytest
import torch
from references import Pair, official_predictor, our_network

IMAGE_SIZE = 256
NAMES = ("sam2-tiny", "sam2-base-plus", "sam2.1-tiny", "sam2.1-base-plus")


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="session", params=NAMES)
def pair(request: pytest.FixtureRequest) -> Pair:
    """The official network and ours, each name once for all tests that want it."""
    official = official_predictor(request.param, IMAGE_SIZE)
    return Pair(request.param, official, our_network(request.param, official))
