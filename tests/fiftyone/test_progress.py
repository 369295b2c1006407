"""What is said of a run while it goes on."""

from types import SimpleNamespace

import pytest

from sam2_plugins.fiftyone_plugin import progress
from sam2_plugins.fiftyone_plugin.progress import Report
from sam2_plugins.fiftyone_plugin.propagating import Progress
from sam2_plugins.fiftyone_plugin.sources import Unit

UNITS = [Unit(name, (name,), (f"{name}.mp4",), is_video=True) for name in "abcd"]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    time = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: time[0]))
    return time


def test_videos_that_are_at_work_at_once_count_all(now: list[float]) -> None:
    report = Report()
    report.add(4)
    now[0] = 30.0  # that long it took to begin
    for done in (0, 10):
        for unit in UNITS[:2]:
            report.add(Progress(unit, "tracking", done, 20))
        now[0] += 10.0
    assert report.share == 0.25
    assert report.label == "video 1 of 4, step 10 of 20, 60 s left"
    report.add(Progress(UNITS[0], "done"))
    assert report.share == 0.375


def test_what_was_skipped_says_nothing_of_the_pace(now: list[float]) -> None:
    report = Report()
    report.add(4)
    for unit in UNITS[:2]:
        report.add(Progress(unit, "skipped"))
    report.add(Progress(UNITS[2], "tracking", 0, 20))
    assert "left" not in report.label
    now[0] += 10.0
    report.add(Progress(UNITS[2], "tracking", 10, 20))
    assert report.label == "video 3 of 4, step 10 of 20, 30 s left"
