"""Figures of `sam2-plugins benchmark fiftyone`."""

from sam2_plugins.commands.benchmark_fiftyone import _growth_lines
from sam2_plugins.fiftyone_plugin.benchmark import measure_writing


def test_what_a_further_frame_costs_is_between_two_lengths():
    rows = [
        {"model": "ours", "frames": n, "seconds": 5 + n, "cpu_seconds": 2 * n}
        | {"memory_growth_mb": 100 + n / 2}
        for n in (10, 110)
    ]
    expected = "ours      each further frame: 1.000 s, 2.000 CPU seconds, 0.500 MB"
    assert _growth_lines(rows) == [expected]
    assert _growth_lines(rows[:1]) == []


def test_writing_is_measured_on_the_real_database():
    assert measure_writing(70) > 0
