"""When the window takes the worker's answers: clicks at once, a run's slices a few at a time."""

import pytest

pytest.importorskip("napari")

from sam2_plugins.napari_plugin import pump
from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.pump import Pump

LONG_MS = 60_000


class Working(Controller):
    """Is busy for ever, and counts how often it is asked to hand over."""

    is_run = False
    is_waiting = False
    num_asked = 0

    @property
    def is_busy(self):
        """As while the worker works."""
        return True

    @property
    def is_running(self):
        """Whether that is a run."""
        return self.is_run

    @property
    def is_awaited(self):
        """Whether that run waits for the window."""
        return self.is_waiting

    def process(self, budget_s=0.0):
        """Nothing to hand over."""
        self.num_asked += 1
        return False


@pytest.fixture
def working(monkeypatch, qtbot):
    monkeypatch.setattr(pump, "RUNNING_MS", LONG_MS)
    monkeypatch.setattr(pump, "CLICKING_MS", LONG_MS)
    made = Working()
    hands_over = Pump(made)
    qtbot.waitUntil(lambda: made.num_asked == 1)
    yield made
    made.on_wake = None
    hands_over.deleteLater()


def test_the_answer_to_a_click_does_not_wait_for_the_timer(working, qtbot):
    working.on_wake()
    qtbot.waitUntil(lambda: working.num_asked == 2)


def test_slices_of_a_run_wait_for_the_timer(working, qtbot):
    working.is_run = True
    working.on_wake()
    qtbot.wait(100)
    assert working.num_asked == 1


def test_a_run_that_waits_for_the_window_does_not_wait_for_the_timer(working, qtbot):
    working.is_run = True
    working.on_wake()
    qtbot.wait(100)
    working.is_waiting = True
    working.on_wake()
    qtbot.waitUntil(lambda: working.num_asked == 2)
