"""`sam2-plugins benchmark napari`: that it measures; how much is another matter."""

import json

import pytest

import napari
from sam2_plugins.commands.benchmark_napari import disk_places, moving_disks, percentile
from sam2_plugins.napari_plugin import models

FIGURES = {
    *("click_median_ms", "click_p95_ms", "click_painted_median_ms", "masks_per_second"),
    *("latency_idle_p95_ms", "latency_p50_ms", "latency_p95_ms", "latency_max_ms"),
    *("long_slices", "long_rss_mib", "long_growth_mib"),
}


def test_every_figure_is_measured(run, make_napari_viewer, monkeypatch, quick_nano):
    monkeypatch.setattr(napari, "Viewer", make_napari_viewer)
    monkeypatch.setattr(models, "load", lambda loading: quick_nano)
    sizes = ("--slices", 4, "--side", 64, "--objects", 2, "--clicks", 2, "--long", 6)
    ran = run("benchmark", "napari", *sizes, "--device", "cpu", "--json")
    assert ran.status in (0, 1), ran.err
    found = json.loads(ran.out)
    assert set(found) == FIGURES | {"command", "machine", "model"}
    assert found["click_median_ms"] > 0
    assert found["masks_per_second"] > 0
    assert found["latency_p50_ms"] <= found["latency_p95_ms"] <= found["latency_max_ms"]
    assert found["long_slices"] == 6
    assert ran.status == int(found["latency_p95_ms"] >= 50 or found["click_median_ms"] >= 150)


def test_the_stack_shows_disks_where_they_are_said_to_be():
    stack = moving_disks(5, 64, 4)
    for index, frame in enumerate(stack):
        for y, x in disk_places(4, 64, index):
            assert frame[round(y), round(x)] == 4000
    assert percentile([3.0, 1.0, 2.0], 50) == pytest.approx(2)
    assert percentile([3.0, 1.0, 2.0], 95) == pytest.approx(3)
