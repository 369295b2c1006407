"""What the tests of the core share."""

from collections.abc import Iterator

import pytest

from sam2_plugins.core import motion

FLOW_AS_IT_IS = {
    "test_motion",
    # Their processes measure it so, and are compared with.
    "test_evaluation_runs",
    "test_training_feeding",
    "test_training_processes",
    "test_training_runs",
    "test_training_sharding",
    "test_training_watching",
}


@pytest.fixture(autouse=True, scope="module")
def _flow_of_small_pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Optical flow is measured on small pictures as they are.

    Enlarging those of the smallest network to 256 pixels takes half of the time of tracking.
    """
    with pytest.MonkeyPatch.context() as patched:
        if request.module.__name__ not in FLOW_AS_IT_IS:
            patched.setattr(motion, "_FLOW_SIDE", (64, motion._FLOW_SIDE[1]))
        yield
